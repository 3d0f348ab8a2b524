#!/usr/bin/env bash
# How the accuracy on clothes grows with epochs and with the share of the training images, from the folder examples:
#   bash results/growth.sh DATA RUNS [SEED...]
# RUNS is that of clothing10.sh, whose teachers, and students of 60 epochs, are points too. With a share of the images
# there are more epochs, so that students have the steps of 30 epochs and teachers those of 40 with all images; a
# teacher has seen no other images than its student.
set -euo pipefail
data=$1 runs=$2 seeds=${*:3} python=${PYTHON:-python}
. results/clothing10_options.sh
. results/rows.sh
distilled=deit_tiny_distilled_patch16_224
for seed in ${seeds:-0 1 2}; do
    for epochs in 120 30 15; do
        student "none-${epochs}epochs" deit_tiny_patch16_224 --epochs $epochs
        student "hard-token-${epochs}epochs" $distilled --epochs $epochs --teacher "$runs/teacher-seed$seed" $teacher_model
    done
    for percent in 30 10; do
        share=(--train-share "0.$percent")
        teacher "teacher-${percent}percent" $((4000 / percent)) "${share[@]}"
        share+=(--epochs $((3000 / percent)))
        student "none-${percent}percent" deit_tiny_patch16_224 "${share[@]}"
        student "hard-token-${percent}percent" $distilled "${share[@]}" \
            --teacher "$runs/teacher-${percent}percent-seed$seed" $teacher_model
    done
done
$python compare_runs.py results/clothing10_growth --collect "$runs"/*epochs-seed? "$runs"/*percent-seed?
$python results/growth.py
