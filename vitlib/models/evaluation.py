"""A layer as it is evaluated: its mode for the time of a call, and its precision."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import paddle
from paddle import nn

_LOCK = threading.Lock()
_ENTERED: WeakKeyDictionary[nn.Layer, tuple[int, bool]] = WeakKeyDictionary()  # calls under way, mode before the first


@contextmanager
def evaluation_mode(model: nn.Layer) -> Iterator[None]:
    """Put a layer and its sublayers into evaluation mode, and restore the mode of each afterwards.

    Any number of threads may be inside for the same layers: the first one in saves the mode of a layer and the last one
    out restores it. Do not train the model in another thread meanwhile: it would be trained in evaluation mode, and a
    call of `train()` is undone at the end. Give that thread a copy of the model.
    """
    layers = model.sublayers(include_self=True)
    with _LOCK:
        for layer in layers:
            calls, training = _ENTERED.get(layer, (0, layer.training))
            _ENTERED[layer] = calls + 1, training
            layer.training = False
    try:
        yield
    finally:
        with _LOCK:
            for layer in layers:
                calls, training = _ENTERED.pop(layer)
                if calls > 1:
                    _ENTERED[layer] = calls - 1, training
                else:
                    layer.training = training


def in_full_precision(layer: nn.Layer) -> nn.Layer:
    """The layer, or a float32 copy of one in half precision, in which Paddle does not compute on a CPU."""
    if any(p.dtype in (paddle.float16, paddle.bfloat16) for p in layer.parameters()):
        return copy.deepcopy(layer).to(dtype="float32")
    return layer
