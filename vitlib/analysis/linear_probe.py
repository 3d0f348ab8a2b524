"""A linear classifier on features that stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F

from ..images.checks import check_count, check_number
from .folder_features import FolderFeatures, check_same_classes


@dataclass(frozen=True)
class LinearProbe:
    """Logits are features @ weight + bias.

    weight: [D, C] float32.
    bias: [C] float32.
    classes: names.
    l2: the penalty that it was trained with.
    """

    weight: np.ndarray
    bias: np.ndarray
    classes: tuple[str, ...]
    l2: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """[M, D] -> [M, C]"""
        return np.asarray(features, "float32") @ self.weight + self.bias

    def accuracy(self, test: FolderFeatures) -> float:
        """Share of the images whose class has the largest logit, in [0, 1]. Raises ValueError for other classes."""
        check_same_classes(self.classes, test.classes)
        return float((self.logits(test.features).argmax(axis=1) == test.labels).mean())


def linear_probe(
    train: FolderFeatures, l2: float | Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4), *, seed: int = 0, steps: int = 300
) -> LinearProbe:
    """Multinomial logistic regression on features, by L-BFGS (as CLIP is probed, arXiv 2103.00020, appendix A.3).

    Minimises mean cross-entropy + l2 / 2 · ‖W‖², with features scaled to mean 0 and variance 1; the bias has no
    penalty. The scaling is folded into the weights.

    Args:
        train: features of labelled images.
        l2: the penalty, above 0. Of several, the one with the best accuracy on a fifth of the images, drawn by `seed`;
            then it is trained on all of them.
        seed: of that draw.
        steps: most iterations of L-BFGS.

    Raises ValueError for a penalty or steps that cannot work, and for images of fewer than two classes.
    """
    penalties = [check_number("l2", value, "(0, inf)") for value in (l2 if isinstance(l2, Iterable) else [l2])]
    steps = check_count("steps", steps, 1)
    if not penalties:
        raise ValueError("l2=(): expected at least one penalty")
    if len(np.unique(train.labels)) < 2:
        raise ValueError(f"found images of {len(np.unique(train.labels))} class, expected at least two to tell apart")
    features, labels, classes = np.asarray(train.features, "float64"), train.labels, len(train.classes)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale < 1e-6 * max(scale.max(), 1e-30)] = np.inf  # a feature that never changes says nothing
    scaled = ((features - mean) / scale).astype("float32")
    chosen = penalties[0] if len(penalties) == 1 else _best(scaled, labels, classes, penalties, seed, steps)
    weight, bias = _fit(scaled, labels, classes, chosen, steps)
    weight = weight / scale[:, None]
    return LinearProbe(weight.astype("float32"), (bias - mean @ weight).astype("float32"), train.classes, chosen)


def _best(
    features: np.ndarray, labels: np.ndarray, classes: int, penalties: Sequence[float], seed: int, steps: int
) -> float:
    order = np.random.default_rng(seed).permutation(len(labels))
    held, rest = order[: max(1, len(order) // 5)], order[max(1, len(order) // 5) :]
    start, scores = None, {}
    for l2 in sorted(penalties, reverse=True):  # each starts where the stronger penalty ended
        start = _fit(features[rest], labels[rest], classes, l2, steps, start)
        guesses = (features[held] @ start[0] + start[1]).argmax(axis=1)
        scores[l2] = (guesses == labels[held]).mean()
    return max(scores, key=scores.get)


def _fit(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    l2: float,
    steps: int,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight [D, C] and bias [C]."""
    x, targets = paddle.to_tensor(features, dtype="float64"), paddle.to_tensor(labels)
    if start is None:
        start = np.zeros([features.shape[1], classes]), np.zeros(classes)
    weight, bias = (paddle.to_tensor(part, dtype="float64", stop_gradient=False) for part in start)
    optimizer = paddle.optimizer.LBFGS(
        max_iter=steps, tolerance_grad=1e-5, history_size=10, line_search_fn="strong_wolfe", parameters=[weight, bias]
    )

    def closure() -> paddle.Tensor:
        optimizer.clear_grad()
        loss = F.cross_entropy(x @ weight + bias, targets) + l2 / 2 * (weight**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.numpy(), bias.numpy()
