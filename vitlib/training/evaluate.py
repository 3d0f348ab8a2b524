"""Accuracy of a model, of both heads where it has two, over one process or many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..models import DeiT
from ..models.evaluation import evaluation_mode
from .parallel import merge_over_processes, unwrapped
from .teacher import final_logits


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate` for N samples; -1 stands for those that were not seen, such as unreadable images.

    labels: [N] the true classes.
    predictions: {name: [N] classes}. "model" is the prediction in evaluation mode; a DeiT also has "class_head" and
        "distillation_head".
    loss: mean cross-entropy of the model, in nats.
    unreadable: a sentence for each image that could not be read (of this process).
    """

    labels: np.ndarray
    predictions: dict[str, np.ndarray]
    loss: float
    unreadable: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """Of the model, in percent of the samples that were seen."""
        return self.accuracy_of("model")

    def accuracy_of(self, name: str) -> float:
        """Of "model", "class_head" or "distillation_head", in percent."""
        return 100 * float(self.correct(name)[self.labels >= 0].mean())

    def measures(self) -> dict[str, float]:
        """{"accuracy": of the model, in percent}"""
        return {"accuracy": self.accuracy}

    def correct(self, name: str = "model") -> np.ndarray:
        """[N] booleans, False for samples that were not seen."""
        return (self.predictions[name] == self.labels) & (self.labels >= 0)


def evaluate(model: nn.Layer, batches: Iterable[Any], num_samples: int) -> Evaluation:
    """Run a model over batches as `vitlib.images.load_batches` gives them, (images, labels, indices, unreadable).

    model: in a `paddle.DataParallel` or not; the mode of each of its layers is as before when it returns or raises.
    num_samples: N, of the data set. Under `paddle.distributed` every process gives its share of the batches, and all
    get the same result.

    Raises ValueError for labels that the model has no classes for, and when no image was seen.
    """
    network = unwrapped(model)
    names = ["model", "class_head", "distillation_head"] if isinstance(network, DeiT) else ["model"]
    found = np.full([1 + len(names), num_samples], -1, np.int64)  # labels, then predictions
    total, unreadable = 0.0, []
    with evaluation_mode(network), paddle.no_grad():
        for images, labels, indices, reasons in batches:
            unreadable += reasons
            if labels is None:  # nothing of the batch could be read
                continue
            heads, classes = _logits(network, images), labels.numpy()
            if classes.min() < 0 or classes.max() >= heads[0].shape[-1]:
                raise ValueError(
                    f"labels from {classes.min()} to {classes.max()}, and the model has {heads[0].shape[-1]} "
                    "classes; give it a head for the classes of these images (reset_head)"
                )
            total += float(F.cross_entropy(heads[0], labels, reduction="sum"))
            rows = [classes, *(head.argmax(axis=-1).numpy() for head in heads)]
            found[:, indices.numpy()] = np.stack(rows)
    (found,), total = merge_over_processes([found], total)
    seen = count_seen(found[0], unreadable)
    return Evaluation(found[0], dict(zip(names, found[1:], strict=True)), total / seen, unreadable)


def _logits(network: nn.Layer, images: paddle.Tensor) -> list[paddle.Tensor]:
    """[the model's logits, and those of its heads where it has two], each [B, C]."""
    if isinstance(network, DeiT):
        heads = network(images, return_heads=True)
        return [final_logits(heads), *heads]
    return [final_logits(network(images))]


def count_seen(labels: np.ndarray, unreadable: list[str]) -> int:
    """How many of the labels [N] are not -1. Raises ValueError for none, with the first reason."""
    seen = int((labels >= 0).sum())
    if not seen:
        raise ValueError(f"none of {len(labels)} images could be read{': ' + unreadable[0] if unreadable else ''}")
    return seen
