"""What a source fixes beside its weights: how its codebase computes, and what it does to images first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from paddle import nn

from ..images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from ..layers import MLP
from ..layers.mlp import ACTIVATIONS
from ..layers.patch_embed import to_pair
from ..models import VisionTransformer
from .canonical import Canonical
from .source import WeightSource

NUMERICS = ("norm_eps", "activation", "position_resize")


def contradictions(
    model: VisionTransformer, weights: Canonical, opened: WeightSource, fixed: Collection[str]
) -> list[str]:
    """What the source says of its model that no shape shows, and that this model does otherwise: heads and pooling."""
    known = {
        name: opened.config.options[name] for name in ("num_heads", "global_pool") if name in opened.config.options
    }
    qkv = weights.entries.get("blocks.0.attn.qkv.weight")
    if qkv is not None and qkv.heads:
        known["num_heads"] = qkv.heads
    return [
        f"{name} is {value!r} in the source, {getattr(model.config, name)!r} in the model"
        for name, value in known.items()
        if name not in fixed and value != getattr(model.config, name)
    ]


def take_numerics(model: VisionTransformer, numerics: Mapping[str, Any]) -> list[str]:
    """Compute as the source does: epsilon of every LayerNorm, activation of every MLP, method of resampling."""
    changes = {name: value for name, value in numerics.items() if getattr(model.config, name) != value}
    for layer in model.sublayers():
        if "norm_eps" in changes and isinstance(layer, nn.LayerNorm):
            layer._epsilon = changes["norm_eps"]
        if "activation" in changes and isinstance(layer, MLP):
            layer.activation = ACTIVATIONS[changes["activation"]]
    said = [
        f"{name}: {getattr(model.config, name)!r} -> {value!r}, as the source computes"
        for name, value in changes.items()
    ]
    model.config = model.config.replace(**changes)
    return said


def take_preprocess(
    model: VisionTransformer, opened: WeightSource, weights: Canonical, fixed: Collection[str]
) -> list[str]:
    record = opened.config.preprocess or _dialect_preprocess(model, weights)
    if record is None or "preprocess" in fixed:
        return []
    if opened.config.kind != "vitlib":  # others note the size of their model, which may be another here
        record = record.replace(size=None)
    if record == model.config.preprocess:
        return []
    model.config = model.config.replace(preprocess=record)
    where = "its config files" if opened.config.preprocess else f"the habit of {weights.dialect.name}"
    return [f"preprocessing from {where}: {model.preprocess}"]


def _dialect_preprocess(model: VisionTransformer, weights: Canonical) -> Preprocess | None:
    """What a codebase does to images before such a model, where no file says so."""
    name, config = weights.dialect.name, model.config
    record = weights.dialect.preprocess
    if name == "torchvision" and config.embed_dim == 1024 and to_pair(config.patch_size) == (16, 16):
        return record.replace(crop_fraction=224 / 242)
    if name == "huggingface" and ("dist_token" in weights.entries or config.preprocess.mean == IMAGENET_MEAN):
        return Preprocess(resize="squash", crop_fraction=224 / 256, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return record
