"""Vision Transformers and DeiT, their config and the published presets."""

from .config import ViTConfig
from .deit import DeiT, DeiTLogits, build_model
from .predictions import Prediction, predict
from .presets import get_config, list_models
from .vision_transformer import VisionTransformer

__all__ = [
    "DeiT",
    "DeiTLogits",
    "Prediction",
    "ViTConfig",
    "VisionTransformer",
    "build_model",
    "get_config",
    "list_models",
    "predict",
]
