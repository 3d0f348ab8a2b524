# The data and options of the runs on Fashion-MNIST, and its teacher; sourced by fashion_mnist.sh and growth.sh, which set
# data, runs, python and seed.
[ -d "$data" ] || $python fashion_mnist_folder.py "$file" "$data"
common="--clip 1 --warmup-epochs 1 --batch-size 64 --squash 28 --scale 0.7 --augment none --erasing 0 --mixup 0 --cutmix 0
    --test --cache 100 --threads 1"
student_options="--epochs 15 --lr 2e-3
    --set img_size=28 patch_size=4 in_chans=1 embed_dim=64 depth=4 num_heads=4 pos_embed=sincos2d weight_init=jax"
teacher_model="--teacher-model small_resnet.py:small_resnet"

teacher() { # ROW EPOCHS OPTIONS...
    $python train_deit.py "$data" --output "$runs/$1-seed$seed" --seed "$seed" $common \
        --model small_resnet.py:small_resnet --grey --set in_chans=1 --size 28 --epochs "$2" --lr 2e-3 "${@:3}"
}
