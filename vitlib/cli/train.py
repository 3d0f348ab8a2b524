"""train: a model from random weights, with or without a teacher."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .model_argument import check_preset
from .parsing import Command, Parser, number, settings, whole
from .training_options import DATA, add_common_options, add_data_and_run

DEFAULT_SIZE = 224

if TYPE_CHECKING:
    from paddle import nn

    from ..images import Preprocess
    from ..training import Teacher


def train_options(parser: Parser) -> None:
    parser.describe(
        "Train a Vision Transformer from scratch on a folder of images, with or without a\n"
        f"teacher (DeiT, arXiv 2012.12877).\n\n{DATA}\n\n"
        "A convnet, to be a teacher, is trained in the same way.\n\n"
        "Defaults are DeiT's. Its script also has drop path, repeated augmentation and an\n"
        "average of weights: --set drop_path_rate=0.1 --repeats 3 --ema 0.99996, and\n"
        "--lr 1e-3 for 1024 images a step.",
        "vitlib train DATA --output runs/mine --set img_size=64 patch_size=8",
        "vitlib train DATA --output runs/teacher --model paddle:resnet18 --mixup 0 --cutmix 0",
        "vitlib train DATA --output runs/student --model deit_tiny_distilled_patch16_224 \\\n"
        "      --teacher runs/teacher",
        usage="DATA --output RUN [OPTIONS]",
    )
    add = add_data_and_run(parser)
    add(
        "--model",
        default="deit_tiny_patch16_224",
        help="a preset; paddle:NAME of paddle.vision.models; or FILE.py:NAME, a function of your own(num_classes=...)",
    )
    add(
        "--set",
        nargs="*",
        default=[],
        metavar="OPTION=VALUE",
        help="options of the model: img_size=64 depth=6 ...",
    )
    add("--size", type=whole(1), default=DEFAULT_SIZE, help="image size of a model that is no Vision Transformer")
    add(
        "--grey",
        action="store_true",
        help="one channel for such a model, as paddle:LeNet takes; your own may need --set in_chans=1, too",
    )
    add = parser.add_argument_group("the teacher").add_argument
    add("--teacher", metavar="RUN", type=Path, help="--output of the run that trained it (default: none)")
    add(
        "--teacher-model",
        metavar="FILE.py:NAME",
        help="its network, where it is a function of your own: a file that its run only names is not run "
        "(default: none)",
    )
    add(
        "--teacher-cache",
        metavar="FOLDER",
        type=Path,
        help="keeps its logits, for runs with other students (default: it is asked anew)",
    )
    add("--distillation", choices=["hard", "soft"], default="hard", help="kind")
    add("--alpha", type=number("[0, 1]"), default=0.5, help="share of the loss; the paper: hard 0.5, soft 0.1")
    add("--temperature", type=number("(0, 1e6]"), default=3.0, help="of soft distillation")
    add("--standardize", action="store_true", help="z-score logits for soft distillation (arXiv 2403.01427)")
    add_common_options(
        parser, lr_help="as it is used: the paper's 5e-4 is for 512 images a step", warmup_epochs=5, lr=5e-4
    )


def train(arguments: argparse.Namespace) -> None:
    from ..models import DeiT
    from ..training import DistillationLoss, RememberedTeacher, fit, param_groups
    from .training_run import base_loss, finish, make_step, prepare, start

    if ":" not in arguments.model and _other_images(arguments):
        raise UsageError("--size and --grey are for other models; for a preset use --set img_size=64 in_chans=1")
    if arguments.teacher and arguments.labels:
        raise UsageError("--teacher is for images with one class each, and --labels gives several")
    arguments.set = settings(arguments.set)
    data, run = start(arguments)
    model, preprocess = _build_model(arguments, len(data.classes))
    teacher = _load_teacher(arguments, preprocess, data.classes) if arguments.teacher else None
    if teacher is None and isinstance(model, DeiT):
        raise UsageError(
            f"{arguments.model} has a distillation token, which only a teacher trains: give --teacher, or a --model "
            "without one, such as deit_tiny_patch16_224"
        )
    prepare(arguments, data, preprocess)
    loss = DistillationLoss(
        arguments.distillation if teacher else "none",
        alpha=arguments.alpha,
        temperature=arguments.temperature,
        standardize=arguments.standardize,
        base=base_loss(arguments, data),
    )
    step = make_step(
        arguments,
        data,
        model,
        loss,
        param_groups(model, arguments.weight_decay),
        lr=arguments.lr,
        warmup_epochs=5,
        warmup_lr=min(1e-6, arguments.lr),
        final_lr=min(1e-5, arguments.lr),
    )
    if teacher and arguments.teacher_cache:
        teacher = RememberedTeacher(teacher, arguments.teacher_cache, data, arguments.epochs)
    finish(run, fit(run, step, data, epochs=arguments.epochs, teacher=teacher))


def _build_model(arguments: argparse.Namespace, num_classes: int) -> tuple[nn.Layer, Preprocess]:
    """A preset, or another network, and its `Preprocess`."""
    import paddle

    from ..images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
    from ..models import VisionTransformer
    from ..pretrained import create_model
    from .training_run import squashed

    source, colon, name = arguments.model.rpartition(":")
    if not colon:
        build = functools.partial(create_model, check_preset(name, "--model "))
    elif source == "paddle":
        if not callable(build := getattr(paddle.vision.models, name, None)):
            raise UsageError(f"paddle.vision.models has no network {name!r}; resnet18 is one of them")
    else:
        build = _own_network(source, name)
    model = _called(build, arguments, num_classes=num_classes, **arguments.set)
    if not isinstance(model, VisionTransformer):
        preprocess = Preprocess(arguments.size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return model, squashed(arguments, preprocess.with_channels(1 if arguments.grey else 3))
    if _other_images(arguments):
        raise UsageError(
            f"{arguments.model} is a {type(model).__name__}, whose config has the size and the channels of its images: "
            "leave out --size and --grey, and use --set img_size=64 in_chans=1"
        )
    if arguments.squash:
        model.preprocess = squashed(arguments, model.preprocess)
    return model, model.preprocess


def _other_images(arguments: argparse.Namespace) -> bool:
    """Whether --size or --grey was given."""
    return arguments.grey or arguments.size != DEFAULT_SIZE


def _called(build: Callable[..., Any], arguments: argparse.Namespace, **options: Any) -> Any:
    """build(**options). Raises UsageError where it does not take them."""
    signature = inspect.signature(build)
    try:
        signature.bind(**options)
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
            return build(**options)  # which gives them to another function
    except TypeError as error:
        raise UsageError(f"--set does not fit {arguments.model}: {error}") from error
    return build(**options)


def _own_network(source: str, name: str) -> Callable[..., Any]:
    """The function `name` of a Python file, here or beside the program that was started."""
    path = next((path for path in (Path(source), Path(sys.argv[0]).parent / source) if path.is_file()), None)
    if path is None or path.suffix != ".py":
        raise UsageError(f"--model {source}:{name}: expected FILE.py:NAME, with the file here or beside the script")
    spec = importlib.util.spec_from_file_location(f"_vitlib_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look for it
    spec.loader.exec_module(module)
    if not callable(build := getattr(module, name, None)):
        raise UsageError(f"--model {source}:{name}: {path} has no function {name!r}")
    return build


def _load_teacher(arguments: argparse.Namespace, student_preprocess: Preprocess, classes: list[str]) -> Teacher:
    """The model that another run trained, frozen."""
    from ..pretrained import from_pretrained
    from ..training import Teacher, load_run, read_record

    run = arguments.teacher
    if not (run / "run.json").exists():
        raise UsageError(f"--teacher {run} is no run: it has no run.json. Give the --output of one")
    made = read_record(run)
    if made["classes"] != classes:
        raise UsageError(f"the teacher knows the classes {made['classes']}, and the data have {classes}")
    is_vit = made.get("config") is not None
    for name in ["result.json", *["model"] * is_vit]:
        if not (run / name).exists():
            raise UsageError(f"the teacher's run {run} has not finished: it has no {name}; run its command again")
    if is_vit and not arguments.teacher_model:
        try:
            return Teacher(from_pretrained(run / "model"), student=student_preprocess)
        except ValueError as error:
            source = made["arguments"].get("model") or ""
            if ":" not in source:
                raise
            raise UsageError(f"{error} Here: give --teacher-model {source}, if you trust this file") from error
    # runs of before there were these options
    recorded = {"squash": None, "grey": False, "size": DEFAULT_SIZE, **made["arguments"]}
    if arguments.teacher_model:
        recorded["model"] = arguments.teacher_model
    elif ":" in recorded["model"].removeprefix("paddle:"):  # the record is data, and may come from somebody else
        raise UsageError(
            f"the teacher's run {run} was made with --model {recorded['model']}, a Python file; give --teacher-model "
            "FILE.py:NAME to run it"
        )
    model, preprocess = _build_model(argparse.Namespace(**recorded), len(classes))
    load_run(run, model)
    return Teacher(model, preprocess, student=student_preprocess)


COMMANDS = (Command("train", "a model from scratch, with or without a teacher", train_options, train),)
