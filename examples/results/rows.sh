# The students of a table, of one seed; sourced by clothing10.sh, fashion_mnist.sh and growth.sh, which set data, runs,
# python, common and student_options, and teacher_model where the teacher is of a file.
student() { # ROW MODEL OPTIONS...
    $python train_deit.py "$data" --output "$runs/$1-seed$seed" --seed "$seed" $common --model "$2" $student_options "${@:3}"
}

students() {
    local teacher=(--teacher "$runs/teacher-seed$seed" --teacher-cache "$runs/cache" ${teacher_model:-})
    student none deit_tiny_patch16_224
    student soft deit_tiny_distilled_patch16_224 "${teacher[@]}" --distillation soft --alpha 0.1
    student hard-no-token deit_tiny_patch16_224 "${teacher[@]}"
    student hard-token deit_tiny_distilled_patch16_224 "${teacher[@]}"
}
