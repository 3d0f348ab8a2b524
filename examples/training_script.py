"""What finetune.py and train_deit.py share: their common options, what these make, and how a run ends."""

import argparse
import math
from pathlib import Path

import numpy as np
import paddle
import startup

import vitlib
from vitlib.images import IMAGE_ENDINGS, Mixup, TrainTransform
from vitlib.images.checks import check_count, check_number
from vitlib.training import Checkpoints, ExponentialMovingAverage, ImageData, Run, TrainingStep, warmup_cosine

# These may be others when a run is resumed
MAY_CHANGE = {"data", "output", "workers", "threads", "cache", "save_every", "test", "teacher_cache"}


def number(interval):
    """The type of an option that takes a number in an interval, such as "[0, 1)"."""
    return _checked(float, check_number, interval, f"a number in {interval}", "X")


def whole(low):
    """The type of an option that takes a whole number of at least `low`."""
    return _checked(int, check_count, low, f"a whole number of at least {low}", "N")


def _checked(convert, check, limit, wanted, metavar):
    def parse(text):
        try:
            return check("", convert(text), limit)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {wanted}, found {text!r}") from None

    parse.metavar = metavar
    return parse


def make_parser(text):
    """A parser with the text of the script, and its group for the model's options."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=startup.HelpFormatter, usage="%(prog)s DATA --output RUN [OPTIONS]"
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of images, see above")
    parser.add_argument("--output", metavar="RUN", type=Path, required=True, help="folder of this run")
    return parser, parser.add_argument_group("the model").add_argument


def add_common_options(parser, *, lr_help, warmup_epochs, **defaults):
    """Options of both scripts, with other defaults where they are given."""
    add = parser.add_argument_group("the data").add_argument
    add(
        "--validation-share",
        type=number("(0, 1)"),
        help="of the training images, set apart where there is no folder for validation (default: 0.1)",
    )
    add("--extensions", nargs="+", metavar=".EXT", default=list(IMAGE_ENDINGS), help="endings of image files")
    add("--strict", action="store_true", help="stop at an image that cannot be read, instead of leaving it out")
    add("--test", action="store_true", help="evaluate the best model on test/, too, once at the end")

    add = parser.add_argument_group("the training").add_argument
    add("--epochs", type=whole(1), default=300, help="passes over the training images")
    add("--batch-size", type=whole(1), default=64, help="images of a batch, per process")
    add("--accumulate", type=whole(1), default=1, help="batches for one optimizer step")
    add("--lr", type=number("(0, inf)"), help=lr_help)
    add(
        "--warmup-epochs",
        type=number("[0, inf)"),
        help=f"over which the learning rate rises (default: {warmup_epochs}, and at most a fifth of all)",
    )
    add("--weight-decay", type=number("[0, inf)"), default=0.05, help="of AdamW, for matrices")
    add("--clip", type=number("[0, inf)"), default=0.0, help="largest norm of the gradient; 0: any")
    add(
        "--ema",
        type=number("[0, 1)"),
        help="decay of averaged weights, which are then evaluated and kept, such as 0.9999 (default: no average)",
    )
    add("--label-smoothing", type=number("[0, 1]"), default=0.1, help="of the targets")
    add("--seed", type=whole(0), default=0, help="of new weights, the order of the images and their augmentation")

    add = parser.add_argument_group("the augmentation").add_argument
    add("--scale", type=number("(0, 1]"), default=0.08, help="smallest part of an image that a crop keeps")
    add(
        "--squash",
        type=whole(1),
        metavar="SIZE",
        help="squash whole images to this square first, then crop; nothing is cut off (default: crops of the image)",
    )
    add("--no-flip", action="store_true", help="no mirroring: for letters, digits and other images that it changes")
    add("--augment", default="rand-m9-mstd0.5-inc1", help="RandAugment in timm's language, 3a, or none")
    add("--color-jitter", type=number("[0, inf)"), help="strength, for --augment 3a or none (default: no jitter)")
    add("--erasing", type=number("[0, 1]"), default=0.25, help="probability of random erasing")
    add("--mixup", type=number("[0, inf)"), default=0.8, help="alpha of Mixup; 0 leaves it out")
    add("--cutmix", type=number("[0, inf)"), default=1.0, help="alpha of CutMix; 0 leaves it out")
    add("--mix-prob", type=number("[0, 1]"), default=1.0, help="probability that a batch is mixed")
    add("--repeats", type=whole(1), default=1, help="copies of an image in a row (repeated augmentation)")

    add = parser.add_argument_group("the machine").add_argument
    add("--workers", type=whole(0), default=0, help="processes that read images; 0: none but this one")
    add(
        "--cache",
        type=number("[0, inf)"),
        default=0.0,
        metavar="MB",
        help="memory for decoded images, of each part of the data; with --workers it is filled before they start",
    )
    add("--threads", type=whole(1), help="of the CPU (default: all cores)")
    add("--amp", choices=["bfloat16", "float16"], help="mixed precision, on a GPU (default: float32)")
    add("--recompute", action="store_true", help="less memory, a third more time")
    add(
        "--save-every",
        type=number("[0, inf)"),
        default=300.0,
        help="seconds between checkpoints, beside one after each epoch",
    )
    parser.set_defaults(**defaults)


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
        extensions=arguments.extensions,
        cache=int(arguments.cache * 1e6),
        validation_share=arguments.validation_share,
    )
    for note in data.notes:
        say(note)
    record = {**vars(arguments), "batch_size": arguments.batch_size * world_size}  # resumed on any number of processes
    run = Run(arguments.output, record, data.classes, may_change=MAY_CHANGE, save_every=arguments.save_every)
    paddle.seed(arguments.seed)  # the same new weights in every process
    return data, run


def squashed(arguments, preprocess):
    """The `Preprocess` of evaluation, with whole images squashed to the square of --squash before the centre crop."""
    if arguments.squash is None:
        return preprocess
    height, width = (preprocess.size,) * 2 if isinstance(preprocess.size, int) else preprocess.size
    if arguments.squash < max(height, width):
        raise ValueError(
            f"--squash {arguments.squash}: expected at least the size of the model's images, {preprocess.size}"
        )
    fraction = max(height, width) / arguments.squash
    if int(max(height, width) / fraction) < arguments.squash:  # rounded
        fraction = math.nextafter(fraction, 0)
    return preprocess.replace(resize="squash", crop_fraction=fraction)


def prepare(arguments, data, preprocess):
    """Tell `data` what its images go through. The loss smooths the labels, not Mixup."""
    transform = TrainTransform.from_preprocess(
        preprocess,
        squash=arguments.squash,
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
    """AdamW on these parameter groups, with warm-up and a cosine.

    warmup_epochs: where --warmup-epochs is not given; then at most a fifth of all.
    """
    epochs, warmup = arguments.epochs, arguments.warmup_epochs
    if warmup is None:
        warmup = min(warmup_epochs, epochs / 5)
        if warmup < warmup_epochs:
            say(f"warm-up: {warmup:g} of {epochs} epochs, a fifth; --warmup-epochs sets it")
    elif warmup >= epochs:
        raise ValueError(f"--warmup-epochs {warmup:g}: expected less than --epochs {epochs}")
    steps_per_epoch = data.steps_per_epoch(arguments.accumulate)
    schedule = warmup_cosine(
        lr,
        total_steps=epochs * steps_per_epoch,
        warmup_steps=int(warmup * steps_per_epoch),
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


def stopped(arguments):
    """Where the same command goes on, as a sentence."""
    steps = Checkpoints(arguments.output / "checkpoints", rank=1).steps()  # other ranks than 0 only read
    if not steps:
        return "stopped before the first checkpoint; the same command starts anew"
    return f"stopped; the same command goes on after {steps[-1]} steps"
