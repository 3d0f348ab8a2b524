"""vitlib: Vision Transformers (ViT, arXiv 2010.11929) and DeiT (arXiv 2012.12877) on PaddlePaddle."""

from .analysis import Count, attention_maps, count
from .deploy import CpuTuning, tune_cpu
from .images import ImageError, Preprocess
from .layers import MLP, EncoderBlock, MultiHeadAttention, PatchEmbed
from .models import DeiT, DeiTLogits, VisionTransformer, ViTConfig, create_model, get_config, list_models
from .weights import LoadReport, WeightsError, from_pretrained, load_weights, save_weights

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "Count",
    "CpuTuning",
    "DeiT",
    "DeiTLogits",
    "EncoderBlock",
    "ImageError",
    "LoadReport",
    "MultiHeadAttention",
    "PatchEmbed",
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
    "save_weights",
    "tune_cpu",
]
