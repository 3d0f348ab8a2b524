"""Training: the order of samples, checkpoints that survive anything."""

from .sampler import EpochSampler

__all__ = ["EpochSampler"]
