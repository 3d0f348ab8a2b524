"""Weights: file formats -> names -> fit to the model -> values and a report; and the way back."""

from __future__ import annotations

from ..checkpoint import WeightsFile, open_weights
from ..checkpoint.atomic import write_atomically
from ..checkpoint.errors import WeightsError
from ..checkpoint.writers import write_npz, write_pdparams, write_safetensors
from .load import from_pretrained, load_weights
from .report import LoadReport
from .save import save_weights

__all__ = [
    "LoadReport",
    "WeightsError",
    "WeightsFile",
    "from_pretrained",
    "load_weights",
    "open_weights",
    "save_weights",
    "write_atomically",
    "write_npz",
    "write_pdparams",
    "write_safetensors",
]
