"""How well a model finds the labels of images that have any number of them, over one process or many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..models.evaluation import evaluation_mode
from .evaluate import count_seen
from .losses import BinaryCrossEntropy
from .metrics import average_precision, f1_scores, mean_average_precision
from .parallel import merge_over_processes, unwrapped
from .teacher import final_logits


@dataclass(frozen=True)
class LabelsEvaluation:
    """The result of `evaluate_labels` for N samples and C classes; -1 stands for samples that were not seen.

    labels: [N, C], 0 and 1. scores: [N, C], probabilities of each class. loss: mean binary cross-entropy of a class, in
    nats. unreadable: a sentence for each image that could not be read (of this process).
    """

    labels: np.ndarray
    scores: np.ndarray
    loss: float
    unreadable: list[str] = field(default_factory=list)

    @property
    def seen(self) -> np.ndarray:
        """[N] booleans."""
        return self.labels[:, 0] >= 0

    def measures(self) -> dict[str, float]:
        """In percent: "map", mean average precision over the classes that are there, by which the best epoch is chosen;
        "f1", of all decisions at a probability of 0.5 (micro), and "macro_f1", its mean over the classes."""
        scores, present = self.scores[self.seen], self.labels[self.seen] > 0
        found = scores >= 0.5
        return {
            "map": 100 * mean_average_precision(scores, present),
            "f1": 100 * float(f1_scores(found.reshape(-1, 1), present.reshape(-1, 1))[0]),
            "macro_f1": 100 * float(f1_scores(found, present).mean()),
        }

    def average_precisions(self) -> list[float]:
        """Of each class, in percent; NaN for those that are never there."""
        scores, present = self.scores[self.seen], self.labels[self.seen] > 0
        return [100 * average_precision(scores[:, c], present[:, c]) for c in range(scores.shape[1])]


def evaluate_labels(model: nn.Layer, batches: Iterable[Any], num_samples: int, num_classes: int) -> LabelsEvaluation:
    """Run a model over batches (images, labels [B, C], indices, unreadable), as `vitlib.images.load_batches` gives them
    for an `ImageTable`. The arguments are otherwise those of `evaluate`.

    Raises ValueError for a model of another number of classes, and when no image was seen.
    """
    network = unwrapped(model)
    labels, scores = np.full([num_samples, num_classes], -1, np.int64), np.full([num_samples, num_classes], -1.0)
    loss, total, unreadable = BinaryCrossEntropy(0.0), 0.0, []
    with evaluation_mode(network), paddle.no_grad():
        for images, targets, indices, reasons in batches:
            unreadable += reasons
            if targets is None:  # nothing of the batch could be read
                continue
            logits = final_logits(network(images))
            if logits.shape[-1] != num_classes:
                raise ValueError(f"the model has {logits.shape[-1]} classes, and the images have {num_classes}")
            places = indices.numpy()
            labels[places], scores[places] = targets.numpy(), F.sigmoid(logits.astype("float32")).numpy()
            total += float(loss(logits, targets)) * len(places)
    (labels, scores), total = merge_over_processes([labels, scores], total)
    return LabelsEvaluation(labels, scores, total / count_seen(labels[:, 0], unreadable), unreadable)
