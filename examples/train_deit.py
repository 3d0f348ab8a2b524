"""Train a Vision Transformer from scratch on a folder of images, with or without a teacher (DeiT, arXiv 2012.12877).

    python train_deit.py DATA --output runs/teacher --model small_resnet.py:small_resnet --size 64 --mixup 0 --cutmix 0
    python train_deit.py DATA --output runs/student --model deit_tiny_distilled_patch16_224 --teacher runs/teacher \\
        --teacher-model small_resnet.py:small_resnet

DATA holds train/CLASS/*.jpg, validation/CLASS/*.jpg (or val/) and test/ for --test; without a folder for validation, or
as CLASS/*.jpg alone, a share of the training images is set apart.

RUN gets log.csv, curve.png, checkpoints/, result.json and model/, the best epoch by its accuracy on validation images,
which vitlib.from_pretrained and classify.py --weights RUN open. The same command goes on where a run was stopped or
killed. A convnet, to be a teacher, is trained in the same way.

Several processes: python -m paddle.distributed.launch --nproc_per_node 2 train_deit.py ... (see guides/training.md).

This is the command "vitlib train", whose code is in vitlib/cli/train.py and training_run.py.
"""

from vitlib.cli import run_script

if __name__ == "__main__":
    run_script("train", __doc__)
