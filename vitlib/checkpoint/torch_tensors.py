"""PyTorch's tensors inside pickles: storages by persistent id, and views on them.

Source: torch/_utils.py (`_rebuild_*`), torch/serialization.py (`persistent_id`), torch/storage.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import WeightsError, quoted
from .numpy_pickle import NUMPY, PickledArray, array_tensor
from .pickle_objects import TRAINING_STATE, Constructor, Inert, constructors_by_name
from .tensors import NUMPY_CODES, SLACK, Source, Tensor, checked_shape, item_size, native, unreadable

_CORRUPT = "holds a corrupt pickle: a tensor that is not described as PyTorch does it"

_STORAGES = {
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "UntypedStorage": "bytes",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
}
_OTHER_SIZES = {"bytes": 1, "complex64": 8, "complex128": 16, "qint8": 1, "quint8": 1, "qint32": 4}

_DTYPES = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 float64 half float double "
    "complex32 complex64 complex128 qint8 quint8 qint32 "
    "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2"
)
_LAYOUTS = (
    "strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc contiguous_format channels_last preserve_format"
)


class Storage(Inert):
    """The memory of one or more tensors: `read()` gives its bytes once the reader knows where they are."""

    __slots__ = ("big_endian", "dtype", "file_size", "read", "size")

    def __init__(self, dtype: str, size: int) -> None:
        super().__init__("torch storage", ())
        self.dtype = dtype
        self.size = size
        self.big_endian = False
        self.file_size = 0
        self.read: Callable[[], memoryview] | None = None

    def set_state(self, state: Any) -> None:
        raise WeightsError(_CORRUPT)


class TorchTensor(Inert):
    """A view on a storage; offset and strides count elements."""

    __slots__ = ("dtype", "offset", "problem", "shape", "storage", "strides")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, dtype: str, problem: str = "") -> None:
        super().__init__("torch.Tensor", ())
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        self.dtype, self.problem = dtype, problem


def storage_type(constructor: Any) -> str:
    """The dtype of a storage class, from a persistent id."""
    name = constructor.name.rpartition(".")[2] if isinstance(constructor, Constructor) else ""
    if name not in _STORAGES:
        raise WeightsError("holds a corrupt pickle: a storage of no known type")
    return _STORAGES[name]


def storage_item_size(dtype: str) -> int:
    """Bytes per element of any storage."""
    if dtype in NUMPY_CODES:
        return item_size(dtype)
    if dtype not in _OTHER_SIZES:
        raise WeightsError(
            "holds a quantised PyTorch model, whose packed integers are not weights of a Vision Transformer",
            way_out="Save the state_dict of the model before quantisation",
        )
    return _OTHER_SIZES[dtype]


def tensor_of(value: Any) -> Tensor | None:
    """The tensor that an object of the pickle is, or None. Raises `WeightsError` when it reaches out of its storage."""
    if isinstance(value, PickledArray):
        return array_tensor(value, uint16_is_bfloat16=False)
    if not isinstance(value, TorchTensor):
        return None
    shape, dtype = checked_shape(value.shape), value.dtype
    if value.problem:
        return unreadable(shape, dtype, value.problem)
    if dtype not in NUMPY_CODES:
        return unreadable(shape, dtype, f"has the PyTorch type {dtype}; weights are real numbers")
    storage, offset, strides = value.storage, value.offset, value.strides
    if type(strides) is not tuple or len(strides) != len(shape) or type(offset) is not int or offset < 0:
        raise WeightsError(_CORRUPT)
    if any(type(stride) is not int or not 0 <= stride < 2**48 for stride in strides):
        raise WeightsError("declares a tensor whose strides are negative or no numbers")
    if not isinstance(storage, Storage) or storage.read is None:
        raise WeightsError("holds a tensor whose data are not in the file")
    size = item_size(dtype)
    if 0 in shape:
        return Tensor(shape, dtype, lambda: native(np.empty(shape, "<" + NUMPY_CODES[dtype]), dtype))
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if (last + 1) * size > storage.size:
        raise WeightsError(
            f"declares a tensor of shape {shape} that ends at byte {(last + 1) * size:,} "
            f"of a storage of {storage.size:,}"
        )
    if math.prod(shape) * size > storage.file_size + SLACK:
        raise WeightsError(f"declares a tensor of shape {shape}, much larger than the file, by repeating a few values")
    byte_strides = tuple(stride * size for stride in strides)

    def load() -> np.ndarray:
        code = (">" if storage.big_endian else "<") + NUMPY_CODES[dtype]
        return native(np.ndarray(shape, code, storage.read(), offset * size, byte_strides), dtype)

    return Tensor(shape, dtype, load)


def expect_size(storage: Storage, key: object, source: Source, available: int) -> None:
    """Raises `WeightsError` unless the file has exactly the bytes that `storage` declares."""
    if available != storage.size:
        raise WeightsError(
            f"has {available:,} bytes for the storage {quoted(key)} that is declared with {storage.size:,}; "
            "it is damaged or was cut off"
        )
    storage.file_size = source.size


def _make_tensor(arguments: tuple[Any, ...], spend: Callable[[int], None]) -> TorchTensor:
    """_rebuild_tensor(storage, offset, size, stride), _rebuild_tensor_v2(..., requires_grad, hooks, metadata)"""
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        raise WeightsError(_CORRUPT)
    return TorchTensor(*arguments[:4], arguments[0].dtype)


def _make_tensor_v3(arguments: tuple[Any, ...], spend: Callable[[int], None]) -> TorchTensor:
    """_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)"""
    if len(arguments) < 7 or not isinstance(arguments[0], Storage) or not isinstance(arguments[6], Constructor):
        raise WeightsError(_CORRUPT)
    return TorchTensor(*arguments[:4], arguments[6].name.rpartition(".")[2])


def _make_parameter(arguments: tuple[Any, ...], spend: Callable[[int], None]) -> Any:
    """_rebuild_parameter(data, requires_grad, hooks), and the like: the data are the tensor."""
    if not arguments or not isinstance(arguments[0], (TorchTensor, PickledArray)):
        raise WeightsError(_CORRUPT)
    return arguments[0]


def _make_subclass(arguments: tuple[Any, ...], spend: Callable[[int], None]) -> Any:
    """_rebuild_from_type_v2(function, type, arguments, state): a tensor that carries attributes."""
    if len(arguments) != 4 or not isinstance(arguments[0], Constructor) or type(arguments[2]) is not tuple:
        raise WeightsError(_CORRUPT)
    if arguments[0].name not in _REBUILD:
        raise WeightsError(_CORRUPT)
    return _REBUILD[arguments[0].name](arguments[2], spend)


def _make_unreadable(problem: str) -> Callable[[tuple[Any, ...], Callable[[int], None]], TorchTensor]:
    return lambda arguments, spend: TorchTensor(None, 0, (), (), "unknown", problem)


_QUANTISED = "is quantised; weights are real numbers"
_SPARSE = "is sparse; weights are dense"
_REBUILD = {
    "_rebuild_tensor": _make_tensor,
    "_rebuild_tensor_v2": _make_tensor,
    "_rebuild_tensor_v3": _make_tensor_v3,
    "_rebuild_parameter": _make_parameter,
    "_rebuild_parameter_with_state": _make_parameter,
    "_rebuild_device_tensor_from_numpy": _make_parameter,
    "_rebuild_device_tensor_from_cpu_tensor": _make_parameter,
    "_rebuild_xla_tensor": _make_parameter,
    "_rebuild_qtensor": _make_unreadable(_QUANTISED),
    "_rebuild_sparse_tensor": _make_unreadable(_SPARSE),
    "_rebuild_sparse_csr_tensor": _make_unreadable(_SPARSE),
    "_rebuild_nested_tensor": _make_unreadable("is a nested tensor; weights are dense"),
    "_rebuild_meta_tensor_no_storage": _make_unreadable("has no data: its model was on the meta device when saved"),
}

CONSTRUCTORS: dict[tuple[str, str], Constructor] = (
    TRAINING_STATE
    | NUMPY
    | constructors_by_name(f"torch: Size device {_DTYPES} {_LAYOUTS} per_tensor_affine per_channel_affine Tensor")
    | constructors_by_name(
        "torch.nn.parameter: Parameter Buffer\ntorch._tensor: Tensor\ntorch.serialization: _get_layout"
    )
    | {("torch._utils", name): Constructor(name, make) for name, make in _REBUILD.items()}
    | {("torch._tensor", "_rebuild_from_type_v2"): Constructor("_rebuild_from_type_v2", _make_subclass)}
    | {(module, name): Constructor(name) for module in ("torch", "torch.cuda", "torch.storage") for name in _STORAGES}
)
