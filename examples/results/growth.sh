#!/usr/bin/env bash
# How the accuracy on clothes grows with epochs and with the share of the training images, from the folder examples:
#   bash results/growth.sh DATA RUNS [SEED...]
# RUNS is that of clothing10.sh, whose teachers and students of 60 epochs and all images are the last points.
# With fewer images there are more epochs, so that each run has as many steps, and the teacher has seen no others.
set -euo pipefail
data=$1 runs=$2 seeds=${*:3} python=${PYTHON:-python}
. results/clothing10_options.sh
. results/rows.sh
distilled=deit_tiny_distilled_patch16_224
for seed in ${seeds:-0 1 2}; do
    for epochs in 15 30; do
        student "none-${epochs}epochs" deit_tiny_patch16_224 --epochs $epochs
        student "hard-token-${epochs}epochs" $distilled --epochs $epochs --teacher "$runs/teacher-seed$seed" $teacher_model
    done
    for percent in 30 10; do
        share=(--train-share "0.$percent")
        teacher "teacher-${percent}percent" $((4000 / percent)) "${share[@]}"
        share+=(--epochs $((6000 / percent)))
        student "none-${percent}percent" deit_tiny_patch16_224 "${share[@]}"
        student "hard-token-${percent}percent" $distilled "${share[@]}" \
            --teacher "$runs/teacher-${percent}percent-seed$seed" $teacher_model
    done
done
$python compare_runs.py results/clothing10_growth --collect "$runs"/*epochs-seed? "$runs"/*percent-seed?
$python results/growth.py
