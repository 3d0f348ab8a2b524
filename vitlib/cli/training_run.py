"""The data, the run, the step and the end of a run, for train and finetune by their common options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle

from ..deploy import tune_cpu
from ..images import Mixup, Preprocess, TrainTransform
from ..images.resize import exact_fraction
from ..layers.norm import is_running_statistic
from ..training import (
    BinaryCrossEntropy,
    Evaluation,
    ExponentialMovingAverage,
    ImageData,
    LabelsEvaluation,
    Run,
    SoftTargetCrossEntropy,
    TrainingStep,
    warmup_cosine,
)
from ..training.metrics import describe_measures
from .errors import UsageError

# These may be others when a run is resumed
_MAY_CHANGE = {"data", "output", "workers", "threads", "cache", "save_every", "test", "teacher_cache"}


def start(arguments: argparse.Namespace) -> tuple[ImageData, Run]:
    """The images and the run of these options, on one process or as one of several."""
    world_size = paddle.distributed.get_world_size()
    if world_size > 1:
        paddle.distributed.init_parallel_env()
    tell(tune_cpu(arguments.threads, keep_memory=True))
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
        table=arguments.labels,
        validation_share=arguments.validation_share,
        train_share=arguments.train_share,
    )
    for note in data.notes:
        tell(note)
    record = {name: value for name, value in vars(arguments).items() if name in _options(arguments.parser)}
    record["batch_size"] = arguments.batch_size * world_size  # resumed on any number of processes
    if arguments.cache and arguments.squash is None:  # then the images are others, whatever the number
        record["cache is used"] = True
    run = Run(arguments.output, record, data.classes, may_change=_MAY_CHANGE, save_every=arguments.save_every)
    paddle.seed(arguments.seed)  # the same new weights in every process
    return data, run


def _options(parser: argparse.ArgumentParser) -> set[str]:
    return {action.dest for action in parser._actions} - {"help"}


def squashed(arguments: argparse.Namespace, preprocess: Preprocess) -> Preprocess:
    """The `Preprocess` of evaluation, with whole images squashed to the square of --squash before the centre crop."""
    if arguments.squash is None:
        return preprocess
    height, width = preprocess.target_size
    if arguments.squash < max(height, width):
        raise ValueError(f"--squash {arguments.squash}: expected at least the image size {preprocess.size}")
    return preprocess.replace(resize="squash", crop_fraction=exact_fraction(max(height, width), arguments.squash))


def prepare(arguments: argparse.Namespace, data: ImageData, preprocess: Preprocess) -> None:
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


def base_loss(arguments: argparse.Namespace, data: ImageData) -> SoftTargetCrossEntropy | BinaryCrossEntropy:
    """Cross-entropy, or of several labels an image binary cross-entropy, with the weights of --class-weights."""
    weights = class_weights(arguments.class_weights, data)
    if data.has_several_labels:
        return BinaryCrossEntropy(0.0, class_weights=weights)
    return SoftTargetCrossEntropy(arguments.label_smoothing, weights)


def class_weights(given: list[str] | None, data: ImageData) -> list[float] | None:
    """ "balanced" gives images / (classes · images of the class), of which the mean over the images is 1 where each has
    one class."""
    if given is None:
        return None
    if given == ["balanced"]:
        labels = data.train.labels
        counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(data.classes))
        return (counts.sum() / (len(counts) * np.maximum(counts, 1))).tolist()
    weights = dict.fromkeys(data.classes, 1.0)
    for pair in given:
        name, _, value = pair.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if name not in weights or not 0 < number < math.inf:
            raise UsageError(
                f"--class-weights {pair}: expected balanced, or CLASS=NUMBER with a number above 0 and a class of "
                f"{', '.join(data.classes[:8])}{', ...' if len(data.classes) > 8 else ''}"
            )
        weights[name] = number
    return list(weights.values())


def make_step(
    arguments: argparse.Namespace,
    data: ImageData,
    model: paddle.nn.Layer,
    loss: Callable[..., paddle.Tensor],
    groups: list[dict[str, Any]],
    *,
    lr: float,
    warmup_epochs: int,
    warmup_lr: float,
    final_lr: float,
) -> TrainingStep:
    """AdamW on these parameter groups, with warm-up and a cosine.

    warmup_epochs: where --warmup-epochs is not given; then at most a fifth of all.
    """
    epochs, warmup = arguments.epochs, arguments.warmup_epochs
    if warmup is None:
        warmup = min(warmup_epochs, epochs / 5)
        if warmup < warmup_epochs:
            tell(f"warm-up: {warmup:g} of {epochs} epochs, a fifth; --warmup-epochs sets it")
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


def finish(run: Run, evaluations: Mapping[str, Evaluation]) -> None:
    """Write result.json, and say what it holds in a few lines."""
    if run.rank:
        return
    sizes = {name: value.size for name, value in run.model.named_parameters() if not is_running_statistic(name)}
    parameters, seconds = sum(sizes.values()), run.seconds
    result = {"parameters": parameters, "seconds": round(seconds), "epoch": run.best["epoch"]}
    for part, found in evaluations.items():
        told, numbers = _result_of_labels(run, found) if isinstance(found, LabelsEvaluation) else _result(found)
        unread = len(found.labels) - int((found.labels.reshape(len(found.labels), -1)[:, 0] >= 0).sum())
        print(
            f"{part}: {told} of {len(found.labels) - unread} images"
            + (f", and {unread} that could not be read" if unread else "")
        )
        result[part] = {"images": len(found.labels), "loss": found.loss, **numbers, "unreadable": found.unreadable}
    run.write_json("result.json", {**result, "paddle": paddle.__version__})
    measure = "mAP" if isinstance(found, LabelsEvaluation) else "accuracy"
    print(f"the best of {run.num_epochs} epochs is {run.best['epoch']}, by its {measure} on validation images")
    print(f"{parameters:,} parameters, {seconds:.0f} s; everything is in {run.directory}")


def _result(found: Evaluation) -> tuple[str, dict[str, Any]]:
    """The sentence of an evaluation, and its record in result.json."""
    accuracies = {name: found.accuracy_of(name) for name in found.predictions}
    told = ", ".join(f"{name.replace('_', ' ')} {accuracy:.1f} %" for name, accuracy in accuracies.items())
    # which images were right, to compare runs: bits in hexadecimal
    right = {name: np.packbits(found.correct(name)).tobytes().hex() for name in accuracies}
    return told, {**accuracies, "right": right}


def _result_of_labels(run: Run, found: LabelsEvaluation) -> tuple[str, dict[str, Any]]:
    measures, each = found.measures(), found.average_precisions()
    by_class = {name: _or_null(value) for name, value in zip(run.classes, each, strict=True)}
    numbers = {name: _or_null(value) for name, value in measures.items()}
    return describe_measures(measures), {**numbers, "average_precision": by_class}


def _or_null(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return None if math.isnan(value) else value


def tell(text: object) -> None:
    """Print, in the first of several processes alone."""
    if paddle.distributed.get_rank() == 0:
        print(text, flush=True)
