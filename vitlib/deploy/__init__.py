"""Fast inference."""

import importlib
from typing import TYPE_CHECKING, Any

from .cpu import CpuTuning, tune_cpu

if TYPE_CHECKING:
    from .describe_model import describe
    from .export_model import ExportReport, export
    from .exported import ExportError, read_exported
    from .graph import Graph
    from .overrides import DescriptionError
    from .predictor import Predictor
    from .running_engine import PredictorReport

__all__ = [
    "CpuTuning",
    "DescriptionError",
    "ExportError",
    "ExportReport",
    "Graph",
    "Predictor",
    "PredictorReport",
    "describe",
    "export",
    "read_exported",
    "tune_cpu",
]

_LAZY = {
    "DescriptionError": "overrides",
    "ExportError": "exported",
    "ExportReport": "export_model",
    "Graph": "graph",
    "Predictor": "predictor",
    "PredictorReport": "running_engine",
    "describe": "describe_model",
    "export": "export_model",
    "read_exported": "exported",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
