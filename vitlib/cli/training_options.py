"""The options that train and finetune share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .parsing import Parser, number, whole

DATA = """\
DATA holds train/CLASS/*.jpg, validation/CLASS/*.jpg (or val/) and test/ for
--test; without a folder for validation, or as CLASS/*.jpg alone, a share of the
training images is set apart.

RUN gets log.csv, curve.png, checkpoints/, result.json and model/, the best epoch
by its accuracy on validation images, which is a MODEL of the other commands. The
same command goes on where a run was stopped or killed."""


def add_data_and_run(parser: Parser) -> Any:
    """DATA and --output. Gives add_argument of the group for the model's options."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of images, see above")
    parser.add_argument("--output", metavar="RUN", type=Path, required=True, help="folder of this run")
    return parser.add_argument_group("the model").add_argument


def add_common_options(parser: Parser, *, lr_help: str, warmup_epochs: int, **defaults: Any) -> None:
    """Options of both commands, with other defaults where they are given."""
    from ..images import IMAGE_ENDINGS

    add = parser.add_argument_group("the data").add_argument
    add(
        "--validation-share",
        type=number("(0, 1)"),
        help="of the training images, set apart where there is no folder for validation (default: 0.1)",
    )
    add(
        "--train-share",
        type=number("(0, 1)"),
        help="of the training images of each class, to train on, drawn by --seed (default: all)",
    )
    add(
        "--labels",
        metavar="CSV",
        type=Path,
        help="several labels an image: a table with the columns image (below DATA), perhaps part (train, validation, "
        "test), and labels (a;b) or one column for each class with 0 and 1 (default: the folders are the classes)",
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
    add(
        "--class-weights",
        nargs="+",
        metavar="WEIGHT",
        help="of the loss: balanced (more for rare classes), or CLASS=NUMBER ... with 1 for the others (default: 1)",
    )
    add("--label-smoothing", type=number("[0, 1]"), default=0.1, help="of the targets; none with --labels")
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
    add("--recompute", action="store_true", help="less memory, a third to a half more time")
    add(
        "--save-every",
        type=number("[0, inf)"),
        default=300.0,
        help="seconds between checkpoints, beside one after each epoch",
    )
    parser.set_defaults(**defaults, stopped=_stopped)


def _stopped(arguments: argparse.Namespace) -> str:
    """Where the same command goes on, as a sentence."""
    from ..training import Checkpoints

    steps = Checkpoints(arguments.output / "checkpoints", rank=1).steps()  # other ranks than 0 only read
    if not steps:
        return "stopped before the first checkpoint; the same command starts anew"
    return f"stopped; the same command goes on after {steps[-1]} steps"
