"""Weights as names: dialect -> canonical names -> match with a model -> values and a report; and the way back.

No path is opened here: `vitlib.pretrained` joins this with `vitlib.checkpoint`, which knows bytes.
"""

from __future__ import annotations

from ..checkpoint.errors import WeightsError
from .report import LoadReport

__all__ = ["LoadReport", "WeightsError"]
