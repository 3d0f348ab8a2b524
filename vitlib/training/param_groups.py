"""Parameter groups: no weight decay for biases, norms and tokens, and learning rates that fall with depth."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import Any

import paddle
from paddle import nn

from ..images.checks import check_number
from .parallel import unwrapped

_STEM = re.compile(r"(cls_token|dist_token|reg_token|pos_embed|patch_embed|norm_pre)(\.|$)")
_BLOCK = re.compile(r"blocks\.(\d+)\.")


def param_groups(
    model: nn.Layer,
    weight_decay: float = 0.05,
    *,
    layer_decay: float | None = None,
    no_weight_decay: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Groups for `paddle.optimizer.AdamW(learning_rate, parameters=param_groups(model))`, of any `paddle.nn.Layer`.

    Args:
        model: in a `paddle.DataParallel` or not. Its frozen parameters are left out.
        weight_decay: for all parameters except biases, other one-dimensional parameters (norms, LayerScale), and those
            that `no_weight_decay()` of the model or of a layer in it names: a ViT's position table and class,
            distillation and register tokens. These have 0.
        layer_decay: factor, in (0, 1], by which the learning rate falls from each layer to the one before it (BEiT,
            arXiv 2106.08254; MAE takes 0.65 for ViT-B). Layers are timm's: the embedding 0, block i at i + 1, the
            final norm with the last block, and all after it (heads, norm after pooling) last, with factor 1.
            Needs a model with `blocks`, or a model around exactly one.
        no_weight_decay: more names, or shell patterns such as "adapter.*", of parameters without decay.

    Returns dicts of "params", "weight_decay" and "learning_rate", a factor of the optimizer's (Paddle's meaning); the
    first layer first. Equals timm's `param_groups_weight_decay` and `param_groups_layer_decay` when those are given
    `no_weight_decay_list=model.no_weight_decay()`.

    Raises ValueError for a model without trainable parameters, a negative weight_decay, a layer_decay outside (0, 1]
    or of a model without `blocks`, and for a name in no_weight_decay that no parameter has.

    Paddle clips the gradients of each group by itself when the optimizer has a `grad_clip`: to clip their common norm,
    leave that out and call `paddle.nn.utils.clip_grad_norm_(model.parameters(), 1.0)` before `optimizer.step()`,
    as `TrainingStep` does. `paddle.Model.fit` takes no groups: use `weight_decay_filter` there.
    """
    weight_decay = check_number("weight_decay", weight_decay, "[0, inf)")
    if layer_decay is not None:
        layer_decay = check_number("layer_decay", layer_decay, "(0, 1]")
    model = unwrapped(model)
    parameters = dict(model.named_parameters())
    decaying = _decaying(model, parameters, no_weight_decay)
    layers, last = ({}, 0) if layer_decay is None else _layers(model, parameters)

    groups: dict[tuple[int, bool], list[Any]] = {}
    for name, parameter in parameters.items():
        if not parameter.stop_gradient:
            groups.setdefault((layers.get(name, last), name in decaying), []).append(parameter)
    if not groups:
        raise ValueError(
            f"found no trainable parameter among the {len(parameters)} of this {type(model).__name__}; "
            "model.unfreeze(), or parameter.stop_gradient = False, makes them trainable"
        )
    return [
        {
            "params": members,
            "weight_decay": weight_decay if decays else 0.0,
            "learning_rate": 1.0 if layer_decay is None else layer_decay ** (last - layer),
        }
        for (layer, decays), members in sorted(groups.items(), key=lambda group: group[0])
    ]


def weight_decay_filter(model: nn.Layer, *, no_weight_decay: Iterable[str] = ()) -> Callable[[str], bool]:
    """The same choice of parameters for `paddle.optimizer.AdamW` without groups, such as `paddle.Model.fit` needs:

        AdamW(learning_rate, parameters=model.parameters(), weight_decay=0.05,
              apply_decay_param_fun=weight_decay_filter(model))

    model, no_weight_decay: as of `param_groups`. Copies of the model need a filter of their own.
    """
    model = unwrapped(model)
    parameters = dict(model.named_parameters())
    return {parameters[name].name for name in _decaying(model, parameters, no_weight_decay)}.__contains__


def trained_parameters(optimizer: paddle.optimizer.Optimizer) -> list[paddle.Tensor]:
    """The parameters of an optimizer, given in groups or not."""
    groups = optimizer._param_groups  # of which Paddle has no public list
    return [p for group in groups for p in (group["params"] if isinstance(group, dict) else [group])]


def _decaying(model: nn.Layer, parameters: dict[str, Any], patterns: Iterable[str]) -> set[str]:
    """Names of the parameters that weight decay applies to."""
    exempt = {name for name, parameter in parameters.items() if parameter.ndim <= 1 or name.endswith(".bias")}
    for prefix, layer in model.named_sublayers(include_self=True):
        if callable(names := getattr(layer, "no_weight_decay", None)):
            exempt |= {f"{prefix}.{name}" if prefix else name for name in names()}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matches = fnmatch.filter(parameters, pattern)
        if not matches:
            raise ValueError(
                f"no_weight_decay names {pattern!r}, and no parameter of this {type(model).__name__} has that name; "
                f"names are those of model.named_parameters(), such as {next(iter(parameters), 'none')!r}"
            )
        exempt |= set(matches)
    return parameters.keys() - exempt


def _layers(model: nn.Layer, parameters: dict[str, Any]) -> tuple[dict[str, int], int]:
    """The layer of every parameter that does not belong to the last, and the number of the last."""
    found = [
        (prefix, layer)
        for prefix, layer in model.named_sublayers(include_self=True)
        if isinstance(getattr(layer, "blocks", None), nn.LayerList)
    ]
    if len(found) != 1:
        raise ValueError(
            f"layer_decay needs one model with a LayerList named blocks, and this {type(model).__name__} has "
            f"{len(found)}; leave layer_decay out, or make groups of each part of the model and add the lists"
        )
    prefix, depth = f"{found[0][0]}." if found[0][0] else "", len(found[0][1].blocks)
    layers = {}
    for name in parameters:
        if not name.startswith(prefix):
            continue
        inner = name[len(prefix) :]
        if _STEM.match(inner):
            layers[name] = 0
        elif block := _BLOCK.match(inner):
            layers[name] = int(block.group(1)) + 1
        elif inner.startswith("norm."):
            layers[name] = depth
    return layers, depth + 1
