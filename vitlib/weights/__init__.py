"""Weights: file formats, names, fit to a model."""

from __future__ import annotations

from .atomic import write_atomically
from .errors import WeightsError
from .formats import WeightsFile, open_weights
from .writers import write_npz, write_pdparams, write_safetensors

__all__ = [
    "WeightsError",
    "WeightsFile",
    "open_weights",
    "write_atomically",
    "write_npz",
    "write_pdparams",
    "write_safetensors",
]
