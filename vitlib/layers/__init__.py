"""Blocks that stand alone; this package imports nothing else of vitlib."""

from .attention import MultiHeadAttention
from .encoder_block import DropPath, EncoderBlock, LayerScale
from .linear import Linear
from .mlp import MLP
from .norm import LayerNorm
from .patch_embed import PatchEmbed
from .position import resample_positions, resize_matrix, sincos_positions

__all__ = [
    "MLP",
    "DropPath",
    "EncoderBlock",
    "LayerNorm",
    "LayerScale",
    "Linear",
    "MultiHeadAttention",
    "PatchEmbed",
    "resample_positions",
    "resize_matrix",
    "sincos_positions",
]
