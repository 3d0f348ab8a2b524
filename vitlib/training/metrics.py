"""Numbers that say how good predictions are, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """How many samples of each class [rows] were taken for each class [columns]: [C, C] int64.

    labels, predictions: [N] classes. Raises ValueError for classes outside 0..C - 1.
    """
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    both = np.concatenate([labels, predictions])
    if both.size and (both.min() < 0 or both.max() >= num_classes):
        raise ValueError(f"classes from {both.min()} to {both.max()}: expected 0 to {num_classes - 1}")
    counts = np.bincount(num_classes * labels + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def calibration_error(confidences: np.ndarray, correct: np.ndarray, num_bins: int = 15) -> float:
    """Expected calibration error, in [0, 1] (Guo et al. 2017, arXiv 1706.04599, equation 3).

    Samples are sorted into bins of equal width by the probability of the predicted class; the differences between mean
    probability and accuracy are averaged, weighted by the samples of each bin.

    confidences: [N] in [0, 1]. correct: [N] booleans. Raises ValueError for no samples.
    """
    confidences, correct = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if not len(confidences):
        raise ValueError("there are no samples")
    # Bins are open below and closed above, as in the paper
    bins = np.clip(np.ceil(confidences * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=correct - confidences, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(confidences))


def average_precision(scores: np.ndarray, present: np.ndarray) -> float:
    """Area under the curve of precision over recall of one class, in [0, 1]; NaN where it is never present.

    The sum over thresholds of (increase in recall) · precision, without interpolation, as scikit-learn computes it;
    samples of equal score count together.

    scores: [N], higher where the class is more probable. present: [N] booleans.
    """
    scores, present = np.asarray(scores, np.float64), np.asarray(present, bool)
    if not present.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    found = np.cumsum(present[order])[last_of_equals]
    precision = found / (np.flatnonzero(last_of_equals) + 1)
    return float((np.diff(found, prepend=0) * precision).sum() / present.sum())


def mean_average_precision(scores: np.ndarray, present: np.ndarray) -> float:
    """The mean of `average_precision` over the classes that are present somewhere; NaN where there are none.

    scores: [N, C]. present: [N, C] booleans.
    """
    values = [average_precision(scores[:, c], present[:, c]) for c in range(scores.shape[1]) if present[:, c].any()]
    return float(np.mean(values)) if values else float("nan")


def f1_scores(predicted: np.ndarray, present: np.ndarray) -> np.ndarray:
    """2 · precision · recall / (precision + recall) of each class [C]; 0 where a class was neither found nor missed.

    predicted, present: [N, C] booleans. For the micro average, give them flattened, [N · C, 1].
    """
    predicted, present = np.asarray(predicted, bool), np.asarray(present, bool)
    right = (predicted & present).sum(axis=0)
    total = predicted.sum(axis=0) + present.sum(axis=0)
    return np.where(total > 0, 2 * right / np.maximum(total, 1), 0.0)


def describe_measures(measures: Mapping[str, float]) -> str:
    """Of measures by name, in percent, such as "mAP 81.2 %, F1 70.0 %"."""
    names = {"map": "mAP", "f1": "F1", "macro_f1": "macro F1"}
    return ", ".join(f"{names.get(name, name)} {value:.1f} %" for name, value in measures.items())
