"""The attention that a model uses, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ..layers import MultiHeadAttention
from ..models import VisionTransformer


def attention_maps(
    model: VisionTransformer, images: Any, layers: int | Sequence[int] | None = None
) -> list[paddle.Tensor]:
    """The attention weights of chosen blocks: one [B, heads, N, N] a layer, in the order asked for.

    N counts all tokens (class, distillation, registers, patches row by row); row i holds the weights with which token i
    reads the others and sums to 1. The numbers are those that `forward` uses in evaluation, also where a subclass
    overrides `attend`, where a block hands its attention a mask, and where blocks share one. The model is left as it
    was: mode of every layer, random state, no gradients kept.

    images: a tensor [B, C, H, W], or whatever `model.preprocess` takes (paths, Pillow images, arrays).
    layers: indices (negative ones count from the end), a count n for the last n blocks, or None for all.

    While it runs, no other thread may use the model. Raises ValueError for a layer that is not there, TypeError for an
    attention that does not tell its weights, and what the model raises for images that do not fit.
    """
    if not isinstance(images, paddle.Tensor):
        images = model.preprocess(images)
    indices = model._layer_indices(layers)
    found: dict[int, paddle.Tensor] = {}

    def watch(attention: Any) -> None:
        """See all arguments of the attention's forward, a mask too: hooks are not given keywords."""
        forward = attention.forward
        uses = iter([index for index, block in enumerate(model.blocks) if block.attn is attention])

        def recording(*args: Any, **options: Any) -> paddle.Tensor:
            index = next(uses, None)
            if index in indices:
                found[index] = attention.attention_weights(*args, **options)
            return forward(*args, **options)

        attention.forward = recording

    watched = []
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    try:
        for index in sorted(set(indices)):
            attention = model.blocks[index].attn
            if not _tells_its_weights(attention):
                raise TypeError(
                    f"block {index} uses {type(attention).__name__}, which has no attention_weights(x, mask) "
                    "[B, heads, N, N] for what its forward does; derive it from vitlib.MultiHeadAttention and override "
                    "attend, or add the method"
                )
            if not any(attention is other for other, _ in watched):
                watched.append((attention, vars(attention).get("forward")))
                watch(attention)
        model.eval()
        with paddle.no_grad():
            model.intermediates(images, [max(indices)])
    finally:
        for attention, forward in watched:
            del attention.forward
            if forward is not None:
                attention.forward = forward
        for layer, training in modes:
            layer.training = training
    silent = [index for index in indices if index not in found]
    if silent:
        raise ValueError(f"block {silent[0]} did not call its attn, so it has no attention to show")
    return [found[index] for index in indices]


def _tells_its_weights(attention: Any) -> bool:
    """Whether `attention_weights` speaks of the forward that runs: a subclass with a forward of its own has to say."""
    kind = type(attention)
    own_forward = getattr(kind, "forward", None) is not MultiHeadAttention.forward
    inherited = getattr(kind, "attention_weights", None) in (None, MultiHeadAttention.attention_weights)
    return not (own_forward and inherited)
