#!/usr/bin/env bash
# The model of clothes/, from the folder examples: bash results/clothes.sh DATA RUNS
# First without a teacher, while the teacher of clothing10.sh is trained; then with it. Stopped runs go on.
set -euo pipefail
data=$1 runs=$2 python=${PYTHON:-python}
common="--clip 1 --warmup-epochs 2 --squash 104 --scale 0.5 --augment none --color-jitter 0.2 --mixup 0 --cutmix 0
    --test --cache 200 --threads 1 --batch-size 64 --erasing 0.25"
$python train_deit.py "$data" --output "$runs/stem96-none-seed0" --seed 0 $common --model deit_tiny_patch16_224 \
    --epochs 25 --lr 1.5e-3 --ema 0.99 --set img_size=96 patch_size=16 embed_dim=128 depth=6 num_heads=4 \
    conv_stem=[32,64,128,192] pos_embed=sincos2d weight_init=jax drop_path_rate=0.05
$python train_deit.py "$data" --output "$runs/stem96-soft-seed0" --seed 0 $common \
    --model results/warm_start.py:deit --set run="$runs/stem96-none-seed0" drop_path_rate=0.1 \
    --teacher "$runs/teacher-seed0" --teacher-model small_resnet.py:small_resnet --distillation soft --alpha 0.7 --temperature 3 --epochs 60 --lr 1e-3 --ema 0.995
$python calibrate.py "$runs/stem96-soft-seed0" "$data/validation" --output clothes --half
