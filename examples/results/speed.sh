#!/usr/bin/env bash
# Measures the tables of speed anew: bash results/speed.sh PEERS
# PEERS is a Python with torch, timm, onnx, onnxruntime and openvino; vitlib and its extras onnxruntime and openvino are
# installed in the Python whose `vitlib` is called. ViT-L goes in two runs, as all candidates at once need over 20 GB.
set -euo pipefail
cd "$(dirname "$0")"
bench() { vitlib bench "$@" --peers "$peers" --rounds 9; }
peers=$1 timm="openvino of timm's export"
vit() { for size in "$@"; do echo "vit_${size}_patch16_224"; done; }
settings=(--peer "$timm, latency" --peer "$timm, one stream a core")
rest=(--peer "$timm, fixed batch" --peer "onnxruntime of timm's export" --peer "timm eager")
bench $(vit tiny small base) --batches 1 8 --engines paddle openvino onnxruntime "${settings[@]}" "${rest[@]}" --json speed/engines.json
bench $(vit large) --batches 8 --engines openvino "${settings[@]}" --json speed/large_openvino.json
bench $(vit large) --batches 8 --engines paddle "${settings[@]}" --peer "onnxruntime of timm's export" --json speed/large.json
bench $(vit tiny small base) --batches 1 8 --engines "eager tuned" --precisions float32 --peer "timm eager" --json speed/eager.json
vitlib bench $(vit small base) --batches 8 --engines openvino --precisions bfloat16 int8 --rounds 9 --json speed/int8.json
python speed.py --write
