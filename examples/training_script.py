"""What finetune.py and train_deit.py share: their common options, what these make, and how a run ends."""

import sys
from pathlib import Path

import numpy as np
import paddle

import vitlib
from vitlib.images import Mixup, TrainTransform
from vitlib.training import ExponentialMovingAverage, ImageData, Run, TrainingStep, warmup_cosine

# These may be others when a run is resumed
MAY_CHANGE = {"data", "output", "workers", "threads", "save_every", "test", "teacher_cache"}


def add_common_options(parser):
    add = parser.add_argument
    add("data", type=Path, help="folder with train/, validation/ and perhaps test/")
    add("--output", type=Path, required=True, help="folder of this run; the same again resumes it")
    add("--epochs", type=int, default=300)
    add("--batch-size", type=int, default=64, help="per process")
    add("--accumulate", type=int, default=1, help="batches for one optimizer step")
    add("--weight-decay", type=float, default=0.05)
    add("--clip", type=float, default=0.0, help="largest norm of the gradient; 0: any")
    add("--ema", type=float, help="decay of averaged weights, which are then evaluated and kept, such as 0.9999")
    add("--scale", type=float, default=0.08, help="smallest part of an image that a crop keeps")
    add("--no-flip", action="store_true", help="for letters, digits and whatever else a mirror changes")
    add("--augment", default="rand-m9-mstd0.5-inc1", help="RandAugment in timm's language, 3a, or none")
    add("--color-jitter", type=float, help="for --augment 3a or none")
    add("--erasing", type=float, default=0.25, help="probability of random erasing")
    add("--mixup", type=float, default=0.8, help="alpha of Mixup; 0 leaves it out")
    add("--cutmix", type=float, default=1.0, help="alpha of CutMix; 0 leaves it out")
    add("--mix-prob", type=float, default=1.0, help="probability that a batch is mixed")
    add("--repeats", type=int, default=1, help="repeated augmentation; the DeiT paper: 3")
    add("--label-smoothing", type=float, default=0.1)
    add("--seed", type=int, default=0)
    add("--amp", choices=["bfloat16", "float16"], help="mixed precision, on a GPU")
    add("--recompute", action="store_true", help="less memory, a third more time")
    add("--workers", type=int, default=0, help="processes that read images")
    add("--threads", type=int, help="of the CPU (default: all cores)")
    add("--save-every", type=float, default=300, help="seconds between checkpoints, beside one after each epoch")
    add("--strict", action="store_true", help="stop at an image that cannot be read, instead of leaving it out")
    add("--test", action="store_true", help="evaluate on test/, too, once at the end")


def start(arguments):
    """The images and the run of these options, on one process or as one of several."""
    world_size = paddle.distributed.get_world_size()
    if world_size > 1:
        paddle.distributed.init_parallel_env()
    say(vitlib.tune_cpu(arguments.threads))
    data = ImageData(
        arguments.data,
        ["validation", *["test"] * arguments.test],
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        repeats=arguments.repeats,
        num_workers=arguments.workers,
        on_unreadable="raise" if arguments.strict else "skip",
    )
    record = {**vars(arguments), "batch_size": arguments.batch_size * world_size}  # resumed on any number of processes
    run = Run(arguments.output, record, data.classes, may_change=MAY_CHANGE, save_every=arguments.save_every)
    paddle.seed(arguments.seed)  # the same new weights in every process
    return data, run


def prepare(arguments, data, preprocess):
    """Tell `data` what its images go through. The loss smooths the labels, not Mixup."""
    transform = TrainTransform.from_preprocess(
        preprocess,
        scale=(arguments.scale, 1.0),
        hflip=0.0 if arguments.no_flip else 0.5,
        auto_augment=None if arguments.augment == "none" else arguments.augment,
        color_jitter=arguments.color_jitter,
        erasing=arguments.erasing,
    )
    alphas = arguments.mixup, arguments.cutmix
    mixup = Mixup(len(data.classes), *alphas, arguments.mix_prob, label_smoothing=0) if any(alphas) else None
    data.prepare(transform, preprocess, mixup)


def make_step(arguments, data, model, loss, groups, *, lr, warmup_epochs, warmup_lr, final_lr):
    """AdamW on these parameter groups, with warm-up and a cosine."""
    steps_per_epoch = data.steps_per_epoch(arguments.accumulate)
    schedule = warmup_cosine(
        lr,
        total_steps=arguments.epochs * steps_per_epoch,
        warmup_steps=int(warmup_epochs * steps_per_epoch),
        warmup_lr=warmup_lr,
        final_lr=final_lr,
    )
    if arguments.recompute:
        model.set_recompute()
    model.train()
    return TrainingStep(
        paddle.DataParallel(model) if paddle.distributed.get_world_size() > 1 else model,
        loss,
        paddle.optimizer.AdamW(schedule, parameters=groups),
        accumulate=arguments.accumulate,
        clip_norm=arguments.clip or None,
        amp=arguments.amp,
        schedule=schedule,
        ema=ExponentialMovingAverage(model, arguments.ema, warmup=True) if arguments.ema else None,
    )


def finish(run, evaluations):
    """Write result.json, and say what it holds in a few lines."""
    if run.rank:
        return
    parameters, seconds = sum(value.size for value in run.model.parameters()), run.seconds
    result = {"parameters": parameters, "seconds": round(seconds), "epoch": run.best["epoch"]}
    for part, found in evaluations.items():
        accuracies = {name: found.accuracy_of(name) for name in found.predictions}
        listed = ", ".join(f"{name.replace('_', ' ')} {accuracy:.1f} %" for name, accuracy in accuracies.items())
        unread = int((found.labels < 0).sum())
        print(
            f"{part}: {listed} of {len(found.labels) - unread} images"
            + (f", and {unread} that could not be read" if unread else "")
        )
        result[part] = {"images": len(found.labels), "loss": found.loss, **accuracies}
        # which images were right, for compare_runs.py: bits in hexadecimal
        result[part]["right"] = {name: np.packbits(found.correct(name)).tobytes().hex() for name in accuracies}
        result[part]["unreadable"] = found.unreadable
    run.write_json("result.json", {**result, "paddle": paddle.__version__})
    print(f"the best of {run.num_epochs} epochs is {run.best['epoch']}, by its accuracy on validation images")
    print(f"{parameters:,} parameters, {seconds:.0f} s; everything is in {run.directory}")


def say(text):
    """Print, in the first of several processes alone."""
    if paddle.distributed.get_rank() == 0:
        print(text, flush=True)


def main(name, train, arguments):
    """Call train(arguments); what goes wrong ends the script with a sentence."""
    try:
        train(arguments)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped; the same command goes on from the last checkpoint")
