"""safetensors files.

The header is read here rather than by the `safetensors` package, which knows no bfloat16 for NumPy, keeps the last of
two entries with one name, and copies. Its rules are kept: no holes, no overlaps, nothing outside of the file.
Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np

from .errors import WeightsError, quoted
from .file_bytes import FileBytes
from .tensors import NUMPY_CODES, Contents, Tensor, checked_shape, dense_array, item_size, of_foreign_type

# "F32" from "f4"
SAFETENSORS_CODES = {name: f"{code[0].upper()}{8 * int(code[1])}" for name, code in NUMPY_CODES.items()}
SAFETENSORS_CODES |= {"bool": "BOOL", "bfloat16": "BF16"}
MAX_NAME = 1024  # characters; the time to understand names grows with their square
_DTYPES = {code: dtype for dtype, code in SAFETENSORS_CODES.items()}


def read_safetensors(file: FileBytes, max_header: int | None = None) -> Contents:
    """The tensors of one file. Raises `WeightsError` unless the header describes the data exactly.

    max_header: bytes; for files that are known to be one's own.
    """
    length = int.from_bytes(file.view[:8], "little")
    if 8 + length > file.size:
        raise WeightsError(
            f"is a safetensors file whose header of {length:,} bytes reaches beyond its end; it was cut off"
        )
    header = parse_json(file.view[8 : 8 + length], max_header or max_json(file), "its header")
    metadata = header.pop("__metadata__", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError("is a safetensors file whose __metadata__ is not a table of strings")
    data = file.view[8 + length :]
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        start, end, tensors[name] = _read_entry(name, entry, data)
        spans.append((start, end))
    position = 0
    for start, end in sorted(spans):
        if start != position:
            what = "overlap" if start < position else "leave a hole between them"
            raise WeightsError(f"is a safetensors file whose tensors {what}")
        position = end
    if position != len(data):
        raise WeightsError(f"is a safetensors file with {len(data) - position:,} bytes that belong to no tensor")
    return Contents("safetensors", tensors, file.size, metadata)


def _read_entry(name: str, entry: Any, data: memoryview) -> tuple[int, int, Tensor]:
    if len(name) > MAX_NAME:
        raise WeightsError(f"names a tensor by {len(name):,} characters; at most {MAX_NAME:,} are read")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(f"describes the tensor {quoted(name)} by something else than dtype, shape and data_offsets")
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or any(type(offset) is not int for offset in offsets):
        raise WeightsError(f"gives the tensor {quoted(name)} offsets that are not two integers")
    start, end = offsets
    if not 0 <= start <= end <= len(data):
        raise WeightsError(
            f"places the tensor {quoted(name)} at bytes {start:,} to {end:,} of {len(data):,}; the file may be cut off"
        )
    shape = checked_shape(entry["shape"])
    code = entry["dtype"]
    if not isinstance(code, str) or code not in _DTYPES:
        return start, end, of_foreign_type(shape, code if isinstance(code, str) else "unknown")
    dtype = _DTYPES[code]
    if math.prod(shape) * item_size(dtype) != end - start:
        raise WeightsError(f"gives the tensor {quoted(name)} of shape {shape} and {dtype} {end - start:,} bytes")

    def load() -> np.ndarray:
        return dense_array(data[start:end], dtype, shape)

    return start, end, Tensor(shape, dtype, load)


def max_json(file: FileBytes) -> int:
    """Bytes of JSON that are read of a file: Python objects take up to 24 times their text, so 48 MiB + 3/2 of it."""
    return (2 << 20) + file.size // 16


def parse_json(data: memoryview, limit: int, what: str) -> dict[str, Any]:
    """A JSON object of at most `limit` bytes from a file, bounded in nesting and integers; no name is given twice.

    Raises `WeightsError`, which calls the text `what`.
    """
    if len(data) > limit:
        raise WeightsError(f"is refused because {what} is {len(data):,} bytes long")
    try:
        parsed = json.loads(
            bytes(data).decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_int=_parse_int,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise WeightsError(f"is damaged: {what} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise WeightsError(f"is damaged: {what} is not JSON ({error})") from None
    except RecursionError:
        raise WeightsError(f"is refused because {what} is nested too deeply") from None
    if not isinstance(parsed, dict):
        raise WeightsError(f"is damaged: {what} is not a JSON object")
    return parsed


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise WeightsError(f"names {quoted(key)} twice")
        table[key] = value
    return table


def _parse_int(digits: str) -> int:
    if len(digits) > 20:  # longer ones take quadratic time, and no file is that large
        raise WeightsError("holds an integer of more than 20 digits where sizes are expected")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise WeightsError(f"is damaged: it holds {name} where JSON has no such value")
