"""Models inside `paddle.DataParallel`, which puts `_layers.` before the names of their parameters."""

from __future__ import annotations

import paddle
from paddle import nn


def unwrapped(model: nn.Layer) -> nn.Layer:
    """The model itself, out of a `paddle.DataParallel` around it."""
    return model._layers if isinstance(model, paddle.DataParallel) else model
