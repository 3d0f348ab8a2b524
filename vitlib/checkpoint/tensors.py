"""The description of one tensor in a file, and how its bytes become an array."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import WeightsError, quoted

_DTYPES = (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
)  # fmt: skip
CODE_NAMES = {np.dtype(name).str[1:]: name for name in _DTYPES}  # by "b1", "u1", ... "f8"
# NumPy has no bfloat16: the bits are read as integers and widened
NUMPY_CODES = {name: code for code, name in CODE_NAMES.items()} | {"bfloat16": "u2"}

MAX_DIMENSIONS = 32  # of NumPy 1.x
MAX_TENSORS = 20_000  # a Vision Transformer of a billion parameters has about 1,000
SLACK = 32 << 20  # bytes that a tensor may hold beyond its file's size: expanded views, deflated members
MAX_REUSE = 4  # how many times the bytes of a file may be used on average, by shared storages or compression

# Ends of names by which other libraries keep something else than weights
_FOREIGN_NAMES = (
    (("._packed_params", ".SCB", ".absmax", ".quant_map", ".qweight", ".qzeros", ".weight_scale", ".weight_scale_inv"),
     "a part of a quantised layer, whose integers are not weights",
     "Save the state_dict of the model before quantisation"),
    (("flat_param",),
     "a part of a sharded FSDP model, in which weights have no names",
     "Save a full state_dict where it was trained (StateDictType.FULL_STATE_DICT)"),
)  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: its shape and dtype as stored, and a function that reads it.

    `problem` is the error to raise when it cannot be given as an array (complex, float8, quantised, sparse ...).
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray]
    problem: WeightsError | None = None


@dataclass
class Contents:
    """The object in a file, before anybody looks for the weights in it.

    tree: the object, such as a table of tensors by name or what a training script saved. tensor_of: the tensor that a
    value of it is, or None. size: bytes of the file or files.
    """

    format: str
    tree: Any
    size: int
    metadata: dict[str, str] = field(default_factory=dict)
    tensor_of: Callable[[Any], Tensor | None] = lambda value: value if isinstance(value, Tensor) else None


@dataclass(frozen=True, eq=False)
class BFloat16:
    """An array of bfloat16, which NumPy does not know.

    bits: uint16, as `paddle.Tensor.numpy()` gives it. Raises TypeError for another type.
    """

    bits: np.ndarray
    itemsize = 2

    def __post_init__(self) -> None:
        if not isinstance(self.bits, np.ndarray) or self.bits.dtype != np.uint16:
            raise TypeError(f"bits: expected an array of uint16, found {getattr(self.bits, 'dtype', type(self.bits))}")

    def widened(self) -> np.ndarray:
        """The same numbers in float32, exactly."""
        wide = self.bits.astype(np.uint32)
        np.left_shift(wide, np.uint32(16), out=wide)  # an operator would not do for NumPy 1 and no dimensions
        return wide.view(np.float32)


def item_size(dtype: str) -> int:
    """Bytes per element of a readable dtype."""
    return int(NUMPY_CODES[dtype][1])


def unreadable(shape: tuple[int, ...], dtype: str, problem: str, way_out: str = "") -> Tensor:
    """A tensor that has a name and a shape but cannot be read: `problem` continues "holds the tensor 'x', which"."""
    error = WeightsError(
        problem, way_out=way_out or "Convert such tensors to float32 where the file was made, and save it again"
    )

    def refuse() -> np.ndarray:
        raise error

    return Tensor(shape, dtype, refuse, error)


def of_foreign_type(shape: tuple[int, ...], dtype: str, owner: str = "") -> Tensor:
    """An unreadable tensor of a dtype that is not in `NUMPY_CODES`."""
    name = f"{owner} type {quoted(dtype, 40)}".strip()
    if dtype.lower().startswith(("float8", "float4", "f8", "f6", "f4")):
        return unreadable(
            shape,
            dtype[:20],
            f"has the {name}, a number of 8 bits or fewer that is a weight only once it is multiplied by its scale",
            "Load the file with the library that made it, convert the weights to float32, and save them again",
        )
    return unreadable(shape, dtype[:20], f"has the {name}; weights are real numbers")


def checked_shape(shape: object) -> tuple[int, ...]:
    """`shape` from a file as a tuple of sensible ints; raises `WeightsError` on anything else."""
    if not isinstance(shape, (tuple, list)) or len(shape) > MAX_DIMENSIONS:
        raise WeightsError(f"declares a tensor shape that is not a tuple of at most {MAX_DIMENSIONS} sizes")
    for size in shape:
        if type(size) is not int or not 0 <= size < 2**48:
            raise WeightsError("declares a tensor whose shape holds something else than sizes")
    if math.prod(max(size, 1) for size in shape) >= 2**56:
        raise WeightsError("declares a tensor larger than any memory")
    return tuple(shape)


def dense_array(
    data: memoryview, dtype: str, shape: tuple[int, ...], *, fortran: bool = False, big_endian: bool = False
) -> np.ndarray:
    """A contiguous tensor from exactly its bytes: a read-only view, or for bfloat16 and foreign byte order a copy."""
    expected = math.prod(shape) * item_size(dtype)
    if len(data) != expected:
        raise WeightsError(f"holds {len(data):,} bytes for a tensor of {expected:,}")
    code = (">" if big_endian else "<") + NUMPY_CODES[dtype]
    array = np.ndarray(shape, code, buffer=data, order="F" if fortran else "C")
    return native(array, dtype)


def native(array: np.ndarray, dtype: str) -> np.ndarray:
    """Brings foreign byte order home and widens bfloat16 bits to float32; everything else stays the view it is."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if dtype == "bfloat16":
        array = BFloat16(array).widened()
    array.flags.writeable = False
    return array


def refuse_unusable(tensors: dict[str, Tensor], extras: list[str], file_size: int) -> None:
    """Raises one sentence when weights cannot be read or are not all there, so that it shows at opening."""
    bad = [name for name, tensor in tensors.items() if tensor.problem]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        problem = tensors[bad[0]].problem
        raise WeightsError(f"holds the tensor {quoted(bad[0])}{more}, which {problem.reason}", way_out=problem.way_out)
    for endings, reason, way_out in _FOREIGN_NAMES:
        if name := next((name for name in (*tensors, *extras) if name.endswith(endings)), None):
            raise WeightsError(f"holds {quoted(name)}, {reason}", way_out=way_out)
    placeholders = sum(tensor.shape == (0,) for tensor in tensors.values())
    if 2 * placeholders > len(tensors):
        raise WeightsError(
            f"holds placeholders of shape [0] in place of {placeholders} of its {len(tensors)} tensors, as DeepSpeed's "
            "ZeRO stage 3 leaves them where the weights are spread over processes",
            way_out="Gather them where the model was trained: DeepSpeed puts zero_to_fp32.py beside its checkpoints",
        )
    total = sum(math.prod(tensor.shape) * item_size(tensor.dtype) for tensor in tensors.values())
    if total > MAX_REUSE * file_size + 8 * SLACK:
        # Views that repeat values and members that unpack well are cheap to declare, thousands of times
        raise WeightsError(f"declares {total:,} bytes of tensors in {file_size:,} bytes")
