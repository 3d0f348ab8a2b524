#!/usr/bin/env bash
# The runs of the table on photographs of clothes, from the folder examples:
#   bash results/clothing10.sh DATA RUNS [SEED...]
# DATA has train/, validation/ and test/. A run that was stopped goes on, one that is there already is only evaluated.
set -euo pipefail
data=$1 runs=$2 seeds=${*:3} python=${PYTHON:-python}
common="--clip 1 --warmup-epochs 2 --squash 72 --scale 0.5 --augment none --color-jitter 0.2 --mixup 0 --cutmix 0
    --test --cache 200 --threads 1"
architecture="img_size=64 patch_size=8 embed_dim=128 depth=6 num_heads=4 pos_embed=sincos2d weight_init=jax
    drop_path_rate=0.05"
student_options="--epochs 60 --batch-size 64 --lr 1.5e-3 --erasing 0 --set $architecture"
teacher_model="--teacher-model small_resnet.py:small_resnet"
. results/rows.sh
for seed in ${seeds:-0 1 2}; do
    $python train_deit.py "$data" --output "$runs/teacher-seed$seed" --seed $seed $common \
        --model small_resnet.py:small_resnet --size 64 --epochs 40 --batch-size 64 --lr 2e-3 --erasing 0.25
    students
    student stem-hard-token deit_tiny_distilled_patch16_224 --set $architecture conv_stem=[24,48,96] \
        --teacher "$runs/teacher-seed$seed" --teacher-cache "$runs/cache" $teacher_model
done
$python compare_runs.py results/clothing10 --figure results/clothing10/curves.png \
    --collect "$runs"/{teacher,none,soft,hard-no-token,hard-token,stem-hard-token}-seed?
