"""vitlib: Vision Transformers (ViT, arXiv 2010.11929) and DeiT (arXiv 2012.12877) on PaddlePaddle."""

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .analysis import Count, attention_maps, attention_rollout, count, relevance, summary
    from .checkpoint import WeightsError
    from .deploy import CpuTuning, Predictor, export, tune_cpu
    from .hub import DownloadError
    from .images import ImageError, Preprocess
    from .layers import MLP, EncoderBlock, MultiHeadAttention, PatchEmbed
    from .models import DeiT, DeiTLogits, Prediction, VisionTransformer, ViTConfig, get_config, list_models, predict
    from .pretrained import create_model, from_pretrained, inspect, load_weights, save_weights
    from .training import DistillationLoss, param_groups
    from .weights import LoadReport

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
    "attention_rollout",
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
    "relevance",
    "save_weights",
    "summary",
    "tune_cpu",
]

# Imported when first asked for (PEP 562), so that the command line answers before Paddle is loaded
_LAZY = {
    "Count": "analysis",
    "CpuTuning": "deploy",
    "DeiT": "models",
    "DeiTLogits": "models",
    "DistillationLoss": "training",
    "DownloadError": "hub",
    "EncoderBlock": "layers",
    "ImageError": "images",
    "LoadReport": "weights",
    "MLP": "layers",
    "MultiHeadAttention": "layers",
    "PatchEmbed": "layers",
    "Prediction": "models",
    "Predictor": "deploy",
    "Preprocess": "images",
    "ViTConfig": "models",
    "VisionTransformer": "models",
    "WeightsError": "checkpoint",
    "attention_maps": "analysis",
    "attention_rollout": "analysis",
    "count": "analysis",
    "create_model": "pretrained",
    "export": "deploy",
    "from_pretrained": "pretrained",
    "get_config": "models",
    "inspect": "pretrained",
    "list_models": "models",
    "load_weights": "pretrained",
    "param_groups": "training",
    "predict": "models",
    "relevance": "analysis",
    "save_weights": "pretrained",
    "summary": "analysis",
    "tune_cpu": "deploy",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY.values():
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
