"""vitlib: Vision Transformers (ViT, arXiv 2010.11929) and DeiT (arXiv 2012.12877) on PaddlePaddle."""

from .analysis import Count, attention_maps, count
from .deploy import CpuTuning, tune_cpu
from .images import ImageError, Preprocess
from .layers import MLP, EncoderBlock, MultiHeadAttention, PatchEmbed
from .models import DeiT, DeiTLogits, VisionTransformer, ViTConfig, create_model, get_config, list_models

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "Count",
    "CpuTuning",
    "DeiT",
    "DeiTLogits",
    "EncoderBlock",
    "ImageError",
    "MultiHeadAttention",
    "PatchEmbed",
    "Preprocess",
    "ViTConfig",
    "VisionTransformer",
    "__version__",
    "attention_maps",
    "count",
    "create_model",
    "get_config",
    "list_models",
    "tune_cpu",
]
