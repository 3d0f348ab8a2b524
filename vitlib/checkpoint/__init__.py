"""Weight files as bytes: a path in, {name: array} out, and back. NumPy alone; nothing here knows of models.

`open_weights` tells the format from the content. No file is ever unpickled or executed.
"""

from __future__ import annotations

from .atomic import write_atomically
from .errors import WeightsError
from .tensors import BFloat16
from .weights_file import WeightsFile, open_weights
from .writers import write_npz, write_pdparams, write_safetensors

__all__ = [
    "BFloat16",
    "WeightsError",
    "WeightsFile",
    "open_weights",
    "write_atomically",
    "write_npz",
    "write_pdparams",
    "write_safetensors",
]
