"""Distillation as DeiT does it (arXiv 2012.12877, §4): hard, soft or none, with or without the token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ..images.checks import check_name, check_number
from .losses import SoftTargetCrossEntropy, full_precision

KINDS = ("none", "hard", "soft")
REDUCTIONS = ("batchmean", "original")

Heads = paddle.Tensor | tuple[paddle.Tensor, paddle.Tensor] | list[paddle.Tensor]


class DistillationLoss(nn.Layer):
    """(1 - alpha) · base(logits, labels) + alpha · distillation(distillation_logits, teacher_logits).

    Args:
        kind: "hard": cross-entropy with the teacher's most probable class (§4, "hard-label distillation");
            "soft": temperature² · KL(teacher ‖ student), both softened by the temperature (§4, "soft distillation");
            "none": the base loss on the class head alone, for baselines.
        alpha: share of the teacher, in [0, 1]. The paper: 0.5 for hard; for soft its λ 0.1 with temperature 3.
        temperature: τ of soft distillation, above 0. Hard distillation does not use it.
        reduction: of soft distillation. "batchmean": the divergence, averaged over the batch, as the paper writes it.
            "original": as the original code, which divides by every element of the logits (`numel`) and so weighs
            the teacher C times less, C being the number of classes.
        standardize: z-score the logits of the student and of the teacher over the classes before the temperature
            divides them, so that the student learns the teacher's relations between classes, not its scale
            ("Logit Standardization in Knowledge Distillation", arXiv 2403.01427; standard deviations over C - 1, as in
            its code). A deviation below 0.1 counts as 0.1: a head that starts with zeros would have an infinite
            gradient.
        label_smoothing: of the default base loss, `SoftTargetCrossEntropy`, in [0, 1]; the teacher's labels are never
            smoothed. The paper: 0.1. Leave it 0 for targets of a Mixup that has smoothed them.
        base: another base loss, called with (logits, labels); it brings its own label smoothing.

    Called as `loss(outputs, labels, teacher_logits)`:
        outputs: what `vitlib.DeiT` gives in training, (logits, distillation_logits), each [B, C]; or one tensor
            [B, C], on which both terms then act (the paper's distillation without a token).
        labels: class indices [B] or soft targets [B, C]; an array or a tensor.
        teacher_logits: [B, C]; they receive no gradient. None for kind "none".
    Returns a scalar. Equals facebookresearch/deit's `DistillationLoss` (reduction="original"). `for_model_fit` is the
    same for `paddle.Model`.

    Raises ValueError for a kind, alpha, temperature, reduction or label smoothing that cannot work, for a missing
    teacher, and for logits that do not fit each other. With kind "none" the second head of a DeiT gets no gradient, and
    `paddle.DataParallel` waits for one: `TrainingStep` handles this; in a loop of your own add 0 times its logits.
    """

    def __init__(
        self,
        kind: str = "hard",
        *,
        alpha: float = 0.5,
        temperature: float = 3.0,
        reduction: str = "batchmean",
        standardize: bool = False,
        label_smoothing: float = 0.0,
        base: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor] | None = None,
    ) -> None:
        super().__init__()
        if base is not None and label_smoothing:
            raise ValueError(
                f"label_smoothing={label_smoothing} belongs to the default base loss, and base={base!r} was given; "
                "give the smoothing to that loss"
            )
        self.kind = check_name("kind", kind, KINDS)
        self.alpha = check_number("alpha", alpha, "[0, 1]")
        self.temperature = check_number("temperature", temperature, "(0, 1e6]")
        self.reduction = check_name("reduction", reduction, REDUCTIONS)
        if standardize and kind != "soft":
            raise ValueError(f"standardize is for kind='soft', and kind={kind!r} does not use it")
        self.standardize = standardize
        self.base = SoftTargetCrossEntropy(label_smoothing) if base is None else base

    def forward(
        self, outputs: Heads, labels: paddle.Tensor, teacher_logits: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        logits, distillation_logits = _heads(outputs)
        base = self.base(logits, labels)
        if self.kind == "none":
            return base
        if teacher_logits is None:
            raise ValueError(
                f"kind={self.kind!r} needs teacher_logits; call loss(outputs, labels, teacher_logits), or use "
                "loss.base for the loss without a teacher"
            )
        if list(distillation_logits.shape) != list(teacher_logits.shape):
            raise ValueError(
                f"the student's logits have shape {list(distillation_logits.shape)} and the teacher's "
                f"{list(teacher_logits.shape)}; expected the same [batch, classes], with the classes in the same order"
            )
        if distillation_logits.shape[-1] == 1:
            raise ValueError("distillation compares the probabilities of classes, and there is one class alone")
        student, teacher = full_precision(distillation_logits), full_precision(teacher_logits.detach())
        term = self._hard(student, teacher) if self.kind == "hard" else self._soft(student, teacher)
        return (1 - self.alpha) * base + self.alpha * term

    def for_model_fit(self, *outputs_and_targets: paddle.Tensor) -> paddle.Tensor:
        """The loss for `paddle.Model(...).prepare(optimizer, loss.for_model_fit)`, which passes outputs unpacked:
        (logits, distillation_logits, labels, teacher_logits) in training, (logits, labels, teacher_logits) in
        evaluation; with kind "none" without teacher_logits.

        The data give (image, label, teacher_logits) per sample. Raises TypeError for another number of tensors.
        """
        num_targets = 1 if self.kind == "none" else 2
        outputs, targets = outputs_and_targets[:-num_targets], outputs_and_targets[-num_targets:]
        if len(outputs) not in (1, 2):
            raise TypeError(
                f"found {len(outputs_and_targets)} tensors; kind={self.kind!r} expects one or two outputs and "
                f"{num_targets} target(s): {'labels' if num_targets == 1 else 'labels, teacher_logits'}"
            )
        return self(outputs[0] if len(outputs) == 1 else outputs, *targets)

    def _hard(self, student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
        return F.cross_entropy(student, teacher.argmax(axis=-1))

    def _soft(self, student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
        teacher = teacher.astype(student.dtype)
        if self.standardize:
            student, teacher = _standardized(student), _standardized(teacher)
        log_student = F.log_softmax(student / self.temperature, axis=-1)
        log_teacher = F.log_softmax(teacher / self.temperature, axis=-1)
        # written out, for F.kl_div takes logarithmic targets for probabilities unless told, and gives 0
        divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(axis=-1).mean()
        if self.reduction == "original":
            divergence = divergence / student.shape[-1]
        return divergence * self.temperature**2

    def extra_repr(self) -> str:
        soft = f", temperature={self.temperature}, reduction={self.reduction!r}" if self.kind == "soft" else ""
        soft += ", standardize=True" if self.standardize else ""
        return f"kind={self.kind!r}, alpha={self.alpha}{soft}"


def _standardized(logits: paddle.Tensor) -> paddle.Tensor:
    """[B, C] -> [B, C], each row of mean 0 and standard deviation 1."""
    centred = logits - logits.mean(axis=-1, keepdim=True)
    variance = centred.square().sum(axis=-1, keepdim=True) / (logits.shape[-1] - 1)
    return centred / variance.clip(min=0.01).sqrt()


def _heads(outputs: Any) -> tuple[paddle.Tensor, paddle.Tensor]:
    if not isinstance(outputs, (tuple, list)):
        return outputs, outputs
    if len(outputs) != 2:
        raise ValueError(
            f"found {len(outputs)} outputs; expected (logits, distillation_logits), as vitlib.DeiT gives in training, "
            "or one tensor of logits"
        )
    return outputs[0], outputs[1]
