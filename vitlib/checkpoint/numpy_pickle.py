"""NumPy arrays inside pickles, read without NumPy's own reconstruction.

Source: ndarray.__reduce__ and ndarray.__setstate__ (numpy/_core/src/multiarray/methods.c), numpy._core.numeric.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .errors import WeightsError
from .pickle_objects import LongText, PickledObject, globals_by_name
from .tensors import CODE_NAMES, Tensor, checked_shape, dense_array, item_size, of_foreign_type, unreadable

_CORRUPT = "holds a corrupt pickle: an array that is not described as NumPy does it"


class PickledType(PickledObject):
    """A numpy.dtype: its code without byte order ("f4"), and whether its values are big-endian."""

    __slots__ = ("big_endian", "code")

    def __init__(self, code: Any = None, *arguments: Any) -> None:
        super().__init__("numpy.dtype")
        self.big_endian = False
        self.code = code.lstrip("<>|=") if type(code) is str else "unknown"

    def set_state(self, state: Any) -> None:
        """(version, byte order, subarray, names, fields, size, alignment, flags)"""
        if type(state) is not tuple or len(state) < 5:
            raise WeightsError(_CORRUPT)
        if state[2] is not None or state[3] is not None or state[4] is not None:
            self.code = "structured records"
        self.big_endian = state[1] == ">" if type(state[1]) is str else bytes_of(state[1]) == b">"


class EncodedText(PickledObject):
    """_codecs.encode(text, "latin1"): how protocol 2 carries bytes."""

    __slots__ = ("text",)

    def __init__(self, text: Any, encoding: Any) -> None:
        if not isinstance(text, (str, LongText)) or encoding not in ("latin1", "latin-1"):
            raise WeightsError("holds a corrupt pickle: bytes that are not written as Latin-1 text")
        super().__init__("bytes")
        self.text = text


class PickledArray(PickledObject):
    """An ndarray; shape and type are known after BUILD, the data stay in the file."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    def __init__(self, *arguments: Any) -> None:
        super().__init__("numpy.ndarray")
        self.dtype: PickledType | None = None

    def set_state(self, state: Any) -> None:
        """(version, shape, dtype, whether Fortran order, data); the version is missing in the oldest files."""
        if type(state) is not tuple or len(state) not in (4, 5) or self.dtype is not None:
            raise WeightsError(_CORRUPT)
        self.describe(*state[-4:])

    def describe(self, shape: Any, dtype: Any, fortran: Any, data: Any) -> PickledArray:
        if not isinstance(dtype, PickledType) or type(shape) is not tuple:
            raise WeightsError(_CORRUPT)
        self.shape, self.dtype, self.fortran, self.data = shape, dtype, bool(fortran), data
        return self


def bytes_of(value: Any) -> bytes | memoryview | None:
    """The bytes that a pickle means by `value`, whichever Python wrote it; None when it means none."""
    if isinstance(value, EncodedText):
        value = value.text
    if isinstance(value, memoryview):
        return value
    try:
        if type(value) is str:
            return value.encode("latin-1")
        if isinstance(value, LongText):
            return _narrowed(value.utf8)
    except UnicodeError:
        pass
    return None


def array_tensor(array: PickledArray, *, uint16_is_bfloat16: bool) -> Tensor:
    """The tensor that `array` is. Raises `WeightsError` when its data do not fit its shape."""
    if array.dtype is None:
        raise WeightsError(_CORRUPT)
    shape, code, big_endian, fortran, data = (
        checked_shape(array.shape),
        array.dtype.code,
        array.dtype.big_endian,
        array.fortran,
        array.data,
    )
    if code[:1] == "O":
        return unreadable(shape, "object", "is an array of pickled Python objects; weights are real numbers")
    if code not in CODE_NAMES:
        return of_foreign_type(shape, code, "NumPy")
    dtype = "bfloat16" if code == "u2" and uint16_is_bfloat16 else CODE_NAMES[code]
    expected = math.prod(shape) * item_size(dtype)
    least, most = _size_bounds(data)
    if not least <= expected <= most:
        raise WeightsError(f"holds an array of shape {shape} and {dtype} whose data are not of {expected:,} bytes")

    def load() -> np.ndarray:
        raw = bytes_of(data)
        if raw is None:
            raise WeightsError("is damaged: an array's data hold text that is not bytes")
        return dense_array(memoryview(raw), dtype, shape, fortran=fortran, big_endian=big_endian)

    return Tensor(shape, dtype, load)


def _size_bounds(data: Any) -> tuple[int, int]:
    """How many bytes `data` can mean, without decoding: each takes one or two bytes of UTF-8."""
    if isinstance(data, EncodedText):
        data = data.text
    if isinstance(data, (memoryview, str)):
        return len(data), len(data)
    if isinstance(data, LongText):
        return (len(data.utf8) + 1) // 2, len(data.utf8)
    raise WeightsError(_CORRUPT)


def _narrowed(utf8: memoryview) -> bytes:
    """UTF-8 to Latin-1, in pieces: one foreign character would make Python's text four times as large."""
    out, at = bytearray(), 0
    while at < len(utf8):
        end = min(at + (1 << 20), len(utf8))
        while end < len(utf8) and utf8[end] & 0xC0 == 0x80 and end > at + 1:
            end -= 1
        out += str(utf8[at:end], "utf-8").encode("latin-1")
        at = end
    return out


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    """numpy._core.numeric._frombuffer, by protocol 5"""
    if order not in ("C", "F"):
        raise WeightsError(_CORRUPT)
    return PickledArray().describe(shape, dtype, order == "F", data)


NUMPY = globals_by_name(
    {
        "numpy.dtype": PickledType,
        "_codecs.encode": EncodedText,
        "numpy.core.multiarray._reconstruct": PickledArray,
        "numpy._core.multiarray._reconstruct": PickledArray,
        "numpy.core.numeric._frombuffer": _from_buffer,
        "numpy._core.numeric._frombuffer": _from_buffer,
    }
)
