"""Writes weight files, each whole or not at all, and one tensor at a time."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from .atomic import write_atomically
from .safetensors import SAFETENSORS_CODES
from .tensors import BFloat16

Array = np.ndarray | BFloat16
Value = Array | Callable[[], Array]

_ENTRY_ROOM = 256  # bytes reserved for the description of one tensor beside its name


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Value], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a safetensors file.

    Args:
        path: the file, replaced when it exists.
        tensors: arrays by name, `BFloat16`, or functions that make them, each called once when its turn comes.
        metadata: strings to put in the header (`__metadata__`).

    Raises ValueError for a dtype that the format does not know, and OSError as `write_atomically` does.
    """
    with write_atomically(path) as file:
        dump_safetensors(file, tensors, metadata)


def dump_safetensors(file: BinaryIO, tensors: Mapping[str, Value], metadata: Mapping[str, str] | None = None) -> None:
    """`write_safetensors` into an open file that is empty. The header begins with the metadata, in their order."""
    metadata = dict(metadata or {})
    if any(type(text) is not str for pair in metadata.items() for text in pair):
        raise ValueError("safetensors metadata are strings by strings")
    _check_names(tensors)
    if "__metadata__" in tensors:
        raise ValueError("a tensor cannot be named '__metadata__' in a safetensors file")
    # Shapes are known only once every function was called, so the header gets room first and its text last
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    room = sum(len(json.dumps(name)) + _ENTRY_ROOM for name in tensors) + len(json.dumps(header)) + 8
    room += -room % 8
    file.seek(8 + room)
    start = 0
    for name, value in _widest_first(tensors):
        array, dtype = _array(name, value)
        if (code := SAFETENSORS_CODES.get(dtype)) is None:
            raise ValueError(f"{name!r} is {dtype}, which safetensors files do not hold")
        end = start + array.nbytes
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
        _write_data(file, array)
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > room:
        raise ValueError("a tensor has more dimensions than safetensors files are made for")
    file.seek(0)
    file.write(room.to_bytes(8, "little") + text.ljust(room))
    file.seek(0, os.SEEK_END)


def write_npz(path: str | os.PathLike[str], tensors: Mapping[str, Value]) -> None:
    """Writes a NumPy archive, not compressed; names may hold "/". bfloat16 becomes float32, which holds it exactly.

    Arguments and errors as `write_safetensors`.
    """
    _check_names(tensors)
    with write_atomically(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, value in tensors.items():
            # A fixed date: equal weights make equal files
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(member, "w", force_zip64=True) as stream:
                array, dtype = _array(name, value)
                array = BFloat16(array).widened() if dtype == "bfloat16" else array
                np.lib.format.write_array(stream, array, allow_pickle=False)


def write_pdparams(path: str | os.PathLike[str], tensors: Mapping[str, Value]) -> None:
    """Writes a file that `paddle.load` reads: a pickle (protocol 4) of {name: array}.

    bfloat16 is written as its bits in uint16, which Paddle takes for bfloat16. Arguments and errors as
    `write_safetensors`.
    """
    _check_names(tensors)
    with write_atomically(path) as file:
        _LazyPickler(file).dump({name: _Lazy(name, value) for name, value in tensors.items()})


class _Lazy:
    """An array to be, in a dict that is being pickled."""

    def __init__(self, name: str, value: Value) -> None:
        self.name = name
        self.value = value


class _LazyPickler(pickle.Pickler):
    """Writes each `_Lazy` as the array that it makes, and forgets the array."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, protocol=4)
        self.fast = True  # no memo: it would keep every array until the end

    def reducer_override(self, item: Any) -> Any:
        return _array(item.name, item.value)[0].__reduce__() if isinstance(item, _Lazy) else NotImplemented


def _check_names(tensors: Mapping[str, Value]) -> None:
    for name in tensors:
        if type(name) is not str or not name:
            raise ValueError(f"tensors are named by text, not by {name!r}")


def _widest_first(tensors: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Wide types before narrow ones, so that data stay aligned; a function counts as the widest."""
    return sorted(tensors.items(), key=lambda pair: -getattr(pair[1], "itemsize", 8))


def _array(name: str, value: Value) -> tuple[np.ndarray, str]:
    """A contiguous little-endian array, and the type of its numbers."""
    array = value() if callable(value) else value
    bits = array.bits if isinstance(array, BFloat16) else None
    array = array if bits is None else bits
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name!r} is no array of numbers but {kind}")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(array).reshape(array.shape), array.dtype.name if bits is None else "bfloat16"


def _write_data(file: BinaryIO, array: np.ndarray) -> None:
    if array.nbytes:
        file.write(memoryview(array.reshape(-1)).cast("B"))
