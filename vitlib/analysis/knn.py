"""Classification by nearest neighbours among features, as DINO evaluates them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..images.checks import check_count, check_number
from .folder_features import FolderFeatures, check_same_classes

_PRODUCTS = 1 << 24  # similarities held at once, 64 MB


def knn_scores(train: FolderFeatures, features: np.ndarray, k: int = 20, temperature: float = 0.07) -> np.ndarray:
    """Scores of each class by weighted votes of the k nearest training images: [M, D] -> [M, C] (Wu et al. 2018, arXiv
    1805.01978, as in DINO, arXiv 2104.14294, `eval_knn.py`).

    Features are normalised; each of the k training images with the largest cosine similarity s votes for its class with
    exp(s / temperature). The scores of an image are divided by their sum.

    Args:
        train: features of labelled images.
        features: [M, D].
        k: number of neighbours; all of them where there are fewer.
        temperature: above 0.

    Raises ValueError for a k below 1, another temperature, no training images, and features of another width.
    """
    k, temperature = check_count("k", k, 1), check_number("temperature", temperature, "(0, inf)")
    known, queries = _normalized(train.features), _normalized(features)
    if known.shape[1] != queries.shape[1]:
        raise ValueError(f"found features of width {queries.shape[1]}, expected {known.shape[1]} as for training")
    if not len(known):
        raise ValueError("found no training images, expected features of at least one")
    k, scores = min(k, len(known)), np.zeros([len(queries), len(train.classes)])
    step = max(1, _PRODUCTS // len(known))
    for start in range(0, len(queries), step):
        similar = queries[start : start + step] @ known.T  # [m, M_train]
        nearest = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        closeness = np.take_along_axis(similar, nearest, axis=1).astype("float64")
        votes = np.exp((closeness - closeness.max(axis=1, keepdims=True)) / temperature)  # the largest is 1
        rows = np.arange(start, start + len(similar))[:, None]
        np.add.at(scores, (rows, train.labels[nearest]), votes)
    return scores / scores.sum(axis=1, keepdims=True)


def knn_accuracy(
    train: FolderFeatures, test: FolderFeatures, k: int | Iterable[int] = (10, 20), temperature: float = 0.07
) -> dict[int, float]:
    """Share of the test images whose class has the largest score, in [0, 1], for each k; see `knn_scores`.

    Raises ValueError for folders with other classes, and as `knn_scores` does.
    """
    check_same_classes(train.classes, test.classes)
    counts = list(k) if isinstance(k, Iterable) else [k]
    found = {count: knn_scores(train, test.features, count, temperature).argmax(axis=1) for count in counts}
    return {count: float((guesses == test.labels).mean()) for count, guesses in found.items()}


def _normalized(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, "float32")
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
