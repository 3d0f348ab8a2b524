"""A nested state <-> one safetensors file in which every bit is accounted for.

The tensors lie in the file as in any of the format (`__metadata__` holds the rest of the state as JSON); the SHA-256 is
that of the entire file with zeros in the place of the digest itself. Nothing is pickled, nothing in a file is run.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ..checkpoint.atomic import write_atomically
from ..checkpoint.writers import SAFETENSORS_CODES

_DTYPES = {code: np.dtype(name).newbyteorder("<") for name, code in SAFETENSORS_CODES.items()}
_BEFORE_DIGEST = b'{"__metadata__":{"sha256":"'
_DIGEST = slice(8 + len(_BEFORE_DIGEST), 8 + len(_BEFORE_DIGEST) + 64)
_NO_DIGEST = b"0" * 64


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is a sentence that names the file or what does not fit."""


def write_state(path: str | os.PathLike[str], state: Any) -> None:
    """Writes a state; the file appears whole or not at all.

    state: dicts with text for keys, lists and tuples of paddle Tensors, NumPy arrays and scalars, int, float, str, bool
        and None. Read again, tensors are arrays (bfloat16: its bits, uint16), tuples lists, NumPy scalars numbers of
        Python; everything else is the same to the bit, whatever the size of an int, infinities and NaN included.

    Raises TypeError for anything else, naming its place, before a file is made; OSError as `write_atomically` does.
    """
    arrays: dict[str, Any] = {}
    text = json.dumps(_encode(state, "", arrays), separators=(",", ":"))
    converted: dict[str, Callable[[], np.ndarray]] = {}
    header: dict[str, Any] = {"__metadata__": {"sha256": _NO_DIGEST.decode(), "state": text}}
    start = 0
    # Wide types before narrow ones keep the data aligned for whoever maps the file
    for name, value in sorted(arrays.items(), key=lambda pair: -array_dtype(pair[1]).itemsize):
        dtype, shape = array_dtype(value), [int(size) for size in value.shape]
        end = start + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": SAFETENSORS_CODES[dtype.name], "shape": shape, "data_offsets": [start, end]}
        converted[name] = lambda value=value: value.numpy() if isinstance(value, paddle.Tensor) else value
        start = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head = head.ljust(len(head) + -len(head) % 8)
    with write_atomically(path) as file:
        digest = hashlib.sha256()
        for part in (len(head).to_bytes(8, "little"), head):
            file.write(part)
            digest.update(part)
        for convert in converted.values():
            array = convert()
            data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
            file.write(data)
            digest.update(data)
        file.seek(_DIGEST.start)
        file.write(digest.hexdigest().encode())
        file.seek(0, os.SEEK_END)


def read_state(path: str | os.PathLike[str]) -> Any:
    """What `write_state` wrote. The arrays are copies of their own.

    Raises CheckpointError when the file is not, to the last bit, as it was written; the sentence begins with the path.
    Raises OSError as the system does, and MemoryError: they say nothing about the file, which may be whole.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < _DIGEST.stop:
                raise CheckpointError(f"it was cut off after {os.fstat(file.fileno()).st_size} bytes")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping, memoryview(mapping) as view:
                return _read(view)
    except (OSError, MemoryError):
        raise
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)} is damaged: {error}") from None
    except Exception as error:  # such as a file with a right digest that somebody else has made
        raise CheckpointError(f"{os.fspath(path)} cannot be read ({type(error).__name__}: {error})") from error


def _read(view: memoryview) -> Any:
    if bytes(view[8 : _DIGEST.start]) != _BEFORE_DIGEST:
        raise CheckpointError("it does not begin as a checkpoint does")
    digest = hashlib.sha256(view[: _DIGEST.start])
    digest.update(_NO_DIGEST)
    digest.update(view[_DIGEST.stop :])
    if bytes(view[_DIGEST]) != digest.hexdigest().encode():
        raise CheckpointError("its contents do not have the SHA-256 that it names; it was cut off or changed")
    length = int.from_bytes(view[:8], "little")
    header = json.loads(bytes(view[8 : 8 + length]))
    metadata = header.pop("__metadata__")
    data = view[8 + length :]
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[begin:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=True)
    return _decode(json.loads(metadata["state"]), arrays)


def array_dtype(value: paddle.Tensor | np.ndarray) -> np.dtype:
    """The type in which a tensor is saved. Raises TypeError for one that NumPy has not."""
    if not isinstance(value, paddle.Tensor):
        return value.dtype
    name = str(value.dtype).removeprefix("paddle.")  # bfloat16 is its bits, as `Tensor.numpy()` gives it
    return np.dtype("uint16" if name == "bfloat16" else name)


def _encode(value: Any, place: str, arrays: dict[str, Any]) -> Any:
    """JSON in which every object has one key that says what it stands for: dict, array, int or float."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else {"int": hex(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if isinstance(value, (list, tuple)):
        return [_encode(item, f"{place}/{number}", arrays) for number, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                raise TypeError(f"state{place} has the key {key!r}; expected text for keys")
        return {"dict": {key: _encode(item, f"{place}/{key}", arrays) for key, item in value.items()}}
    if not isinstance(value, (np.ndarray, paddle.Tensor)):
        raise TypeError(f"state{place} is a {type(value).__name__}; expected tensors, arrays, numbers, text and tables")
    try:
        known = array_dtype(value).name in SAFETENSORS_CODES
    except TypeError:  # a type of Paddle's that NumPy has not
        known = False
    if not known:
        raise TypeError(f"state{place} is of {value.dtype}; expected real numbers of 8 to 64 bits")
    name = place[1:] or "state"
    while name in arrays or name == "__metadata__":
        name += "'"
    arrays[name] = value
    return {"array": name}


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {key: _decode(item, arrays) for key, item in content.items()}
    if kind == "array":
        return arrays[content]
    return int(content, 16) if kind == "int" else struct.unpack(">d", bytes.fromhex(content))[0]
