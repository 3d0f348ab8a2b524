"""vitlib: Vision Transformers (ViT, arXiv 2010.11929) and DeiT (arXiv 2012.12877) on PaddlePaddle."""

from typing import TYPE_CHECKING, Any

from .analysis import Count, attention_maps, count
from .deploy import CpuTuning, tune_cpu
from .images import ImageError, Preprocess
from .layers import MLP, EncoderBlock, MultiHeadAttention, PatchEmbed
from .models import (
    DeiT,
    DeiTLogits,
    Prediction,
    VisionTransformer,
    ViTConfig,
    create_model,
    get_config,
    list_models,
    predict,
)

if TYPE_CHECKING:
    from .hub import DownloadError
    from .training import DistillationLoss, param_groups
    from .weights import LoadReport, WeightsError, from_pretrained, load_weights, save_weights

__version__ = "0.1.0"

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
    "Preprocess",
    "ViTConfig",
    "VisionTransformer",
    "WeightsError",
    "__version__",
    "attention_maps",
    "count",
    "create_model",
    "from_pretrained",
    "get_config",
    "list_models",
    "load_weights",
    "param_groups",
    "predict",
    "save_weights",
    "tune_cpu",
]

_FROM_TRAINING = ("DistillationLoss", "param_groups")
_FROM_WEIGHTS = ("LoadReport", "WeightsError", "from_pretrained", "load_weights", "save_weights")


def __getattr__(name: str) -> Any:
    """Weights and training are many small modules; they are imported when first asked for (PEP 562)."""
    if name in _FROM_TRAINING:
        from . import training

        return getattr(training, name)
    if name == "DownloadError":
        from .hub import DownloadError

        return DownloadError
    if name in _FROM_WEIGHTS:
        from . import weights

        return getattr(weights, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
