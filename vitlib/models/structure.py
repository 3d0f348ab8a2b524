"""Whether a model is the one that its config describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle
from paddle import nn

from ..layers import LayerNorm, Linear
from .evaluation import evaluation_mode

if TYPE_CHECKING:
    from .vision_transformer import VisionTransformer

_HEADS = ("head", "head_dist")
_EQUAL = {Linear: nn.Linear, LayerNorm: nn.LayerNorm}  # they compute the same


def check_heads(model: VisionTransformer) -> None:
    """Raises ValueError where a head does not give one logit for each class of the config, as one that was put in the
    place of the model's own may."""
    for name in _HEADS:
        head = getattr(model, name, None)
        if head is None or (isinstance(head, nn.Identity) and not model.config.num_classes):
            continue
        check_classes(model, _width(head, model), f"model.{name}")


def check_classes(model: VisionTransformer, width: int, what: str = "the logits") -> None:
    """Raises ValueError where logits of this width are not one for each class of the config."""
    classes = model.config.num_classes
    if width == classes:
        return
    if isinstance(model.head, nn.Identity):
        way_out = "for features in place of logits call model.reset_head(0)"
    else:
        way_out = (
            f"for another number of classes call model.reset_head({width}); to keep a head that was put in by hand, "
            f"set model.config = model.config.replace(num_classes={width})"
        )
    raise ValueError(f"the width of {what} is {width}, and model.config says num_classes={classes}: {way_out}")


def _width(head: nn.Layer, model: VisionTransformer) -> int:
    if isinstance(head, nn.Linear):
        return head.weight.shape[-1]
    dtype = next((p.dtype for p in head.parameters()), paddle.float32)
    features = [1, 1, model.num_features] if model.config.global_pool == "none" else [1, model.num_features]
    with evaluation_mode(head), paddle.no_grad():
        return head(paddle.zeros(features, dtype)).shape[-1]


def structure_conflicts(model: VisionTransformer) -> list[str]:
    """Parts of a model that its class would not build from `model.config`, as sentences with the way out; [] for none.

    Such a model (another head was assigned, blocks were cut by hand) cannot be opened again from its config and its
    weights. Compared are the depth, the class of every layer and the shape of every parameter; where the class has a
    constructor that takes more than a config, the depth and the heads.
    """
    conflicts = _depth_conflicts(model) + [text for name in _HEADS for text in _head_conflicts(model, name)]
    if conflicts:
        return conflicts
    try:
        with paddle.LazyGuard():
            built = type(model)(model.config)
    except Exception:
        return []
    return _part_conflicts(model, built)


def _depth_conflicts(model: VisionTransformer) -> list[str]:
    depth = len(model.blocks)
    if depth == model.config.depth:
        return []
    return [
        f"the model has {depth} blocks, and its config depth={model.config.depth}: use model.prune_blocks(count) on "
        "the whole model, which keeps the first blocks and changes the config"
    ]


def _head_conflicts(model: VisionTransformer, name: str) -> list[str]:
    head = getattr(model, name, None)
    if head is None:
        return []
    with paddle.LazyGuard():
        unfilled, expected = model._unfilled, model.make_head()
        model._unfilled = unfilled
    if _parts(head) == _parts(expected):
        return []
    found, wanted = _described(head, whole=True), _described(expected, whole=True)
    count = head.weight.shape[-1] if isinstance(head, nn.Linear) else "num_classes"
    return [
        f"model.{name} is {found}, and the config (num_classes={model.config.num_classes}) makes {wanted}: use "
        f"model.reset_head({count}) for another number of classes; for a head of another kind, override make_head in a "
        "subclass"
    ]


def _part_conflicts(model: VisionTransformer, built: VisionTransformer) -> list[str]:
    found, wanted = _parts(model), _parts(built)
    differing: list[str] = []
    for name in dict.fromkeys([*wanted, *found]):
        inside = any(name.startswith(f"{other}.") for other in differing)
        if not inside and found.get(name) != wanted.get(name):
            differing.append(name)
    if not differing:
        return []
    here, there = (dict(some.named_sublayers(include_self=True)) for some in (model, built))
    texts = [
        f"{f'model.{name}' if name else 'the model'} is {_described(here.get(name))}, and the config makes "
        f"{_described(there.get(name))}"
        for name in differing[:3]
    ]
    more = f"; {len(differing) - 3} more parts differ" if len(differing) > 3 else ""
    return [f"{'; '.join(texts)}{more}: swap parts with a subclass and its class attributes, such as block_class"]


def _parts(layer: nn.Layer) -> dict[str, tuple[type, dict[str, list[int]]]]:
    """Class and own parameters' shapes of a layer and all layers in it, by name."""
    return {
        name: (_EQUAL.get(type(part), type(part)), _shapes(part))
        for name, part in layer.named_sublayers(include_self=True)
    }


def _shapes(layer: nn.Layer) -> dict[str, list[int]]:
    return {name: list(p.shape) for name, p in layer._parameters.items() if p is not None}


def _described(layer: nn.Layer | None, whole: bool = False) -> str:
    """Class and parameters of a layer; with `whole`, those of the layers in it, too."""
    if layer is None:
        return "absent"
    shapes = {name: list(p.shape) for name, p in layer.named_parameters()} if whole else _shapes(layer)
    return f"{type(layer).__name__}({', '.join(f'{name} {shape}' for name, shape in shapes.items())})"
