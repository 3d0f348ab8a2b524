#!/usr/bin/env bash
# The model of clothes/, from the folder examples: bash results/clothes.sh DATA RUNS
# RUNS is that of clothing10.sh, whose first teacher it learns from. A run that was stopped goes on.
set -euo pipefail
data=$1 runs=$2 python=${PYTHON:-python}
$python train_deit.py "$data" --output "$runs/clothes-seed0" --seed 0 --test --cache 200 --threads 1 \
    --model deit_tiny_distilled_patch16_224 --set img_size=96 patch_size=16 embed_dim=128 depth=6 num_heads=4 \
    conv_stem=[32,64,128,192] pos_embed=sincos2d weight_init=jax drop_path_rate=0.1 \
    --teacher "$runs/teacher-seed0" --teacher-model small_resnet.py:small_resnet \
    --distillation soft --alpha 0.7 --temperature 3 \
    --epochs 150 --batch-size 64 --lr 1.5e-3 --warmup-epochs 2 --clip 1 --ema 0.998 \
    --squash 104 --scale 0.4 --augment none --color-jitter 0.2 --erasing 0.25 --mixup 0 --cutmix 0
$python calibrate.py "$runs/clothes-seed0" "$data/validation" --output clothes --half
$python compare_runs.py results/clothes --collect "$runs/clothes-seed0"
