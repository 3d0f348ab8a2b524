"""Training: losses, teachers, parameter groups, learning rates, averages, and the step. Each part works alone."""

from __future__ import annotations

from .distillation import DistillationLoss
from .ema import ExponentialMovingAverage
from .losses import BinaryCrossEntropy, SoftTargetCrossEntropy
from .param_groups import param_groups
from .schedule import warmup_cosine
from .step import TrainingStep
from .teacher import Teacher, TeacherLogits

__all__ = [
    "BinaryCrossEntropy",
    "DistillationLoss",
    "ExponentialMovingAverage",
    "SoftTargetCrossEntropy",
    "Teacher",
    "TeacherLogits",
    "TrainingStep",
    "param_groups",
    "warmup_cosine",
]
