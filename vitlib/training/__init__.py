"""Training: the order of samples, checkpoints that survive anything."""

from .checkpoints import Checkpoints
from .sampler import EpochSampler
from .state_file import CheckpointError

__all__ = ["CheckpointError", "Checkpoints", "EpochSampler"]
