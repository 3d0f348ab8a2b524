#!/usr/bin/env bash
# The runs of the table on photographs of clothes, from the folder examples:
#   bash results/clothing10.sh DATA RUNS [SEED...]
# DATA has train/, validation/ and test/. A run that was stopped goes on, one that is there already is only evaluated.
set -euo pipefail
data=$1 runs=$2 seeds=${*:3} python=${PYTHON:-python}
. results/clothing10_options.sh
. results/rows.sh
for seed in ${seeds:-0 1 2}; do
    teacher teacher 40
    students
    student stem-hard-token deit_tiny_distilled_patch16_224 --set $architecture conv_stem=[24,48,96] \
        --teacher "$runs/teacher-seed$seed" --teacher-cache "$runs/cache" $teacher_model
done
$python compare_runs.py results/clothing10 --figure results/clothing10/curves.png \
    --collect "$runs"/{teacher,none,soft,hard-no-token,hard-token,stem-hard-token}-seed?
