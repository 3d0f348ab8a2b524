"""NumPy archives (.npz), the format of Google's Vision Transformers.

Source: numpy.lib.format (versions 1.0 to 3.0 of the .npy header).
"""

from __future__ import annotations

import math
import re
import struct

import numpy as np

from .errors import WeightsError, quoted
from .file_bytes import FileBytes
from .tensors import (
    CODE_NAMES,
    SLACK,
    Contents,
    Tensor,
    checked_shape,
    dense_array,
    item_size,
    of_foreign_type,
    unreadable,
)
from .zip_index import Member

MAX_HEADER = 10_000  # NumPy's own limit

# A pattern rather than a literal parser: Python's warns that input can exhaust the C stack
_HEADER = re.compile(
    r"\{\s*'descr'\s*:\s*(?P<descr>'[^']*'|\[.*\])\s*,\s*'fortran_order'\s*:\s*(?P<fortran>True|False)\s*,"
    r"\s*'shape'\s*:\s*\((?P<shape>[\d\sL,]*)\)\s*,?\s*\}\s*",
    re.DOTALL,
)


def read_npz(file: FileBytes, members: dict[str, Member]) -> Contents:
    """The arrays of an archive whose table has been read. Raises `WeightsError` when one cannot be an array."""
    tree: dict[str, Tensor | None] = {name: None for name in members if not name.endswith(".npy")}
    for name, member in members.items():
        if name.endswith(".npy"):
            tree[name.removesuffix(".npy")] = _read_member(file, member)
    return Contents("npz", tree, file.size)


def _read_member(file: FileBytes, member: Member) -> Tensor | None:
    """The tensor, or None for arrays of text and dates, which are not weights."""
    code, big_endian, fortran, shape, data_at = _parse_header(member, member.head(file, MAX_HEADER + 12))
    if code == "V2":
        dtype = "bfloat16"  # how NumPy writes JAX's bfloat16, whose name it does not know
    elif code in CODE_NAMES:
        dtype = CODE_NAMES[code]
    elif code[:1] in "SUMm":
        return None
    elif code[:1] == "O":
        return unreadable(shape, "object", "is an array of pickled Python objects; those are never unpickled")
    else:
        return of_foreign_type(shape, code, "NumPy")
    expected = data_at + math.prod(shape) * item_size(dtype)
    if expected != member.size:
        raise WeightsError(
            f"declares the shape {shape} of {dtype} for {quoted(member.name)}, "
            f"which takes {expected:,} bytes with its header where there are {member.size:,}"
        )
    if dtype == "bfloat16" and member.deflated and 3 * member.size > 2 * file.size + SLACK:
        return unreadable(shape, dtype, "is packed too tightly to be unpacked and widened in bounded memory")

    read = member.reader(file)

    def load() -> np.ndarray:
        return dense_array(read()[data_at:], dtype, shape, fortran=fortran, big_endian=big_endian)

    return Tensor(shape, dtype, load)


def _parse_header(member: Member, head: bytes) -> tuple[str, bool, bool, tuple[int, ...], int]:
    """NumPy code without byte order, whether big-endian, whether Fortran order, shape, offset of the data."""
    if head[:6] != b"\x93NUMPY" or len(head) < 12:
        raise WeightsError(f"has a member {quoted(member.name)} that is not an array in NumPy's format")
    if head[6] == 1:
        start, length = 10, struct.unpack_from("<H", head, 8)[0]
    elif head[6] in (2, 3):
        start, length = 12, struct.unpack_from("<I", head, 8)[0]
    else:
        raise WeightsError(
            f"has a member {quoted(member.name)} in version {head[6]} of NumPy's format; 1 to 3 are known"
        )
    if length > MAX_HEADER or start + length > len(head):
        raise WeightsError(
            f"has a member {quoted(member.name)} whose header of {length:,} bytes is cut off or too long"
        )
    match = _HEADER.fullmatch(head[start : start + length].decode("utf-8" if head[6] == 3 else "latin-1"))
    if match is None:
        raise WeightsError(f"has a member {quoted(member.name)} whose header does not describe an array")
    descr = match["descr"]
    if descr[0] == "[":
        code, order = "structured records", "|"
    else:
        order, code = (descr[1], descr[2:-1]) if descr[1:2] in "<>|=" else ("|", descr[1:-1])
    sizes = [size.strip().rstrip("L") for size in match["shape"].split(",") if size.strip()]
    if len(sizes) > 64 or any(not size.isdigit() or len(size) > 19 for size in sizes):
        raise WeightsError(f"has a member {quoted(member.name)} whose header does not describe an array")
    shape = checked_shape([int(size) for size in sizes])
    return code, order == ">", match["fortran"] == "True", shape, start + length
