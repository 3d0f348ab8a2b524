"""Train a Vision Transformer from scratch on a folder of pictures, with or without a teacher (DeiT, arXiv 2012.12877).

    python train_deit.py DATA --model deit_tiny_distilled_patch16_224 --teacher runs/teacher --output runs/student

DATA holds train/CLASS/*.jpg and validation/CLASS/*.jpg, and test/ for --test. The same command goes on where a run
was stopped or killed. --output gets log.csv, curve.png, checkpoints/, result.json and model/, which
vitlib.from_pretrained opens. A convnet, to be a teacher, is trained in the same way: --model paddle:resnet18.

Several processes: python -m paddle.distributed.launch --nproc_per_node 2 train_deit.py ... (README says more).
"""

import argparse
import functools
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import paddle

import vitlib
from vitlib.images import IMAGENET_MEAN, IMAGENET_STD, Mixup, TrainTransform
from vitlib.training import (
    DistillationLoss,
    ExponentialMovingAverage,
    ImageFolders,
    Run,
    Teacher,
    TrainingStep,
    final_logits,
    load_run,
    param_groups,
    read_record,
    warmup_cosine,
)

# Between a run and its resumption
MAY_CHANGE = {"data", "output", "workers", "threads", "save_every", "test", "teacher_cache"}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=Path, help="folder with train/, validation/ and perhaps test/")
    add("--output", type=Path, required=True, help="folder of this run; the same again resumes it")
    add("--model", default="deit_tiny_patch16_224", help="a preset, or paddle:NAME of paddle.vision.models")
    add("--set", nargs="*", default=[], metavar="OPTION=VALUE", help="of the model: img_size=64 depth=6 ...")
    add("--size", type=int, default=224, help="picture size of a paddle: model")
    add("--grey", action="store_true", help="one channel for a paddle: model, such as paddle:LeNet")
    add("--epochs", type=int, default=300)
    add("--batch-size", type=int, default=64, help="per process")
    add("--accumulate", type=int, default=1, help="batches for one optimizer step")
    add("--lr", type=float, default=5e-4, help="as it is used: the paper's 5e-4 is for 512 pictures a step")
    add("--warmup-epochs", type=float, default=5)
    add("--weight-decay", type=float, default=0.05)
    add("--clip", type=float, help="largest norm of the gradient (default: any)")
    add("--ema", type=float, help="decay of averaged weights, which are then evaluated and kept, too: 0.99996")
    add("--scale", type=float, default=0.08, help="smallest part of a picture that a crop keeps")
    add("--augment", default="rand-m9-mstd0.5-inc1", help="RandAugment in timm's language, 3a, or none")
    add("--color-jitter", type=float, help="for --augment 3a or none")
    add("--erasing", type=float, default=0.25, help="probability of random erasing")
    add("--mixup", type=float, default=0.8, help="alpha of Mixup; 0 leaves it out")
    add("--cutmix", type=float, default=1.0, help="alpha of CutMix; 0 leaves it out")
    add("--mix-prob", type=float, default=1.0, help="probability that a batch is mixed")
    add("--repeats", type=int, default=1, help="3: the paper's repeated augmentation")
    add("--label-smoothing", type=float, default=0.1)
    add("--teacher", type=Path, help="--output of the run that trained it")
    add(
        "--teacher-cache", type=Path, help="folder that keeps the teacher's logits, for runs that differ in the student"
    )
    add("--distillation", choices=["hard", "soft"], default="hard")
    add("--alpha", type=float, default=0.5, help="the teacher's share of the loss; the paper: hard 0.5, soft 0.1")
    add("--temperature", type=float, default=3.0, help="of soft distillation")
    add("--seed", type=int, default=0)
    add("--amp", choices=["bfloat16", "float16"], help="mixed precision, on a GPU")
    add("--recompute", action="store_true", help="less memory, a third more time")
    add("--workers", type=int, default=0, help="processes that read pictures")
    add("--threads", type=int, help="of the CPU (default: all cores)")
    add("--save-every", type=float, default=300, help="seconds between checkpoints, beside one after each epoch")
    add("--strict", action="store_true", help="stop at a picture that cannot be read, instead of leaving it out")
    add("--test", action="store_true", help="evaluate on test/, too, once at the end")
    arguments = parser.parse_args()
    if not arguments.model.startswith("paddle:") and (arguments.size != parser.get_default("size") or arguments.grey):
        parser.error("--size and --grey are for a paddle: model; for a preset use --set img_size=64 in_chans=1")
    return arguments


