"""Parameters, multiply-accumulates and outputs of a model, layer by layer, read off the model without running it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn
from paddle.nn.layer.norm import _BatchNormBase, _InstanceNormBase

from ..layers import MLP, EncoderBlock, LayerScale, MultiHeadAttention, PatchEmbed
from ..layers.norm import is_running_statistic
from ..layers.patch_embed import Size, grid_of, to_pair
from ..layers.resnet_stem import Bottleneck, ResNetRoot, StandardizedConv
from ..models import DeiT, VisionTransformer, build_model, get_config

_AFTER_POOLING = ("fc_norm", "pre_logits", "head", "head_dist")


@dataclass(frozen=True)
class LayerCost:
    """A layer, without the layers inside it.

    name: as in `named_sublayers`; "" is the model itself, with its tokens and positions.
    kind: name of the class.
    output: shape of the output for one image; None where it is not known.
    parameters: number of its own parameters, trained or not. Those that an earlier layer shares count there.
    macs: multiply-accumulates for one image; None where the kind of layer is not known.
    activations: how many numbers it computes for one image: its output; of an attention the weights [heads, N, N], too,
        and of a block both of its sums. An MLP has its hidden features after the activation as output.
    """

    name: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    macs: int | None
    activations: int


def resolved_model(model_or_name: VisionTransformer | str) -> VisionTransformer:
    """The model, or the preset of that name, for which nothing is allocated. Raises TypeError for anything else."""
    if isinstance(model_or_name, str):
        with paddle.LazyGuard():
            return build_model(get_config(model_or_name))
    if not isinstance(model_or_name, VisionTransformer):
        raise TypeError(f"expected a VisionTransformer or a preset's name, found {type(model_or_name).__name__}")
    return model_or_name


def layer_costs(model: VisionTransformer, img_size: Size | None = None) -> list[LayerCost]:
    """One `LayerCost` for each layer that has parameters, an output or multiply-accumulates, in the order in which the
    model runs them; a block that is there twice runs twice.

    img_size: for images of this size, int or (height, width), instead of the model's own.

    Layers in the blocks see every token. Those after pooling see one, or every token with global_pool="none". A layer
    that has a method macs(num_tokens) counts by it, with the layers inside it.

    Raises ValueError for a size that the patch does not divide, and TypeError for a patch embedding without a
    convolution.
    """
    embed = model.patch_embed
    if isinstance(embed, PatchEmbed) and not isinstance(embed.proj, nn.Conv2D):
        raise TypeError(f"expected a convolution as {type(embed).__name__}.proj, found {type(embed.proj).__name__}")
    size = embed.img_size if img_size is None else to_pair(img_size, "img_size")
    patches = math.prod(grid_of(size, embed.patch_size, embed.dynamic_img_pad))
    tokens = patches + model.config.num_prefix_tokens
    seen: set[int] = set()
    told: list[str] = []
    rows = []
    for name, layer in _running_order(model):
        part = name.partition(".")[0]
        pooled = part in _AFTER_POOLING and model.config.global_pool != "none"
        # a DeiT's two heads share what comes before them
        seen_after_pooling = 2 if isinstance(model, DeiT) and not part.startswith("head") else 1
        count = patches if part == "patch_embed" else seen_after_pooling if pooled else tokens
        if hasattr(layer, "out_stride"):  # in the ResNet of a hybrid
            count = math.prod(-(-side // layer.out_stride) for side in size)
        features, macs, more = _per_token(name, layer, model, count)
        if any(name.startswith(f"{other}.") for other in told):
            macs = 0
        if hasattr(layer, "macs"):
            told.append(name)
        held = layer._parameters.items()
        own = [p for key, p in held if p is not None and id(p) not in seen and not is_running_statistic(key)]
        seen.update(map(id, own))
        parameters = sum(math.prod(p.shape) for p in own)
        output = None if features is None else features if pooled and count == 1 else (count, *features)
        if parameters or output or macs != 0:
            activations = math.prod(output or (0,)) + more
            rows.append(LayerCost(name, type(layer).__name__, output, parameters, macs, activations))
    return rows


def _running_order(model: VisionTransformer) -> Iterator[tuple[str, nn.Layer]]:
    """Every layer by name: the patch embedding, the model with its tokens, and the rest, each block after its parts."""
    yield from _patch_parts(model.patch_embed, "patch_embed")
    yield "", model
    for part, child in model.named_children():
        if child is model.blocks:
            for index, block in enumerate(child):
                yield from _parts(block, f"blocks.{index}")
                yield f"blocks.{index}", block
        elif child is not model.patch_embed:
            yield from child.named_sublayers(prefix=part, include_self=True)


def _patch_parts(layer: nn.Layer, name: str) -> Iterator[tuple[str, nn.Layer]]:
    """A patch embedding and the layers in it; the parts of a ResNet stand after the layers in them."""
    last = isinstance(layer, (Bottleneck, ResNetRoot))
    if not last:
        yield name, layer
    for part, child in layer.named_children():
        yield from _patch_parts(child, f"{name}.{part}")
    if last:
        yield name, layer


def _parts(block: nn.Layer, prefix: str) -> Iterator[tuple[str, nn.Layer]]:
    """The layers in a block; an attention and an MLP stand where they compute, before their last linear layer."""
    waiting: dict[str, tuple[str, nn.Layer]] = {}
    for name, layer in block.named_sublayers(prefix=prefix):
        last = "proj" if isinstance(layer, MultiHeadAttention) else "fc2" if isinstance(layer, MLP) else ""
        if last in layer._sub_layers:
            waiting[f"{name}.{last}"] = name, layer
            continue
        if name in waiting:
            yield waiting[name]
        yield name, layer


_Cost = tuple[tuple[int, ...] | None, int, int]


def _linear(layer: Any, model: VisionTransformer, count: int) -> _Cost:
    return (layer.weight.shape[1],), count * math.prod(layer.weight.shape), 0


def _patch_projection(layer: Any, model: VisionTransformer, count: int) -> _Cost:
    return (layer._out_channels,), count * math.prod(layer.weight.shape), 0


def _attention(layer: Any, model: VisionTransformer, count: int) -> _Cost:
    """q·kᵀ and A·v"""
    return (layer.embed_dim,), 2 * count * count * layer.embed_dim, layer.num_heads * count * count


def _mlp(layer: Any, model: VisionTransformer, count: int) -> _Cost:
    return (layer.fc1.weight.shape[1],), 0, 0


def _block(layer: Any, model: VisionTransformer, count: int) -> _Cost:
    return (model.config.embed_dim,), 0, count * model.config.embed_dim


def _whole(layer: Any, model: VisionTransformer, count: int) -> _Cost:
    return (model.config.embed_dim,), 0, 0


def _features(layer: Any, model: VisionTransformer, count: int) -> _Cost:
    return (layer.out_chans,), 0, 0


# kind of layer, names of its own parameters, and (features of its output per token or None, macs, other activations)
_Rule = Callable[[Any, VisionTransformer, int], _Cost]
_NORMS = (nn.LayerNorm, nn.GroupNorm, _BatchNormBase, _InstanceNormBase)
_KINDS: tuple[tuple[type | tuple[type, ...], tuple[str, ...], _Rule], ...] = (
    (VisionTransformer, ("cls_token", "dist_token", "reg_token", "pos_embed"), _whole),
    (nn.Linear, ("weight", "bias"), _linear),
    (LayerScale, ("gamma",), _whole),
    (MultiHeadAttention, (), _attention),
    (nn.MultiHeadAttention, (), _attention),
    (MLP, (), _mlp),
    (EncoderBlock, (), _block),
    (StandardizedConv, ("weight",), _patch_projection),
    ((Bottleneck, ResNetRoot), (), _features),
)


def _per_token(
    name: str, layer: nn.Layer, model: VisionTransformer, count: int
) -> tuple[tuple[int, ...] | None, int | None, int]:
    own = {key for key, p in layer._parameters.items() if p is not None}
    if hasattr(layer, "macs"):
        return None, int(layer.macs(count)), 0
    if isinstance(layer, _NORMS):
        if isinstance(layer, _BatchNormBase):  # over a map of another size than the tokens'
            return None, 0, 0
        return _normalised(name, layer, model), 0, 0
    if layer is getattr(model.patch_embed, "proj", None) and isinstance(layer, nn.Conv2D):
        return _patch_projection(layer, model, count)
    for kind, names, rule in _KINDS:
        if isinstance(layer, kind):
            features, macs, more = rule(layer, model, count)
            return features, macs if own <= set(names) else None, more
    return None, 0 if _computes_nothing(layer, own) else None, 0


def _normalised(name: str, layer: Any, model: VisionTransformer) -> tuple[int, ...]:
    width = model.config.embed_dim if layer.weight is None else layer.weight.shape[-1]
    if name.endswith((".q_norm", ".k_norm")):
        return model.config.embed_dim // width, width
    return (width,)


def _computes_nothing(layer: nn.Layer, own: set[str]) -> bool:
    """Whether a layer of another kind has no products: one of Paddle or vitlib without parameters (dropout,
    activations), or a container of other layers."""
    from_library = type(layer).__module__.startswith(("paddle.", "vitlib."))
    return not own and (from_library or bool(layer._sub_layers))
