"""Values into parameters: copied once, by all cores, with no random initialisation first."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import paddle

_COLUMNS = 16  # of float32: one cache line
_ALIGNMENT = 64
_LARGE = 1 << 20  # bytes
_MOST_THREADS = 8  # memory is the limit, not arithmetic
_AT_ONCE = 8  # for each core; bounds what is held beside the model where parameters have memory of their own

Item = TypeVar("Item")
Result = TypeVar("Result")


def fill(parameters: dict[str, paddle.Tensor], read: Callable[[str], np.ndarray]) -> None:
    """Give parameters their values, in their own type.

    A parameter that has values keeps its memory; an unfilled one takes the new array as its memory, so that loading
    never holds a model twice. read(name) gives the array, in any memory order; it is called by several threads.
    """
    types = {name: np.float64 if p.dtype == paddle.float64 else np.float32 for name, p in parameters.items()}
    for name, values in parallel(lambda name: _owned(read(name), types[name]), parameters):
        _assign(parameters[name], values)


def parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """(item, function(item)) in order, computed by as many threads as there are cores, a few items ahead.

    NumPy lets go of the interpreter while it copies and sums, and the first touch of new memory, which is most of the
    time that loading takes, is as slow as the system's page faults: two cores take half of it.
    """
    items, threads = list(items), min(os.cpu_count() or 1, _MOST_THREADS)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), threads * _AT_ONCE):
            some = items[start : start + threads * _AT_ONCE]
            yield from zip(some, pool.map(function, some), strict=True)


def _assign(parameter: paddle.Tensor, values: np.ndarray) -> None:
    if parameter._is_initialized():
        parameter.set_value(paddle.to_tensor(values, dtype=parameter.dtype))
        return
    if paddle.get_device() == "cpu" and parameter.dtype in (paddle.float32, paddle.float64):
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


def _owned(array: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
    """A contiguous copy of this type. A transposed view is copied a few columns at a time: row by row, every element
    would be fetched from memory with a cache line of its own."""
    values = _memory(array.size, np.dtype(dtype)).reshape(array.shape)
    if array.ndim == 2 and not array.flags.c_contiguous:
        for column in range(0, array.shape[1], _COLUMNS):
            values[:, column : column + _COLUMNS] = array[:, column : column + _COLUMNS]
    else:
        values[...] = array
    return values


def _memory(size: int, dtype: np.dtype) -> np.ndarray:
    """Room for `size` values, aligned as Paddle aligns.

    Large arrays get plain pages. NumPy asks for huge ones, which come from memory that was not used for long and, on a
    virtual machine, that its host must find first: several times slower to touch, and loading touches each page once.
    """
    count = size * dtype.itemsize
    if count >= _LARGE and hasattr(mmap, "MAP_ANONYMOUS"):
        return np.frombuffer(mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype)
    buffer = np.empty(count + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + count].view(dtype)
