#!/usr/bin/env bash
# How the accuracy on Fashion-MNIST grows with epochs and with the share of the training images, from the folder examples:
#   bash results/growth.sh FILE.npz RUNS [SEED...]
# RUNS is that of fashion_mnist.sh, whose teachers, and students of 15 epochs, are points too. With a share of the images
# there are more epochs: students have the steps of 5 epochs with all images, teachers those of 12. A teacher has seen no
# other images than its student.
set -euo pipefail
file=$1 runs=$2 data=$2/data seeds=${*:3} python=${PYTHON:-python}
. results/fashion_mnist_options.sh
. results/rows.sh
pair() { # KIND TEACHER OPTIONS...
    student "none-$1" deit_tiny_patch16_224 "${@:3}"
    student "hard-token-$1" deit_tiny_distilled_patch16_224 "${@:3}" --teacher "$runs/$2-seed$seed" $teacher_model
}
for seed in ${seeds:-0 1 2}; do
    for epochs in 5 2; do
        pair "${epochs}epochs" teacher --epochs $epochs
    done
    for percent in 30 10; do
        share=(--train-share "0.$percent" --warmup-epochs $((100 / percent)))
        teacher "teacher-${percent}percent" $((1200 / percent)) "${share[@]}"
        pair "${percent}percent" "teacher-${percent}percent" "${share[@]}" --epochs $((500 / percent))
    done
done
$python compare_runs.py results/fashion_mnist_growth --collect "$runs"/*epochs-seed? "$runs"/*percent-seed?
$python results/growth.py
