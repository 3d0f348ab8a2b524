"""Classification losses for class indices and for soft targets, as timm computes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..images.checks import check_number


def soft_targets(
    labels: paddle.Tensor | np.ndarray, logits: paddle.Tensor, label_smoothing: float = 0.0, *, sigmoid: bool = False
) -> paddle.Tensor:
    """Labels of any kind -> soft targets [B, C], float, for logits [B, C].

    Args:
        labels: a tensor or array of class indices [B] or [B, 1] (integers, or booleans for two classes), soft targets
            [B, C] (floats), or one-hot [B, C] (integers or booleans).
        label_smoothing: moves every target towards the uniform distribution: (1 - s) · target + s / C (arXiv
            1512.00567, §7).
        sigmoid: for a sigmoid per class in place of the softmax. Several classes may then be present (multi-hot),
            only class indices are smoothed, and a single logit takes 0 or 1, [B] or [B, 1], smoothed to s / 2 and
            1 - s / 2.

    Raises ValueError for labels of another shape, for one logit without `sigmoid`, for one-hot labels that are not, and
    on the CPU, where looking costs nothing, for class indices outside 0..C - 1.
    """
    if not isinstance(labels, paddle.Tensor):
        labels = paddle.to_tensor(labels)
    soft, (batch, num_classes) = labels.is_floating_point(), logits.shape
    if num_classes == 1 and not sigmoid:
        raise ValueError(
            "a softmax over one class is always 1, so there is nothing to learn; use BinaryCrossEntropy with targets 0 "
            "and 1, or a head with num_classes=2"
        )
    per_class = list(labels.shape) == [batch, num_classes] and (num_classes > 1 or soft)
    if not per_class and (list(labels.shape) not in ([batch], [batch, 1]) or (soft and num_classes > 1)):
        raise ValueError(
            f"{'soft targets' if soft else 'integer labels'} have shape {list(labels.shape)} and the logits "
            f"{[batch, num_classes]}; expected class indices [{batch}] of an integer type, or soft targets "
            f"[{batch}, {num_classes}] of a float type"
        )
    if per_class:
        targets = labels if soft else _one_hot(labels, several=sigmoid)
        return targets if sigmoid else _smoothed(targets, label_smoothing, num_classes)
    if soft:  # of the only class
        return labels.reshape([-1, 1])
    labels = labels.reshape([-1]).astype("int64")  # one_hot takes no other
    _check_labels(labels, num_classes)
    if num_classes == 1:
        return _smoothed(labels.unsqueeze(1).astype("float32"), label_smoothing, 2)
    return _smoothed(F.one_hot(labels, num_classes), label_smoothing, num_classes)


def _smoothed(targets: paddle.Tensor, label_smoothing: float, num_classes: int) -> paddle.Tensor:
    return targets * (1 - label_smoothing) + label_smoothing / num_classes if label_smoothing else targets


def _one_hot(labels: paddle.Tensor, *, several: bool) -> paddle.Tensor:
    values = labels.astype("float32")
    counts = values.sum(axis=-1)
    if not several and bool((counts != 1).any()):
        raise ValueError(
            f"labels {list(labels.shape)} of {labels.dtype} name from {int(counts.min())} to {int(counts.max())} of "
            f"{labels.shape[-1]} classes in a row; a softmax takes one: use BinaryCrossEntropy for several, or soft "
            "targets of a float type"
        )
    if bool(((values != 0) & (values != 1)).any()):
        raise ValueError(
            f"labels {list(labels.shape)} of {labels.dtype} lie between {int(values.min())} and {int(values.max())}; "
            "expected 0 and 1 for each class"
        )
    return values


def _check_labels(labels: paddle.Tensor, num_classes: int) -> None:
    if labels.place.is_cpu_place() and labels.size:
        low, high, last = int(labels.min()), int(labels.max()), max(num_classes - 1, 1)
        if low < 0 or high > last:
            what = f"for num_classes={num_classes}" if num_classes > 1 else "for a single logit"
            raise ValueError(f"labels from {low} to {high}: expected 0 to {last} {what}")


def full_precision(logits: paddle.Tensor) -> paddle.Tensor:
    """float16 and bfloat16 logits as float32: their softmax over many classes would lose most of its digits."""
    return logits.astype("float32") if logits.dtype in (paddle.float16, paddle.bfloat16) else logits


def _check_weights(weights: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if weights is None else tuple(check_number("class_weights", w, "(0, inf)") for w in weights)


def _weighted(terms: paddle.Tensor, weights: tuple[float, ...] | None) -> paddle.Tensor:
    """[B, C], each column times its weight."""
    if weights is None:
        return terms
    if len(weights) != terms.shape[-1]:
        raise ValueError(f"class_weights has {len(weights)} numbers for {terms.shape[-1]} classes")
    return terms * paddle.to_tensor(weights, dtype=terms.dtype)


class SoftTargetCrossEntropy(nn.Layer):
    """-Σ_c target_c · log softmax(logits)_c, averaged over the batch; equals timm's SoftTargetCrossEntropy, and with
    class indices its LabelSmoothingCrossEntropy.

    Args:
        label_smoothing: in [0, 1], applied to indices and to soft targets alike (as PyTorch's `cross_entropy` does);
            leave it 0 for targets of a Mixup that has smoothed them.
        class_weights: [C], by which the term of each class is multiplied; the mean stays that over the batch (as in
            PyTorch's `cross_entropy` for soft targets). None: 1 for each.

    Called with logits [B, C] and class indices [B] or soft targets [B, C], see `soft_targets`. Gives a scalar.
    Raises ValueError for a label_smoothing outside [0, 1], for weights that are not above 0 or not one for each class,
    for targets that do not fit the logits (class indices that
    are too large are seen on the CPU alone), and for one class, whose softmax is always 1.
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.label_smoothing = check_number("label_smoothing", label_smoothing, "[0, 1]")
        self.class_weights = _check_weights(class_weights)

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor | np.ndarray) -> paddle.Tensor:
        log_probabilities = F.log_softmax(full_precision(logits), axis=-1)
        targets = soft_targets(labels, logits, self.label_smoothing).astype(log_probabilities.dtype)
        targets = _weighted(targets, self.class_weights)
        return -(targets * log_probabilities).sum(axis=-1).mean()


class BinaryCrossEntropy(nn.Layer):
    """One sigmoid per class (DeiT III, arXiv 2204.07118, §3; timm's BinaryCrossEntropy).

    Args:
        label_smoothing: s in [0, 1], applied to class indices only: soft targets come smoothed (as in timm). With a
            threshold indices are not smoothed either: every class would have s / C, and be present above 0.
        threshold: soft targets above it become 1, all others 0; None leaves them. DeiT III: 0.0, so that both classes
            of a mixed image are present, with targets of a Mixup of label_smoothing=0. Where that smooths by s,
            every class has s / C at least, and the threshold has to be above it.
        sum_classes: add the losses of the classes instead of averaging them (then C times larger).
        class_weights: [C], by which the loss of each class is multiplied; None: 1 for each.

    Called with logits [B, C] and class indices [B], multi-hot labels [B, C] of any type or soft targets [B, C]; with
    logits [B, 1] and targets 0 or 1, [B] or [B, 1]; see `soft_targets`. Gives a scalar, the mean over the batch. Raises
    ValueError as `SoftTargetCrossEntropy` does.
    """

    def __init__(
        self,
        label_smoothing: float = 0.1,
        *,
        threshold: float | None = None,
        sum_classes: bool = False,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.label_smoothing = check_number("label_smoothing", label_smoothing, "[0, 1]")
        self.threshold = threshold
        self.sum_classes = sum_classes
        self.class_weights = _check_weights(class_weights)

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor | np.ndarray) -> paddle.Tensor:
        logits = full_precision(logits)
        smoothing = self.label_smoothing if self.threshold is None else 0.0
        targets = soft_targets(labels, logits, smoothing, sigmoid=True).astype(logits.dtype)
        if self.threshold is not None:
            targets = (targets > self.threshold).astype(logits.dtype)
        # Not F.binary_cross_entropy_with_logits, whose gradient is wrong where a logit is exactly 0, as those of a head
        # that starts with zeros are (Paddle 3.0 to 3.3)
        losses = _weighted(F.softplus(logits) - targets * logits, self.class_weights)
        return (losses.sum(axis=-1) if self.sum_classes else losses).mean()
