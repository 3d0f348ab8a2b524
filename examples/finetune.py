"""Fine-tune a Vision Transformer on the classes of a folder of images, from published weights or your own.

    python finetune.py DATA --weights vit_tiny_patch16_224.augreg_in21k_ft_in1k --output runs/mine
    python finetune.py DATA --weights model.safetensors --model deit_small_patch16_224 --size 384 --output runs/large
    python finetune.py DATA --weights hf:org/repo --head-only --output runs/probe

DATA holds train/CLASS/*.jpg, validation/CLASS/*.jpg (or val/) and test/ for --test; without a folder for validation, or
as CLASS/*.jpg alone, a share of the training images is set apart. Images are normalised as the weights want it.

RUN gets log.csv, curve.png, checkpoints/, result.json and model/, the best epoch by its accuracy on validation images,
which vitlib.from_pretrained and classify.py --weights RUN open. The same command goes on where a run was stopped or
killed, without fetching the weights again.

Both heads of a distilled model are trained, by the loss of the mean of their logits, its prediction in evaluation; so
does timm. For a teacher, give a run of this script to train_deit.py --teacher.

This is the command "vitlib finetune", whose code is in vitlib/cli/finetune.py and training_run.py.
"""

from vitlib.cli import run_script

if __name__ == "__main__":
    run_script("finetune", __doc__)
