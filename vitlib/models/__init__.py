"""Vision Transformers and DeiT, their config and the published presets."""

from .config import ViTConfig
from .deit import DeiT, DeiTLogits
from .predict import Prediction, predict
from .presets import create_model, get_config, list_models
from .vision_transformer import VisionTransformer

__all__ = [
    "DeiT",
    "DeiTLogits",
    "Prediction",
    "ViTConfig",
    "VisionTransformer",
    "create_model",
    "get_config",
    "list_models",
    "predict",
]
