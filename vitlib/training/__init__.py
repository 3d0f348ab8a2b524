"""Training: losses, distillation, parameter groups, learning rates, averages. Each part works alone."""

from __future__ import annotations

from .distillation import DistillationLoss
from .losses import BinaryCrossEntropy, SoftTargetCrossEntropy

__all__ = ["BinaryCrossEntropy", "DistillationLoss", "SoftTargetCrossEntropy"]
