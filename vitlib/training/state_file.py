"""A nested state <-> one safetensors file in which every bit is accounted for.

The tensors lie in the file as in any of the format (`__metadata__` holds the rest of the state as JSON); the SHA-256 is
that of the entire file with zeros in the place of the digest itself. Nothing is pickled, nothing in a file is run.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from typing import Any, BinaryIO

import numpy as np
import paddle

from ..checkpoint.atomic import write_atomically
from ..checkpoint.errors import WeightsError
from ..checkpoint.file_bytes import FileBytes
from ..checkpoint.safetensors import SAFETENSORS_CODES, read_safetensors
from ..checkpoint.writers import dump_safetensors

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
    tensors: dict[str, Any] = {}
    text = json.dumps(_encode(state, "", tensors), separators=(",", ":"))
    # Wide types before narrow ones keep the data aligned for whoever maps the file
    widest_first = sorted(tensors.items(), key=lambda pair: -array_dtype(pair[1]).itemsize)
    arrays = {name: lambda value=value: _to_array(value) for name, value in widest_first}
    with write_atomically(path) as file:
        dump_safetensors(file, arrays, {"sha256": _NO_DIGEST.decode(), "state": text})
        digest = _digest(file)
        file.seek(_DIGEST.start)
        file.write(digest)
        file.seek(0, os.SEEK_END)


def read_state(path: str | os.PathLike[str]) -> Any:
    """Reads the state that `write_state` wrote. The arrays are copies of their own.

    Raises CheckpointError when the file is not, to the last bit, as it was written; the sentence begins with the path.
    Raises OSError as the system does, and MemoryError: they say nothing about the file, which may be whole.
    """
    try:
        return _read(FileBytes.open(path))
    except (OSError, MemoryError):
        raise
    except WeightsError as error:
        raise CheckpointError(f"{os.fspath(path)} is damaged: it {error.reason}") from None
    except Exception as error:  # such as a file with a right digest that somebody else has made
        raise CheckpointError(f"{os.fspath(path)} cannot be read ({type(error).__name__}: {error})") from error


def _read(file: FileBytes) -> Any:
    if file.size < _DIGEST.stop:
        raise WeightsError(f"was cut off after {file.size} bytes")
    if bytes(file.view[8 : _DIGEST.start]) != _BEFORE_DIGEST:
        raise WeightsError("does not begin as a checkpoint does")
    digest = hashlib.sha256(file.view[: _DIGEST.start])
    digest.update(_NO_DIGEST)
    digest.update(file.view[_DIGEST.stop :])
    if bytes(file.view[_DIGEST]) != digest.hexdigest().encode():
        raise WeightsError("does not have the SHA-256 that it names; it was cut off or changed")
    contents = read_safetensors(file, max_header=file.size)
    arrays = {name: np.array(tensor.load()) for name, tensor in contents.tree.items()}
    return _decode(json.loads(contents.metadata["state"]), arrays)


def _digest(file: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest().encode()


def _to_array(value: paddle.Tensor | np.ndarray) -> np.ndarray:
    return value.numpy() if isinstance(value, paddle.Tensor) else value


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
