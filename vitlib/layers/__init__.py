"""Blocks that stand alone; this package imports nothing else of vitlib."""

from .attention import MultiHeadAttention
from .eager import LayerNorm, Linear, single_backward
from .encoder_block import DropPath, EncoderBlock, LayerScale
from .mlp import MLP
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
    "single_backward",
]