def build_model(arguments, num_classes):
    """A preset, or a network of paddle.vision.models -> (model, its Preprocess)."""
    name = arguments.model.removeprefix("paddle:")
    if name == arguments.model:
        build = functools.partial(vitlib.create_model, name)
    elif not callable(build := getattr(paddle.vision.models, name, None)):
        raise ValueError(f"paddle.vision.models has no network {name!r}; resnet18 is one of them")
    try:
        model = build(num_classes=num_classes, **arguments.set)
    except TypeError as error:
        raise ValueError(f"--set does not fit {arguments.model}: {error}") from error
    if name == arguments.model:
        return model, model.preprocess
    preprocess = vitlib.Preprocess(arguments.size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return model, preprocess.with_channels(1 if arguments.grey else 3)


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


class RememberedTeacher:
    """A teacher's logits by batch, [batches, B, classes] in a file: the same pictures, seed and augmentation give the
    same batches, whatever the student."""

    def __init__(self, teacher, arguments, data):
        names = "teacher, seed, batch_size, scale, augment, color_jitter, erasing, mixup, cutmix, mix_prob, repeats"
        of = [str(getattr(arguments, name)) for name in names.split(", ")]
        of += [teacher.student.to_dict(), paddle.distributed.get_rank(), paddle.distributed.get_world_size()]
        saved = sorted((arguments.teacher / "checkpoints").glob("*.safetensors"))
        of += [(path.name, path.stat().st_mtime_ns) for path in saved]  # a teacher that was trained anew is another
        for picture, _ in data.train.samples:  # one that was added, removed or changed makes other batches
            found = os.stat(picture)
            of.append((os.path.relpath(picture, data.train.root), found.st_size, found.st_mtime_ns))
        name = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]
        shape = (arguments.epochs * len(data.sampler), arguments.batch_size, len(data.classes))
        path = arguments.teacher_cache / f"{name}-{'x'.join(map(str, shape))}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # whole under its name, even if this process is killed now
            partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
            np.lib.format.open_memmap(partial, "w+", np.float32, shape)
            partial.replace(path)
        self.teacher = teacher
        self.logits = np.lib.format.open_memmap(path, "r+")

    def __call__(self, images, batch):
        known = self.logits[batch]
        if len(images) < len(known):  # some could not be read, and perhaps can be the next time
            return self.teacher(images)
        if not known.any(axis=-1).all():  # a new file holds zeros
            known[...] = self.teacher(images).numpy()
        return paddle.to_tensor(np.array(known))


def training_transform(arguments, preprocess):
    return TrainTransform.from_preprocess(
        preprocess,
        scale=(arguments.scale, 1.0),
        auto_augment=None if arguments.augment == "none" else arguments.augment,
        color_jitter=arguments.color_jitter,
        erasing=arguments.erasing,
    )


def mixing(arguments, num_classes):
    """Mixup and CutMix, without label smoothing, which the loss does; None for neither."""
    if not (arguments.mixup or arguments.cutmix):
        return None
    return Mixup(num_classes, arguments.mixup, arguments.cutmix, arguments.mix_prob, label_smoothing=0)


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
        repeats=arguments.repeats,
        num_workers=arguments.workers,
        on_unreadable="raise" if arguments.strict else "skip",
    )
    record = {**vars(arguments), "batch_size": arguments.batch_size * world_size}  # resumed on any number of processes
    run = Run(arguments.output, record, data.classes, may_change=MAY_CHANGE, save_every=arguments.save_every)

    paddle.seed(arguments.seed)  # the same weights in every process
    model, preprocess = build_model(arguments, len(data.classes))
    teacher = load_teacher(arguments.teacher, preprocess, data.classes) if arguments.teacher else None
    if teacher is None and isinstance(model, vitlib.DeiT):
        raise ValueError(
            f"{arguments.model} has a distillation token, which only a teacher trains: give --teacher, or a --model "
            "without one, such as deit_tiny_patch16_224"
        )
    mixup = mixing(arguments, len(data.classes))
    data.prepare(training_transform(arguments, preprocess), preprocess, mixup)
    if arguments.recompute:
        model.set_recompute()
    model.train()
    network = paddle.DataParallel(model) if world_size > 1 else model

    steps_per_epoch = data.steps_per_epoch(arguments.accumulate)
    schedule = warmup_cosine(
        arguments.lr,
        total_steps=arguments.epochs * steps_per_epoch,
        warmup_steps=int(arguments.warmup_epochs * steps_per_epoch),
        warmup_lr=min(1e-6, arguments.lr),
        final_lr=min(1e-5, arguments.lr),
    )
    loss = DistillationLoss(
        arguments.distillation if teacher else "none",
        alpha=arguments.alpha,
        temperature=arguments.temperature,
        label_smoothing=arguments.label_smoothing,
    )
    step = TrainingStep(
        network,
        loss,
        paddle.optimizer.AdamW(schedule, parameters=param_groups(model, arguments.weight_decay)),
        accumulate=arguments.accumulate,
        clip_norm=arguments.clip,
        amp=arguments.amp,
        schedule=schedule,
        ema=ExponentialMovingAverage(model, arguments.ema, warmup=True) if arguments.ema else None,
    )
    run.start(step, data.sampler, epochs=arguments.epochs)
    if teacher and arguments.teacher_cache:
        ask = RememberedTeacher(teacher, arguments, data)
    elif teacher:
        ask = lambda images, batch: teacher(images)  # noqa: E731
    if rank == 0:
        run.log.message(str(tuning))
    while run.training:
        for images, labels, _, _ in run.batches(data.batches()):
            images, targets = data.mix(images, labels)
            value = step(images, targets, *([ask(images, data.batch_number)] if teacher else []))
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
        arguments.set = parse_settings(arguments.set)
        train(arguments)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        sys.exit(f"train_deit.py: {error}")
    except KeyboardInterrupt:
        sys.exit("train_deit.py: stopped; the same command goes on from the last checkpoint")


if __name__ == "__main__":
    main()
