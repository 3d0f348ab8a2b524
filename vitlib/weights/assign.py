"""Values into parameters, with one copy and no random initialisation first."""

from __future__ import annotations

import numpy as np
import paddle

_COLUMNS = 16  # of float32: one cache line
_ALIGNMENT = 64


def assign(parameter: paddle.Tensor, array: np.ndarray) -> None:
    """Give a parameter its values, in its own type.

    A parameter that has values keeps its memory; an unfilled one takes the new array as its memory, so that loading
    never holds a model twice.
    """
    values = _owned(array)
    if parameter._is_initialized():
        parameter.set_value(paddle.to_tensor(values, dtype=parameter.dtype))
        return
    if paddle.get_device() == "cpu" and parameter.dtype == paddle.float32:
        tensor = paddle.base.core.eager.Tensor(
            value=values,
            place=paddle.CPUPlace(),
            persistable=True,
            zero_copy=True,
            name=parameter.name,
            stop_gradient=True,
        )
    else:
        tensor = paddle.to_tensor(values, dtype=parameter.dtype)
    parameter._set_impl(tensor)
    parameter._init_func = None  # `initialize` would draw over what was loaded


def _owned(array: np.ndarray) -> np.ndarray:
    """A contiguous float32 copy, aligned as Paddle aligns. A transposed view is copied a few columns at a time: row by
    row, every element would be fetched from memory with a cache line of its own."""
    buffer = np.empty(array.size + _ALIGNMENT // 4, np.float32)
    start = -buffer.ctypes.data % _ALIGNMENT // 4
    values = buffer[start : start + array.size].reshape(array.shape)
    if array.ndim == 2 and not array.flags.c_contiguous:
        for column in range(0, array.shape[1], _COLUMNS):
            values[:, column : column + _COLUMNS] = array[:, column : column + _COLUMNS]
    else:
        values[...] = array
    return values
