#!/usr/bin/env bash
# The runs of the table on Fashion-MNIST, from the folder examples:
#   bash results/fashion_mnist.sh FILE.npz RUNS [SEED...]
# A run that was stopped goes on, one that is there already is only evaluated.
set -euo pipefail
data=$2/data runs=$2 seeds=${*:3} python=${PYTHON:-python}
[ -d "$data" ] || $python fashion_mnist_folder.py "$1" "$data"
common="--clip 1 --warmup-epochs 1 --batch-size 64 --squash 28 --scale 0.7 --augment none --erasing 0 --mixup 0 --cutmix 0
    --test --cache 100 --threads 1"
student_options="--epochs 15 --lr 2e-3
    --set img_size=28 patch_size=4 in_chans=1 embed_dim=64 depth=4 num_heads=4 pos_embed=sincos2d weight_init=jax"
teacher_model="--teacher-model small_resnet.py:small_resnet"
. results/rows.sh
for seed in ${seeds:-0 1 2}; do
    $python train_deit.py "$data" --output "$runs/teacher-seed$seed" --seed $seed $common \
        --model small_resnet.py:small_resnet --grey --set in_chans=1 --size 28 --epochs 12 --lr 2e-3
    students
done
$python compare_runs.py results/fashion_mnist --collect "$runs"/*-seed? --figure results/fashion_mnist/curves.png
