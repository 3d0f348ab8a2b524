#!/usr/bin/env bash
# The runs of README's table on Fashion-MNIST: bash fashion_mnist.sh fashion_mnist.npz RUNS, from the folder examples.
set -euo pipefail
runs=$2 python=${PYTHON:-python}
[ -d "$runs/data" ] || $python fashion_mnist_folder.py "$1" "$runs/data"
common="--clip 1 --scale 0.7 --augment none --erasing 0 --mixup 0 --cutmix 0 --test --threads 1"
network="img_size=28 patch_size=7 in_chans=1 embed_dim=64 depth=3 num_heads=2 pos_embed=sincos2d weight_init=jax"
for seed in 0 1 2; do
    $python train_deit.py "$runs/data" --output "$runs/teacher-seed$seed" --seed $seed $common \
        --model paddle:LeNet --grey --size 28 --epochs 3 --batch-size 64 --lr 2e-3 --warmup-epochs 0.3
    student() { # ROW MODEL OPTIONS...
        $python train_deit.py "$runs/data" --output "$runs/$1-seed$seed" --seed $seed $common --model "$2" "${@:3}" \
            --set $network --epochs 2 --batch-size 32 --lr 1e-3 --warmup-epochs 0.2
    }
    teacher=(--teacher "$runs/teacher-seed$seed" --teacher-cache "$runs/cache")
    student none deit_tiny_patch16_224
    student soft deit_tiny_distilled_patch16_224 "${teacher[@]}" --distillation soft --alpha 0.1
    student hard-no-token deit_tiny_patch16_224 "${teacher[@]}"
    student hard-token deit_tiny_distilled_patch16_224 "${teacher[@]}"
done
$python compare_runs.py results/fashion_mnist --collect "$runs"/*-seed?
