"""Fine-tune a Vision Transformer on the classes of a folder of images, from published weights or your own.

    python finetune.py DATA --weights vit_tiny_patch16_224.augreg_in21k_ft_in1k --output runs/mine
    python finetune.py DATA --weights model.safetensors --model deit_small_patch16_224 --size 384 --output runs/large
    python finetune.py DATA --weights hf:org/repo --head-only --output runs/probe

DATA holds train/CLASS/*.jpg and validation/CLASS/*.jpg, and test/ for --test. Images are normalised as the weights
want it. The same command goes on where a run was stopped or killed, without fetching the weights again. --output gets
log.csv, curve.png, checkpoints/, result.json and model/, which vitlib.from_pretrained and classify.py --weights open.

Both heads of a distilled model are trained, by the loss of the mean of their logits, which is what it says in
evaluation; so does timm. For a teacher, give a run of this script to train_deit.py --teacher.
"""

import argparse
from pathlib import Path

import training_script as script

import vitlib
from vitlib.training import SoftTargetCrossEntropy, final_logits, fit, param_groups


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--weights", required=True, help="a preset's published ones by its name; or a file, folder, hf:org/repo or URL")
    add("--model", help="the preset that a file is for, where the file does not tell")
    add("--allow", nargs="*", default=[], metavar="CHANGE", help="of the weights: distillation, class_row, patch, ...")
    add("--size", type=int, nargs="+", metavar="PIXELS", help="of images, or height and width (default: the model's)")
    frozen = parser.add_mutually_exclusive_group().add_argument
    frozen("--head-only", action="store_true", help="train the head alone")
    frozen("--freeze-blocks", type=int, metavar="N", help="leave the embedding and the first N blocks as they are")
    add("--lr", type=float, help="of the head (default: 5e-4, with --head-only 3e-3)")
    add("--layer-decay", type=float, default=0.75, help="what each block before it takes of it; 1: the same for all")
    add("--warmup-epochs", type=float, help="default: 1, and at most a tenth of all")
    add("--drop-path", type=float, help="stochastic depth of the last block (default: the model's)")
    script.add_common_options(parser)
    parser.set_defaults(epochs=20, clip=1.0, scale=0.4, augment="none", erasing=0.0, mixup=0.0, cutmix=0.0)
    arguments = parser.parse_args()
    if arguments.size is not None and len(arguments.size) > 2:
        parser.error("--size: expected one number, or height and width")
    return arguments


def load_model(arguments, classes):
    """The weights in a model with a head for these classes, which is fresh unless it was for exactly these."""
    overrides = {"num_classes": len(classes)}
    if arguments.size is not None:
        overrides["img_size"] = arguments.size[0] if len(arguments.size) == 1 else tuple(arguments.size)
    if arguments.drop_path is not None:
        overrides["drop_path_rate"] = arguments.drop_path
    weights, options = arguments.weights, {"allow": arguments.allow, **overrides}
    if arguments.model is not None:
        model = vitlib.create_model(arguments.model, pretrained=weights, **options)
    elif weights.startswith(("hf:", "http://", "https://")) or Path(weights).exists():
        model = vitlib.from_pretrained(weights, **options)
    elif "/" in weights or "\\" in weights or Path(weights).suffix in (".safetensors", ".npz", ".pdparams", ".pth"):
        raise FileNotFoundError(f"--weights {weights}: there is no such file or folder")
    else:
        model = vitlib.create_model(weights, pretrained=True, **options)
    report = str(model.load_report)
    if "head.weight" in model.load_report.loaded and list(model.labels or ()) != classes:
        model.reset_head(len(classes))
        report += "\nnote      the head is fresh: the weights have as many classes, but do not name these"
    script.say(report)
    return model


def train(arguments):
    data, run = script.start(arguments)
    if run.config is None:
        model = load_model(arguments, data.classes)
    else:  # the checkpoint has the weights
        model = (vitlib.DeiT if run.config.distillation_token else vitlib.VisionTransformer)(run.config)
    if arguments.head_only:
        model.freeze()
    elif arguments.freeze_blocks is not None:
        model.freeze(arguments.freeze_blocks)
    script.prepare(arguments, data, model.preprocess)

    loss = SoftTargetCrossEntropy(arguments.label_smoothing)
    lr = (3e-3 if arguments.head_only else 5e-4) if arguments.lr is None else arguments.lr
    warmup = min(1, arguments.epochs / 10) if arguments.warmup_epochs is None else arguments.warmup_epochs
    step = script.make_step(
        arguments,
        data,
        model,
        lambda outputs, targets: loss(final_logits(outputs), targets),
        param_groups(model, arguments.weight_decay, layer_decay=arguments.layer_decay),
        lr=lr,
        warmup_epochs=warmup,
        warmup_lr=lr / 100,
        final_lr=lr / 100,
    )
    script.finish(run, fit(run, step, data, epochs=arguments.epochs))


if __name__ == "__main__":
    script.main("finetune.py", train, parse_arguments())
