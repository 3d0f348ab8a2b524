# The students of a table, of one seed; sourced by clothing10.sh and fashion_mnist.sh, which set data, runs, python,
# common, student_options, and the folder of the teachers.
student() { # ROW OPTIONS...
    $python train_deit.py "$data" --output "$runs/$1-seed$seed" --seed "$seed" $common $student_options "${@:2}"
}

none() { student none --model deit_tiny_patch16_224; }

distilled() { # ROW TOKEN OPTIONS...
    student "$1" --model "deit_tiny_$2patch16_224" --teacher "$teachers/teacher-seed$seed" \
        --teacher-cache "$runs/cache" "${@:3}"
}

hard_token() { distilled hard-token distilled_; }

students() {
    none
    distilled soft distilled_ --distillation soft --alpha 0.1
    distilled hard-no-token ""
    hard_token
}
