"""Classification losses for class indices and for soft targets, as timm computes them."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from ..images.checks import check_number


def soft_targets(labels: paddle.Tensor, logits: paddle.Tensor, label_smoothing: float = 0.0) -> paddle.Tensor:
    """Class indices [B] or [B, 1] (integers), or soft targets [B, C] (floats), -> soft targets [B, C], float, for
    logits [B, C].

    label_smoothing moves every target towards the uniform distribution: (1 - s) · target + s / C (arXiv 1512.00567,
    §7). Raises ValueError for labels of another shape and, on the CPU, where looking costs nothing, for class indices
    outside 0..C - 1.
    """
    soft = labels.is_floating_point()
    shape, (batch, num_classes) = list(labels.shape), logits.shape
    if shape not in ([[batch, num_classes]] if soft else [[batch], [batch, 1]]):
        raise ValueError(
            f"{'soft targets' if soft else 'integer labels'} have shape {shape} and the logits {[batch, num_classes]}; "
            f"expected class indices [{batch}] of an integer type, or soft targets [{batch}, {num_classes}] of a float "
            "type"
        )
    targets = labels if soft else F.one_hot(labels.reshape([-1]), num_classes)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / num_classes
    return targets


def full_precision(logits: paddle.Tensor) -> paddle.Tensor:
    """float16 and bfloat16 logits as float32: their softmax over many classes would lose most of its digits."""
    return logits.astype("float32") if logits.dtype in (paddle.float16, paddle.bfloat16) else logits


class SoftTargetCrossEntropy(nn.Layer):
    """-Σ_c target_c · log softmax(logits)_c, averaged over the batch; equals timm's SoftTargetCrossEntropy, and with
    class indices its LabelSmoothingCrossEntropy.

    Args:
        label_smoothing: in [0, 1], applied to indices and to soft targets alike (as PyTorch's `cross_entropy` does);
            leave it 0 for targets of a Mixup that has smoothed them.

    Called with logits [B, C] and class indices [B] (an integer type) or soft targets [B, C]. Gives a scalar.
    Raises ValueError for a label_smoothing outside [0, 1] and for targets that do not fit the logits; class indices
    that are too large are seen on the CPU alone.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = check_number("label_smoothing", label_smoothing, "[0, 1]")

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        log_probabilities = F.log_softmax(full_precision(logits), axis=-1)
        targets = soft_targets(labels, logits, self.label_smoothing).astype(log_probabilities.dtype)
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

    Called with logits [B, C] and class indices [B] (an integer type) or soft targets [B, C]. Gives a scalar, the mean
    over the batch. Raises what `SoftTargetCrossEntropy` does.
    """

    def __init__(
        self, label_smoothing: float = 0.1, *, threshold: float | None = None, sum_classes: bool = False
    ) -> None:
        super().__init__()
        self.label_smoothing = check_number("label_smoothing", label_smoothing, "[0, 1]")
        self.threshold = threshold
        self.sum_classes = sum_classes

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        logits = full_precision(logits)
        smooths = not labels.is_floating_point() and self.threshold is None
        targets = soft_targets(labels, logits, self.label_smoothing if smooths else 0.0).astype(logits.dtype)
        if self.threshold is not None:
            targets = (targets > self.threshold).astype(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (losses.sum(axis=-1) if self.sum_classes else losses).mean()
