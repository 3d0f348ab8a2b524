#!/usr/bin/env bash
# The runs of README's table on photographs of clothes, from the folder examples: bash results/clothing10.sh DATA RUNS
# DATA has train/, validation/ and test/. A run that is there already is only evaluated again.
set -euo pipefail
data=$1 runs=$2 python=${PYTHON:-python}
common="--clip 1 --warmup-epochs 1 --scale 0.35 --augment none --color-jitter 0.2 --erasing 0 --mixup 0 --cutmix 0
    --test --threads 1"
student_options="--epochs 25 --batch-size 16 --lr 7e-4
    --set img_size=64 patch_size=16 embed_dim=96 depth=4 num_heads=3 pos_embed=sincos2d weight_init=jax"
. results/rows.sh
for seed in 0 1 2; do
    # with oneDNN, Paddle's convolutions are quicker on a CPU
    FLAGS_use_mkldnn=1 $python train_deit.py "$data" --output "$runs/teacher-seed$seed" --seed $seed $common \
        --model paddle:shufflenet_v2_x0_5 --size 64 --epochs 20 --batch-size 32 --lr 3e-3
    students
done
$python compare_runs.py results/clothing10 --collect "$runs"/*-seed?
