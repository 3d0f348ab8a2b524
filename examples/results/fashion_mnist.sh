#!/usr/bin/env bash
# The runs of the table on Fashion-MNIST, from the folder examples:
#   bash results/fashion_mnist.sh FILE.npz RUNS [SEED...]
# A run that was stopped goes on, one that is there already is only evaluated.
set -euo pipefail
file=$1 runs=$2 data=$2/data seeds=${*:3} python=${PYTHON:-python}
. results/fashion_mnist_options.sh
. results/rows.sh
for seed in ${seeds:-0 1 2}; do
    teacher teacher 12
    students
done
$python compare_runs.py results/fashion_mnist --collect "$runs"/{teacher,none,soft,hard-no-token,hard-token}-seed? \
    --figure results/fashion_mnist/curves.png
