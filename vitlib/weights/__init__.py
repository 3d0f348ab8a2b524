"""Weights: file formats -> names -> fit to the model -> values and a report; and the way back."""

from __future__ import annotations

from .errors import WeightsError
from .load import from_pretrained, load_weights
from .report import LoadReport
from .save import save_weights

__all__ = ["LoadReport", "WeightsError", "from_pretrained", "load_weights", "save_weights"]
