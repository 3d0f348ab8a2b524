"""Numerics and preprocessing of a source, which a model takes over with the weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from paddle import nn

from ..checkpoint.errors import printable
from ..images import Preprocess
from ..layers import MLP
from ..layers.mlp import ACTIVATIONS
from ..models import VisionTransformer, ViTConfig
from .canonical import Canonical
from .dialects import SourceConfig
from .infer_config import noted_heads

NUMERICS = ("norm_eps", "activation", "position_resize", "stem_norms")
_SAME_BLOCKS = ("timm", "paddleclas", "facebook")  # whose names other kinds of blocks share


def contradictions(
    model: VisionTransformer,
    weights: Canonical,
    config: SourceConfig,
    metadata: Mapping[str, str],
    fixed: Collection[str],
) -> list[str]:
    """Heads, pooling and positions without a table, which no shape shows, where the source and the model differ."""
    known = {name: config.options[name] for name in ("num_heads", "global_pool") if name in config.options}
    noted = {"pos_embed": printable(metadata["vitlib.pos_embed"], 40)} if "vitlib.pos_embed" in metadata else {}
    told = {**weights.dialect.numerics, **noted, **config.options}
    if "pos_embed" in told and "pos_embed" not in weights.entries:
        known["pos_embed"] = told["pos_embed"]
    if "rotary_base" in told and model.config.pos_embed == "rotary":
        known["rotary_base"] = told["rotary_base"]
    if heads := noted_heads(weights, metadata):
        known["num_heads"] = heads
    return [
        f"{name} is {value!r} in the source, {getattr(model.config, name)!r} in the model"
        for name, value in known.items()
        if name not in fixed and value != getattr(model.config, name)
    ]


def take_numerics(model: VisionTransformer, numerics: Mapping[str, object]) -> list[str]:
    """Compute as the source does: epsilon of every LayerNorm, activation of every MLP, method of resampling.

    A layer with another epsilon or activation than the model's config was given it by a subclass, and keeps it.
    """
    old = model.config
    changes = {name: value for name, value in numerics.items() if getattr(old, name) != value}
    for layer in model.sublayers():
        if "norm_eps" in changes and isinstance(layer, nn.LayerNorm) and layer._epsilon == old.norm_eps:
            layer._epsilon = changes["norm_eps"]
        if "activation" in changes and isinstance(layer, MLP) and layer.activation is ACTIVATIONS[old.activation]:
            layer.activation = ACTIVATIONS[changes["activation"]]
    if "stem_norms" in changes:
        model.patch_embed.set_stem_norms(changes["stem_norms"])
    model.config = old.replace(**changes)
    return [f"{name}: {getattr(old, name)!r} -> {value!r}, as the source computes" for name, value in changes.items()]


def source_preprocess(
    model: VisionTransformer, weights: Canonical, config: SourceConfig, fixed: Collection[str]
) -> tuple[Preprocess | None, str, list[str]]:
    """The source's preprocessing, None where the model keeps its own; where it comes from; and what is assumed."""
    usual = weights.dialect.preprocess
    record = config.preprocess
    if record is None and usual is not None:
        record = usual(model.config, weights.entries)
    if "preprocess" in fixed:
        return None, "", []
    assumed = [] if config.preprocess else [f"preprocessing, {_whose(weights) if record else 'the model has its own'}"]
    if record is None:
        return None, "", assumed
    # Others note the size of their model, which may be another here; of one for any size, the size to use
    if "img_size" in fixed or (config.kind != "vitlib" and not model.config.dynamic_img_size):
        record = record.replace(size=None)
    if record == model.config.preprocess:
        return None, "", assumed
    return record, "its config files" if config.preprocess else _whose(weights), assumed


def unnamed_numerics(now: ViTConfig, weights: Canonical, config: SourceConfig) -> list[str]:
    """How a file without a config is taken to compute, as names and shapes do not tell. `now`: the loaded model's."""
    if config.kind:
        return []
    values = f"norm_eps={now.norm_eps}, activation={now.activation!r}, position_resize={now.position_resize!r}"
    if now.stem_blocks is not None:
        values += f", stem_norms={now.stem_norms!r}"
    whose = _whose(weights) if weights.dialect.numerics else "the model's own"
    if not weights.dialect.numerics and (now.norm_eps, now.activation) == (1e-6, "gelu"):
        whose += ", which are timm's"
    assumed = [f"{values}: {whose}"]
    if weights.dialect.name in _SAME_BLOCKS:
        without_table = {"none": "no positions", "rotary": f"rotary positions of base {now.rotary_base:g}"}
        positions = without_table.get(now.pos_embed, "no positions but those of the table")
        assumed.append(f"a norm before each branch, and {positions}")
    if "pre_logits.fc.weight" in weights.entries:
        assumed.append("tanh between pre_logits and the head")
    return assumed


def _whose(weights: Canonical) -> str:
    return f"usual in {weights.dialect.name}"
