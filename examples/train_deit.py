"""Train a Vision Transformer from scratch on a folder of images, with or without a teacher (DeiT, arXiv 2012.12877).

    python train_deit.py DATA --output runs/teacher --model small_resnet.py:small_resnet --size 64 --mixup 0 --cutmix 0
    python train_deit.py DATA --output runs/student --model deit_tiny_distilled_patch16_224 --teacher runs/teacher

DATA holds train/CLASS/*.jpg, validation/CLASS/*.jpg (or val/) and test/ for --test; without a folder for validation, or
as CLASS/*.jpg alone, a share of the training images is set apart.

RUN gets log.csv, curve.png, checkpoints/, result.json and model/, the best epoch by its accuracy on validation images,
which vitlib.from_pretrained and classify.py --weights RUN open. The same command goes on where a run was stopped or
killed. A convnet, to be a teacher, is trained in the same way.

Several processes: python -m paddle.distributed.launch --nproc_per_node 2 train_deit.py ... (README says more).
"""

import startup  # isort: skip

import argparse
import functools
import importlib.util
import json
from pathlib import Path

import paddle
import training_script as script
from weights_option import check_preset

import vitlib
from vitlib.images import IMAGENET_MEAN, IMAGENET_STD
from vitlib.training import DistillationLoss, RememberedTeacher, Teacher, fit, load_run, param_groups, read_record


def parse_arguments():
    parser, add = script.make_parser(__doc__)
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
    add("--size", type=script.whole(1), default=224, help="image size of a model that is no preset")
    add("--grey", action="store_true", help="one channel for a model that is no preset, such as paddle:LeNet")
    add = parser.add_argument_group("the teacher").add_argument
    add("--teacher", metavar="RUN", type=Path, help="--output of the run that trained it (default: none)")
    add(
        "--teacher-cache",
        metavar="FOLDER",
        type=Path,
        help="keeps its logits, for runs with other students (default: it is asked anew)",
    )
    add("--distillation", choices=["hard", "soft"], default="hard", help="kind")
    add(
        "--alpha",
        type=script.number("[0, 1]"),
        default=0.5,
        help="share of the loss; the paper: hard 0.5, soft 0.1",
    )
    add("--temperature", type=script.number("(0, 1e6]"), default=3.0, help="of soft distillation")
    add("--standardize", action="store_true", help="z-score logits for soft distillation (arXiv 2403.01427)")
    script.add_common_options(
        parser, lr_help="as it is used: the paper's 5e-4 is for 512 images a step", warmup_epochs=5, lr=5e-4
    )
    arguments = parser.parse_args()
    if ":" not in arguments.model and (arguments.size != parser.get_default("size") or arguments.grey):
        parser.error("--size and --grey are for other models; for a preset use --set img_size=64 in_chans=1")
    return arguments


def build_model(arguments, num_classes):
    """A preset, or another network -> (model, its Preprocess)."""
    source, colon, name = arguments.model.rpartition(":")
    if not colon:
        check_preset("--model", name)
        build = functools.partial(vitlib.create_model, name)
    elif source == "paddle":
        if not callable(build := getattr(paddle.vision.models, name, None)):
            raise ValueError(f"paddle.vision.models has no network {name!r}; resnet18 is one of them")
    else:
        build = own_network(source, name)
    try:
        model = build(num_classes=num_classes, **arguments.set)
    except TypeError as error:
        raise ValueError(f"--set does not fit {arguments.model}: {error}") from error
    if colon:
        preprocess = vitlib.Preprocess(arguments.size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return model, script.squashed(arguments, preprocess.with_channels(1 if arguments.grey else 3))
    if arguments.squash:
        model.preprocess = script.squashed(arguments, model.preprocess)
    return model, model.preprocess


def own_network(source, name):
    """The function `name` of a Python file, here or beside this script."""
    path = next((path for path in (Path(source), Path(__file__).parent / source) if path.is_file()), None)
    if path is None or path.suffix != ".py":
        raise ValueError(f"--model {source}:{name}: expected FILE.py:NAME, with the file here or beside the script")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(build := getattr(module, name, None)):
        raise ValueError(f"--model {source}:{name}: {path} has no function {name!r}")
    return build


def parse_settings(pairs):
    """["img_size=64", "global_pool=avg"] -> {"img_size": 64, "global_pool": "avg"}"""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: expected OPTION=VALUE, such as depth=6")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings


def load_teacher(run, student_preprocess, classes):
    """The model that another run of this script trained, frozen."""
    if not (run / "run.json").exists():
        raise FileNotFoundError(f"{run} is no run of this script: it has no run.json. Give the --output of one")
    made = read_record(run)
    if made["classes"] != classes:
        raise ValueError(f"the teacher knows the classes {made['classes']}, and the data have {classes}")
    is_vit = made.get("config") is not None  # of this script or of finetune.py
    for name in ["result.json", *["model"] * is_vit]:
        if not (run / name).exists():
            raise ValueError(f"the teacher's run {run} has not finished: it has no {name}; run its command again")
    if is_vit:
        return Teacher(vitlib.from_pretrained(run / "model"), student=student_preprocess)
    model, preprocess = build_model(argparse.Namespace(**made["arguments"]), len(classes))
    load_run(run, model)
    return Teacher(model, preprocess, student=student_preprocess)


def train(arguments):
    arguments.set = parse_settings(arguments.set)
    data, run = script.start(arguments)
    model, preprocess = build_model(arguments, len(data.classes))
    teacher = load_teacher(arguments.teacher, preprocess, data.classes) if arguments.teacher else None
    if teacher is None and isinstance(model, vitlib.DeiT):
        raise ValueError(
            f"{arguments.model} has a distillation token, which only a teacher trains: give --teacher, or a --model "
            "without one, such as deit_tiny_patch16_224"
        )
    script.prepare(arguments, data, preprocess)
    loss = DistillationLoss(
        arguments.distillation if teacher else "none",
        alpha=arguments.alpha,
        temperature=arguments.temperature,
        standardize=arguments.standardize,
        label_smoothing=arguments.label_smoothing,
    )
    step = script.make_step(
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
    script.finish(run, fit(run, step, data, epochs=arguments.epochs, teacher=teacher))


if __name__ == "__main__":
    arguments = parse_arguments()
    startup.end_with_a_sentence(lambda: train(arguments), lambda: script.stopped(arguments))
