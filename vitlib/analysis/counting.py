"""Parameters and multiply-accumulate operations, read off the model itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from ..layers import AttentionPool, MultiHeadAttention, PatchEmbed
from ..layers.patch_embed import Size, grid_of, to_pair
from ..models import VisionTransformer, build_model, get_config


class Count(NamedTuple):
    """parameters: all of them, trained or not; macs: multiply-accumulates for one image."""

    parameters: int
    macs: int

    def __str__(self) -> str:
        return f"{self.parameters:,} parameters, {self.macs / 1e9:.3f} GMACs"


def count(model_or_name: VisionTransformer | str, img_size: Size | None = None) -> Count:
    """Parameters, and multiply-accumulates of one image: the patch convolution, every linear layer and the two products
    of attention (what timm and the papers count; biases, norms, softmax and additions are left out).

    model_or_name: a model, filled or not, or a preset's name, for which nothing is allocated.
    img_size: count MACs at this size, int or (height, width), instead of the model's own. Parameters stay those of the
    model as it is.

    Linear layers inside the blocks are counted once a token, those outside once an image (once a token where the head
    sees all tokens). Raises ValueError for an unknown preset and for a size that the patch does not divide.
    """
    if isinstance(model_or_name, str):
        with paddle.LazyGuard():
            model = build_model(get_config(model_or_name))
    elif isinstance(model_or_name, VisionTransformer):
        model = model_or_name
    else:
        raise TypeError(f"expected a VisionTransformer or a preset's name, found {type(model_or_name).__name__}")
    embed = model.patch_embed
    size = embed.img_size if img_size is None else to_pair(img_size, "img_size")
    grid = grid_of(size, embed.patch_size, embed.dynamic_img_pad)
    patches = grid[0] * grid[1]
    tokens = patches + model.config.num_prefix_tokens
    macs = sum(
        _layer_macs(layer, patches, _times(name, model, patches, tokens)) for name, layer in model.named_sublayers()
    )
    return Count(parameters=sum(_size(p) for p in model.parameters()), macs=macs)


def _times(name: str, model: VisionTransformer, patches: int, tokens: int) -> int:
    """How often a linear layer of this name is applied for one image."""
    if name == "attn_pool.kv":
        return patches
    return tokens if name.startswith("blocks.") or model.config.global_pool == "none" else 1


def _layer_macs(layer: nn.Layer, patches: int, tokens: int) -> int:
    if isinstance(layer, PatchEmbed):
        if not isinstance(layer.proj, nn.Conv2D):
            raise TypeError(f"expected a convolution as {type(layer).__name__}.proj, found {type(layer.proj).__name__}")
        return patches * _size(layer.proj.weight)
    if isinstance(layer, nn.Linear):
        return tokens * _size(layer.weight)
    if isinstance(layer, MultiHeadAttention):  # q·kᵀ and A·v
        return 2 * tokens * tokens * layer.embed_dim
    if isinstance(layer, AttentionPool):  # the same for one query
        return 2 * patches * layer.embed_dim
    return 0


def _size(parameter: paddle.Tensor) -> int:
    return int(np.prod(parameter.shape))
