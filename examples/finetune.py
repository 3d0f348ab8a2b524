"""Fine-tune a Vision Transformer on the classes of a folder of pictures, from published weights or your own.

    python finetune.py DATA --weights vit_tiny_patch16_224.augreg_in21k_ft_in1k --output runs/mine
    python finetune.py DATA --weights model.safetensors --model deit_small_patch16_224 --size 384 --output runs/large
    python finetune.py DATA --weights hf:org/repo --head-only --output runs/probe

DATA holds train/CLASS/*.jpg and validation/CLASS/*.jpg, and test/ for --test. Pictures are normalised as the weights
want it. The same command goes on where a run was stopped or killed, without fetching the weights again. --output gets
log.csv, curve.png, checkpoints/, result.json and model/, which vitlib.from_pretrained and classify.py --weights open.

Both heads of a distilled model are trained, by the loss of the mean of their logits, which is what it says in
evaluation; so does timm. For a teacher, give a run of this script to train_deit.py --teacher.
"""

import argparse
import sys
from pathlib import Path

import paddle

import vitlib
from vitlib.images import Mixup, TrainTransform
from vitlib.training import (
    ExponentialMovingAverage,
    ImageFolders,
    Run,
    SoftTargetCrossEntropy,
    TrainingStep,
    final_logits,
    param_groups,
    warmup_cosine,
)

MAY_CHANGE = {"data", "output", "workers", "threads", "save_every", "test"}  # between a run and its resumption


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=Path, help="folder with train/, validation/ and perhaps test/")
    add("--output", type=Path, required=True, help="folder of this run; the same again resumes it")
    add("--weights", required=True, help="a preset's published ones by its name; or a file, folder, hf:org/repo or URL")
    add("--model", help="the preset that a file is for, where the file does not tell")
    add("--allow", nargs="*", default=[], metavar="CHANGE", help="of the weights: distillation, class_row, patch, ...")
    add("--size", type=int, nargs="+", metavar="PIXELS", help="of pictures, or height and width (default: the model's)")
    frozen = parser.add_mutually_exclusive_group().add_argument
    frozen("--head-only", action="store_true", help="train the head alone")
    frozen("--freeze-blocks", type=int, metavar="N", help="leave the embedding and the first N blocks as they are")
    add("--epochs", type=int, default=20)
    add("--batch-size", type=int, default=64, help="per process")
    add("--accumulate", type=int, default=1, help="batches for one optimizer step")
    add("--lr", type=float, help="of the head (default: 5e-4, with --head-only 3e-3)")
    add("--layer-decay", type=float, default=0.75, help="what each block before it takes of it; 1: the same for all")
    add("--warmup-epochs", type=float, help="default: 1, and at most a tenth of all")
    add("--weight-decay", type=float, default=0.05)
    add("--clip", type=float, default=1.0, help="largest norm of the gradient; 0: any")
    add("--drop-path", type=float, help="stochastic depth of the last block (default: the model's)")
    add("--ema", type=float, help="decay of averaged weights, which are then evaluated and kept: about 1 - 10 / steps")
    add("--scale", type=float, default=0.4, help="smallest part of a picture that a crop keeps")
    add("--no-flip", action="store_true", help="for letters, digits and whatever else a mirror changes")
    add("--augment", default="none", help="RandAugment in timm's language, such as rand-m9-mstd0.5-inc1, or 3a")
    add("--color-jitter", type=float, help="for --augment 3a or none")
    add("--erasing", type=float, default=0.0, help="probability of random erasing")
    add("--mixup", type=float, default=0.0, help="alpha of Mixup, such as 0.8")
    add("--cutmix", type=float, default=0.0, help="alpha of CutMix, such as 1.0")
    add("--label-smoothing", type=float, default=0.1)
    add("--seed", type=int, default=0)
    add("--amp", choices=["bfloat16", "float16"], help="mixed precision, on a GPU")
    add("--recompute", action="store_true", help="less memory, a third more time")
    add("--workers", type=int, default=0, help="processes that read pictures")
    add("--threads", type=int, help="of the CPU (default: all cores)")
    add("--save-every", type=float, default=300, help="seconds between checkpoints, beside one after each epoch")
    add("--strict", action="store_true", help="stop at a picture that cannot be read, instead of leaving it out")
    add("--test", action="store_true", help="evaluate on test/, too, once at the end")
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
    if paddle.distributed.get_rank() == 0:
        print(report)
    return model


