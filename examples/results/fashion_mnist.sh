#!/usr/bin/env bash
# The runs of README's table on Fashion-MNIST, from the folder examples: bash results/fashion_mnist.sh FILE.npz RUNS
set -euo pipefail
data=$2/data runs=$2 python=${PYTHON:-python}
[ -d "$data" ] || $python fashion_mnist_folder.py "$1" "$data"
common="--clip 1 --scale 0.7 --augment none --erasing 0 --mixup 0 --cutmix 0 --test --threads 1"
student_options="--epochs 4 --batch-size 32 --lr 1e-3 --warmup-epochs 0.2
    --set img_size=28 patch_size=7 in_chans=1 embed_dim=64 depth=3 num_heads=2 pos_embed=sincos2d weight_init=jax"
. results/rows.sh
for seed in 0 1 2; do
    $python train_deit.py "$data" --output "$runs/teacher-seed$seed" --seed $seed $common \
        --model paddle:LeNet --grey --size 28 --epochs 5 --batch-size 64 --lr 2e-3 --warmup-epochs 0.3
    students
done
$python compare_runs.py results/fashion_mnist --collect "$runs"/*-seed?
