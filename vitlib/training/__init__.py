"""Training: losses, teachers, parameter groups, learning rates, averages, the step; the order of samples, checkpoints
that survive anything, and the record of a run. Each part works alone."""

from __future__ import annotations

from .checkpoints import Checkpoints
from .distillation import DistillationLoss
from .ema import ExponentialMovingAverage
from .evaluate import Evaluation, evaluate
from .losses import BinaryCrossEntropy, SoftTargetCrossEntropy
from .param_groups import param_groups
from .random_states import random_states, set_random_states
from .run_log import RunLog
from .sampler import EpochSampler
from .schedule import warmup_cosine
from .state_file import CheckpointError
from .step import TrainingStep
from .teacher import Teacher, TeacherLogits
from .training_state import restore_training_state, training_state

__all__ = [
    "BinaryCrossEntropy",
    "CheckpointError",
    "Checkpoints",
    "DistillationLoss",
    "EpochSampler",
    "Evaluation",
    "ExponentialMovingAverage",
    "RunLog",
    "SoftTargetCrossEntropy",
    "Teacher",
    "TeacherLogits",
    "TrainingStep",
    "evaluate",
    "param_groups",
    "random_states",
    "restore_training_state",
    "set_random_states",
    "training_state",
    "warmup_cosine",
]