def mixing(arguments, num_classes):
    """Mixup and CutMix, without label smoothing, which the loss does; None for neither."""
    if not (arguments.mixup or arguments.cutmix):
        return None
    return Mixup(num_classes, arguments.mixup, arguments.cutmix, label_smoothing=0)


def make_step(arguments, model, network, steps_per_epoch):
    base_lr = (3e-3 if arguments.head_only else 5e-4) if arguments.lr is None else arguments.lr
    warmup = min(1, arguments.epochs / 10) if arguments.warmup_epochs is None else arguments.warmup_epochs
    schedule = warmup_cosine(
        base_lr,
        total_steps=arguments.epochs * steps_per_epoch,
        warmup_steps=int(warmup * steps_per_epoch),
        warmup_lr=base_lr / 100,
        final_lr=base_lr / 100,
    )
    groups = param_groups(model, arguments.weight_decay, layer_decay=arguments.layer_decay)
    loss = SoftTargetCrossEntropy(arguments.label_smoothing)
    return TrainingStep(
        network,
        lambda outputs, targets: loss(final_logits(outputs), targets),
        paddle.optimizer.AdamW(schedule, parameters=groups),
        accumulate=arguments.accumulate,
        clip_norm=arguments.clip or None,
        amp=arguments.amp,
        schedule=schedule,
        ema=ExponentialMovingAverage(model, arguments.ema, warmup=True) if arguments.ema else None,
    )


def train(arguments):
    world_size = paddle.distributed.get_world_size()
    if world_size > 1:
        paddle.distributed.init_parallel_env()
    rank = paddle.distributed.get_rank()
    tuning = vitlib.tune_cpu(arguments.threads)
    data = ImageFolders(
        arguments.data,
        ["validation", *["test"] * arguments.test],
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        num_workers=arguments.workers,
        on_unreadable="raise" if arguments.strict else "skip",
    )
    record = {**vars(arguments), "batch_size": arguments.batch_size * world_size}  # resumed on any number of processes
    run = Run(arguments.output, record, data.classes, may_change=MAY_CHANGE, save_every=arguments.save_every)

    paddle.seed(arguments.seed)  # the same new head in every process
    if run.config is None:
        model = load_model(arguments, data.classes)
    else:  # the checkpoint has the weights
        model = (vitlib.DeiT if run.config.distillation_token else vitlib.VisionTransformer)(run.config)
    if arguments.head_only:
        model.freeze()
    elif arguments.freeze_blocks is not None:
        model.freeze(arguments.freeze_blocks)
    if arguments.recompute:
        model.set_recompute()
    model.train()
    transform = TrainTransform.from_preprocess(
        model.preprocess,
        scale=(arguments.scale, 1.0),
        hflip=0.0 if arguments.no_flip else 0.5,
        auto_augment=None if arguments.augment == "none" else arguments.augment,
        color_jitter=arguments.color_jitter,
        erasing=arguments.erasing,
    )
    data.prepare(transform, model.preprocess, mixing(arguments, len(data.classes)))
    network = paddle.DataParallel(model) if world_size > 1 else model
    step = make_step(arguments, model, network, data.steps_per_epoch(arguments.accumulate))
    run.start(step, data.sampler, epochs=arguments.epochs)
    if rank == 0:
        run.log.message(str(tuning))
    while run.training:
        for images, labels, _, _ in run.batches(data.batches()):
            images, targets = data.mix(images, labels)
            value = step(images, targets)
            run.log.step(value, int((final_logits(step.outputs).argmax(-1) == labels).sum()), len(labels))
        run.end_epoch({"validation": data.evaluate(model)})

    if step.ema is not None:
        step.ema.apply_to(model)
    summary = run.finish({part: data.evaluate(model, part) for part in data.parts})
    if rank == 0:
        print(summary)


def main():
    arguments = parse_arguments()
    try:
        train(arguments)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        sys.exit(f"finetune.py: {error}")
    except KeyboardInterrupt:
        sys.exit("finetune.py: stopped; the same command goes on from the last checkpoint")


if __name__ == "__main__":
    main()
