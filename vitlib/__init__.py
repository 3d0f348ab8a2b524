"""vitlib: Vision Transformers (ViT, arXiv 2010.11929) and DeiT (arXiv 2012.12877) on PaddlePaddle."""

import importlib
from typing import TYPE_CHECKING, Any

from .deploy import CpuTuning, tune_cpu
from .images import ImageError, Preprocess
from .layers import MLP, EncoderBlock, MultiHeadAttention, PatchEmbed
from .models import (
    DeiT,
    DeiTLogits,
    Prediction,
    VisionTransformer,
    ViTConfig,
    get_config,
    list_models,
    predict,
)
from .version import __version__

if TYPE_CHECKING:
    from .analysis import Count, attention_maps, count, summary
    from .deploy import Predictor, export
    from .hub import DownloadError
    from .pretrained import create_model, from_pretrained, inspect, load_weights, save_weights
    from .training import DistillationLoss, param_groups
    from .weights import LoadReport, WeightsError

__all__ = [
    "MLP",
    "Count",
    "CpuTuning",
    "DeiT",
    "DeiTLogits",
    "DistillationLoss",
    "DownloadError",
    "EncoderBlock",
    "ImageError",
    "LoadReport",
    "MultiHeadAttention",
    "PatchEmbed",
    "Prediction",
    "Predictor",
    "Preprocess",
    "ViTConfig",
    "VisionTransformer",
    "WeightsError",
    "__version__",
    "attention_maps",
    "count",
    "create_model",
    "export",
    "from_pretrained",
    "get_config",
    "inspect",
    "list_models",
    "load_weights",
    "param_groups",
    "predict",
    "save_weights",
    "summary",
    "tune_cpu",
]

# Imported when first asked for (PEP 562): these are many modules
_LAZY = {
    "Count": "analysis",
    "DistillationLoss": "training",
    "DownloadError": "hub",
    "LoadReport": "weights",
    "Predictor": "deploy",
    "WeightsError": "checkpoint",
    "attention_maps": "analysis",
    "count": "analysis",
    "create_model": "pretrained",
    "export": "deploy",
    "from_pretrained": "pretrained",
    "inspect": "pretrained",
    "load_weights": "pretrained",
    "param_groups": "training",
    "save_weights": "pretrained",
    "summary": "analysis",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
