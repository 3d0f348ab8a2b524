"""The attention that a model uses, block by block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import paddle

from ..models import VisionTransformer
from ..models.evaluation import evaluation_mode

_LOCK = threading.Lock()


def attention_maps(
    model: VisionTransformer, images: Any, layers: int | Sequence[int] | None = None
) -> list[paddle.Tensor]:
    """The attention weights of chosen blocks: one [B, heads, N, N] a layer, in the order asked for.

    N counts all tokens (class, distillation, registers, patches row by row); row i holds the weights with which token i
    reads the others and sums to 1. The numbers are those that `forward` uses in evaluation, also where a subclass
    overrides `attend`, where a block hands its attention a mask, and where blocks share one. The model is left as it
    was: mode of every layer, random state, no gradients kept. Other threads may evaluate the model meanwhile.

    Args:
        model: the model.
        images: a tensor [B, C, H, W], or images as `model.preprocess` takes them (paths, Pillow images, arrays).
        layers: indices (negative ones count from the end), a count n for the last n blocks, or None for all.

    Raises ValueError for a layer that does not exist, TypeError for an attention whose weights are not known, and what
    the model raises for images that do not fit.
    """
    indices = model.layer_indices(layers)
    found: dict[int, paddle.Tensor] = {}

    def record(index: int, attention: Any, call: Callable[..., Any], *args: Any, **options: Any) -> paddle.Tensor:
        if index in indices:
            found[index] = attention.attention_weights(*args, **options)
        return call(*args, **options)

    for index in sorted(set(indices)):
        check_attention(model, index)
    with evaluation_mode(model), paddle.no_grad(), intercepted(model, record):
        run_blocks(model, as_tensor(model, images), max(indices))
    check_called(model, found, indices)
    return [found[index] for index in indices]


def run_blocks(model: VisionTransformer, images: paddle.Tensor, last: int) -> None:
    """Run the blocks up to this one, or all where a subclass has a `forward_features` of its own."""
    if type(model).forward_features is VisionTransformer.forward_features:
        model.intermediates(images, [last])
    else:
        model.forward_features(images)


def as_tensor(model: VisionTransformer, images: Any) -> paddle.Tensor:
    """A tensor [B, C, H, W] as it is, or other images preprocessed, in the model's precision."""
    return images if isinstance(images, paddle.Tensor) else model.preprocess(images).astype(model.parameters()[0].dtype)


def check_attention(model: VisionTransformer, index: int) -> None:
    """Raises TypeError where `attention_weights` does not describe the forward of a block's attention: a class with a
    forward of its own has to bring its own method, too."""
    attention = getattr(model.blocks[index], "attn", None)
    if attention is None:
        raise TypeError(f"block {index}, a {type(model.blocks[index]).__name__}, has no attention called attn")
    kind = type(attention)
    classes = {  # of those that it derives from, the place of the first with such a method
        name: next((place for place, cls in enumerate(kind.__mro__) if name in vars(cls)), None)
        for name in ("forward", "attention_weights")
    }
    if classes["attention_weights"] is None or classes["forward"] < classes["attention_weights"]:
        raise TypeError(
            f"block {index} uses {kind.__name__}, which has no attention_weights(x, mask) [B, heads, N, N] for what "
            "its forward does; derive it from vitlib.MultiHeadAttention and override attend, or add the method"
        )


def check_called(model: VisionTransformer, called: Collection[int], indices: Iterable[int] | None = None) -> None:
    """Raises ValueError for a block, of those with these indices or of all, whose attention was not called."""
    silent = [index for index in (range(len(model.blocks)) if indices is None else indices) if index not in called]
    if silent:
        raise ValueError(f"block {silent[0]} did not call its attn, so it has no attention to show")


@contextmanager
def intercepted(model: VisionTransformer, replacement: Callable[..., paddle.Tensor]) -> Iterator[None]:
    """Have this thread's calls of the attention of block `index` go to replacement(index, attention, call, *args,
    **options), where call is the attention's own forward. Calls of other threads are not affected.

    Blocks that share one attention are told apart by the order of its calls.
    """
    places: dict[Any, list[int]] = {}
    for index, block in enumerate(model.blocks):
        if getattr(block, "attn", None) is not None:
            places.setdefault(block.attn, []).append(index)
    with ExitStack() as stack:
        for attention, indices in places.items():
            stack.enter_context(diverted(attention, _numbered(replacement, indices)))
        yield


def _numbered(replacement: Callable[..., paddle.Tensor], indices: list[int]) -> Callable[..., paddle.Tensor]:
    remaining = iter(indices)

    def numbered(attention: Any, call: Callable[..., Any], *args: Any, **options: Any) -> paddle.Tensor:
        index = next(remaining, None)
        if index is None:  # called more often than there are blocks with it
            return call(*args, **options)
        return replacement(index, attention, call, *args, **options)

    return numbered


class _Switch:
    """Stands for the forward of a layer and sends the calls of some threads elsewhere."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.own = layer, vars(layer).get("forward")
        self.forward = layer.forward
        self.diversions: dict[int, list[Callable[..., Any]]] = {}  # by thread; the innermost last

    def __call__(self, *args: Any, **options: Any) -> Any:
        diversions = self.diversions.get(threading.get_ident())
        if not diversions:
            return self.forward(*args, **options)
        return diversions[-1](self.layer, self.forward, *args, **options)


@contextmanager
def diverted(layer: Any, diversion: Callable[..., Any]) -> Iterator[None]:
    """Have this thread's calls of a layer go to diversion(layer, call, *args, **options), where call is its forward."""
    thread = threading.get_ident()
    with _LOCK:
        switch = vars(layer).get("forward")
        if not isinstance(switch, _Switch):
            switch = _Switch(layer)
            layer.forward = switch
        switch.diversions.setdefault(thread, []).append(diversion)
    try:
        yield
    finally:
        with _LOCK:
            switch.diversions[thread].pop()
            if not switch.diversions[thread]:
                del switch.diversions[thread]
            if not switch.diversions:  # the last one out restores what the layer had
                del layer.forward
                if switch.own is not None:
                    layer.forward = switch.own
