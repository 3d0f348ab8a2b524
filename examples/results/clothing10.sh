#!/usr/bin/env bash
# The runs of README's table on photographs of clothes: bash clothing10.sh DATA RUNS, from the folder examples.
# DATA has train/, validation/ and test/. A run that is there already is only evaluated again.
set -euo pipefail
data=$1 runs=$2 python=${PYTHON:-python}
common="--clip 1 --warmup-epochs 1 --scale 0.35 --augment none --color-jitter 0.2 --erasing 0 --mixup 0 --cutmix 0
    --test --threads 1"
network="img_size=64 patch_size=16 embed_dim=96 depth=4 num_heads=3 pos_embed=sincos2d weight_init=jax"
for seed in 0 1 2; do
    $python train_deit.py "$data" --output "$runs/teacher-seed$seed" --seed $seed $common \
        --model paddle:shufflenet_v2_x0_5 --size 64 --epochs 20 --batch-size 32 --lr 3e-3
    student() { # ROW MODEL OPTIONS...
        $python train_deit.py "$data" --output "$runs/$1-seed$seed" --seed $seed $common --model "$2" "${@:3}" \
            --set $network --epochs 25 --batch-size 16 --lr 7e-4
    }
    teacher=(--teacher "$runs/teacher-seed$seed" --teacher-cache "$runs/cache")
    student none deit_tiny_patch16_224
    student soft deit_tiny_distilled_patch16_224 "${teacher[@]}" --distillation soft --alpha 0.1
    student hard-no-token deit_tiny_patch16_224 "${teacher[@]}"
    student hard-token deit_tiny_distilled_patch16_224 "${teacher[@]}"
done
$python compare_runs.py results/clothing10 --collect "$runs"/*-seed?
