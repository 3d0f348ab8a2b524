"""Blocks that stand alone; this package imports nothing else of vitlib."""

from .attention import MultiHeadAttention
from .attention_pool import AttentionPool
from .conv_stem import ConvStem
from .encoder_block import DropPath, EncoderBlock, LayerScale
from .gated_mlp import GatedMLP
from .linear import Linear
from .mlp import MLP
from .norm import LayerNorm
from .patch_embed import PatchEmbed
from .position import resample_positions, resize_matrix, sincos_positions
from .rotary import RotaryAttention, RotaryBlock, RotaryPositions

__all__ = [
    "MLP",
    "AttentionPool",
    "ConvStem",
    "DropPath",
    "EncoderBlock",
    "GatedMLP",
    "LayerNorm",
    "LayerScale",
    "Linear",
    "MultiHeadAttention",
    "PatchEmbed",
    "RotaryAttention",
    "RotaryBlock",
    "RotaryPositions",
    "resample_positions",
    "resize_matrix",
    "sincos_positions",
]
