"""finetune: a model with weights, on the classes of other images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .errors import UsageError
from .model_argument import image_size, locate, open_weights
from .parsing import Command, Parser, number, whole
from .training_options import DATA, add_common_options, add_data_and_run

if TYPE_CHECKING:
    from ..models import VisionTransformer


def finetune_options(parser: Parser) -> None:
    parser.describe(
        "Fine-tune a Vision Transformer on the classes of a folder of images, from\n"
        "published weights or your own. Images are normalised as the weights want it.\n\n"
        f"{DATA}\n\n"
        "Both heads of a distilled model are trained, by the loss of the mean of their\n"
        "logits, its prediction in evaluation; so does timm.",
        "vitlib finetune DATA --weights vit_tiny_patch16_224 --output runs/mine",
        "vitlib finetune DATA --weights hf:org/repo --head-only --output runs/probe",
        "vitlib finetune DATA --weights model.safetensors --preset deit_small_patch16_224 \\\n"
        "      --size 384 --output runs/large",
        usage="DATA --weights MODEL --output RUN [OPTIONS]",
    )
    add = add_data_and_run(parser)
    add("--weights", metavar="MODEL", required=True, help='a preset, weights or a run, see "vitlib --help"')
    add(
        "--preset",
        "--model",
        dest="model",
        metavar="PRESET",
        help="the preset that a file of weights is for, where the file does not tell (default: it tells)",
    )
    add("--allow", nargs="*", default=[], metavar="CHANGE", help="to the weights: distillation, class_row, patch, ...")
    add(
        "--size",
        type=whole(1),
        nargs="+",
        metavar="PIXELS",
        help="of images, or height and width (default: the model's)",
    )
    add("--drop-path", type=number("[0, 1)"), help="stochastic depth of the last block (default: the model's)")
    add("--head-only", action="store_true", help="train the head alone")
    add(
        "--freeze-blocks",
        type=whole(0),
        metavar="N",
        help="leave the embedding and the first N blocks as they are (default: train all)",
    )
    add(
        "--layer-decay",
        type=number("(0, 1]"),
        default=0.75,
        help="factor of the learning rate from each block to the one before; 1: the same for all",
    )
    add_common_options(
        parser,
        lr_help="of the head (default: 5e-4, with --head-only 3e-3)",
        warmup_epochs=1,
        epochs=20,
        clip=1.0,
        scale=0.4,
        augment="none",
        erasing=0.0,
        mixup=0.0,
        cutmix=0.0,
    )


def finetune(arguments: argparse.Namespace) -> None:
    from ..models import build_model
    from ..training import final_logits, fit, param_groups
    from .training_run import base_loss, finish, make_step, prepare, squashed, start

    if arguments.head_only and arguments.freeze_blocks is not None:
        raise UsageError("--freeze-blocks: not allowed with --head-only")
    image_size(arguments.size)
    data, run = start(arguments)
    # the checkpoint of a run that goes on has the weights
    model = _load_model(arguments, data.classes) if run.config is None else build_model(run.config)
    if arguments.head_only:
        model.freeze()
    elif arguments.freeze_blocks is not None:
        model.freeze(arguments.freeze_blocks)
    if arguments.squash:
        model.preprocess = squashed(arguments, model.preprocess)
    prepare(arguments, data, model.preprocess)

    loss = base_loss(arguments, data)
    lr = (3e-3 if arguments.head_only else 5e-4) if arguments.lr is None else arguments.lr
    step = make_step(
        arguments,
        data,
        model,
        lambda outputs, targets: loss(final_logits(outputs), targets),
        param_groups(model, arguments.weight_decay, layer_decay=arguments.layer_decay),
        lr=lr,
        warmup_epochs=1,
        warmup_lr=lr / 100,
        final_lr=lr / 100,
    )
    finish(run, fit(run, step, data, epochs=arguments.epochs))


def _load_model(arguments: argparse.Namespace, classes: list[str]) -> VisionTransformer:
    """The weights in a model with a head for these classes, which is fresh unless it was for exactly these."""
    from .training_run import tell

    options = {"allow": arguments.allow, "num_classes": len(classes)}
    if arguments.drop_path is not None:
        options["drop_path_rate"] = arguments.drop_path
    located = locate(arguments.weights, "--weights ")
    model = open_weights(located, arguments.model, arguments.size, options, note=arguments.note)
    report = str(model.load_report)
    if "head.weight" in model.load_report.loaded and list(model.labels or ()) != classes:
        model.reset_head(len(classes))
        report += "\nnote      the head is fresh: the weights have as many classes, but do not name these"
    tell(report)
    return model


COMMANDS = (Command("finetune", "a model with weights, on other classes", finetune_options, finetune),)
