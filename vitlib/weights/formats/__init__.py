"""Reads weight files of five formats as data: safetensors, .npz, .pdparams, and PyTorch's two.

`open_weights` tells the format from the content; no file is ever unpickled or executed.
"""

from __future__ import annotations

from .weights_file import WeightsFile, open_weights

__all__ = ["WeightsFile", "open_weights"]
