# The options of the runs on Clothing-10, and its teacher; sourced by clothing10.sh and growth.sh, which set data, runs,
# python and seed.
common="--clip 1 --warmup-epochs 2 --squash 72 --scale 0.5 --augment none --color-jitter 0.2 --mixup 0 --cutmix 0
    --test --cache 200 --threads 1"
architecture="img_size=64 patch_size=8 embed_dim=128 depth=6 num_heads=4 pos_embed=sincos2d weight_init=jax
    drop_path_rate=0.05"
student_options="--epochs 60 --batch-size 64 --lr 1.5e-3 --erasing 0 --set $architecture"
teacher_model="--teacher-model small_resnet.py:small_resnet"

teacher() { # ROW EPOCHS OPTIONS...
    $python train_deit.py "$data" --output "$runs/$1-seed$seed" --seed "$seed" $common \
        --model small_resnet.py:small_resnet --size 64 --epochs "$2" --batch-size 64 --lr 2e-3 --erasing 0.25 "${@:3}"
}
