"""Training: the order of samples, checkpoints that survive anything."""

from .checkpoints import Checkpoints
from .random_states import random_states, set_random_states
from .sampler import EpochSampler
from .state_file import CheckpointError
from .training_state import restore_training_state, training_state

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "EpochSampler",
    "random_states",
    "restore_training_state",
    "set_random_states",
    "training_state",
]
