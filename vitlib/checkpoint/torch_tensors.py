"""PyTorch's tensors inside pickles: storages by persistent id, and views on them.

Source: torch/_utils.py (`_rebuild_*`), torch/serialization.py (`persistent_id`), torch/storage.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import WeightsError, quoted
from .file_bytes import FileBytes
from .numpy_pickle import NUMPY, PickledArray, array_tensor
from .pickle_objects import PYTHON, SAVE_PLAIN, Global, PickledObject, globals_by_name, quantised
from .tensors import NUMPY_CODES, SLACK, Tensor, checked_shape, item_size, native, of_foreign_type, unreadable

_CORRUPT = "holds a corrupt pickle: a tensor that is not described as PyTorch does it"
_RESOLVE = "Call resolve_neg() on such tensors in PyTorch, and save the file again"
_WRONG_ID = "refers to data outside of its pickle in a way that PyTorch does not"

_STORAGES = {
    "BoolStorage": "bool", "ByteStorage": "uint8", "CharStorage": "int8", "ShortStorage": "int16",
    "IntStorage": "int32", "LongStorage": "int64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32", "DoubleStorage": "float64", "UntypedStorage": "bytes",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
}  # fmt: skip
_OTHER_SIZES = {"bytes": 1, "complex64": 8, "complex128": 16, "qint8": 1, "quint8": 1, "qint32": 4}


class Storage(PickledObject):
    """The memory of one or more tensors, or a part of another storage, which PyTorch 0.x wrote for sliced ones.

    count, first: in elements; size, start: in bytes. `read` gives the bytes of a whole storage once it is bound to its
    place in the file.
    """

    __slots__ = ("base", "big_endian", "dtype", "file_size", "item_size", "read", "size", "start")

    def __init__(self, dtype: str, count: int, base: Storage | None = None, first: int = 0) -> None:
        super().__init__("torch storage")
        self.dtype = dtype
        self.item_size = item_size(dtype) if dtype in NUMPY_CODES else _OTHER_SIZES[dtype]
        self.size, self.start = count * self.item_size, first * self.item_size
        self.base = base or self
        self.read: Callable[[], memoryview] | None = None

    def bind(self, file: FileBytes, key: str, size: int, read: Callable[[], memoryview], *, big_endian: bool) -> None:
        """Raises `WeightsError` unless the `size` bytes of the file are exactly those that were declared."""
        if size != self.size:
            raise WeightsError(
                f"has {size:,} bytes for the storage {quoted(key)} that is declared with {self.size:,}; "
                "it is damaged or was cut off"
            )
        self.file_size, self.read, self.big_endian = file.size, read, big_endian

    def set_state(self, state: Any) -> None:
        raise WeightsError(_CORRUPT)


class Storages(dict[str, Storage]):
    """The storages of a pickle by key, made as it refers to them."""

    def refer(self, identifier: Any) -> Storage | Global:
        """("storage", class, key, device, number of elements, None or (view key, offset, number of elements)), or
        ("module", class, file, source code) by old versions, which is the class."""
        if type(identifier) is not tuple or len(identifier) < 4:
            raise WeightsError(_WRONG_ID)
        if identifier[0] == "module" and isinstance(identifier[1], Global):
            return identifier[1]
        if identifier[0] != "storage" or len(identifier) not in (5, 6) or not isinstance(identifier[1], Global):
            raise WeightsError(_WRONG_ID)
        key, count = identifier[2], identifier[4]
        if type(key) is not str or type(count) is not int or not 0 <= count < 2**48:
            raise WeightsError(_WRONG_ID)
        dtype = _STORAGES.get(identifier[1].name.rpartition(".")[2])
        if dtype is None:
            raise quantised("holds tensors that are packed in a way of their own")
        made = self.setdefault(key, Storage(dtype, count))
        if made.dtype != dtype or made.size != count * made.item_size:
            raise WeightsError(f"describes the storage {quoted(key)} in two different ways")
        view = identifier[5] if len(identifier) == 6 else None
        if view is None:
            return made
        if type(view) is not tuple or len(view) != 3 or any(type(number) is not int for number in view[1:]):
            raise WeightsError(_WRONG_ID)
        if not 0 <= view[1] <= view[1] + view[2] <= count:
            raise WeightsError(f"has a view that reaches out of the storage {quoted(key)}")
        return Storage(dtype, view[2], made, view[1])


class TorchTensor(PickledObject):
    """A view on a storage; offset and strides count elements."""

    __slots__ = ("dtype", "offset", "problem", "shape", "storage", "strides")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, dtype: str, *problem: str) -> None:
        super().__init__("torch.Tensor")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        self.dtype, self.problem = dtype, problem


def tensor_of(value: Any) -> Tensor | None:
    """The tensor that an object of the pickle is, or None. Raises `WeightsError` when it reaches out of its storage."""
    if isinstance(value, PickledArray):
        return array_tensor(value, uint16_is_bfloat16=False)
    if not isinstance(value, TorchTensor):
        return None
    shape, dtype = checked_shape(value.shape), value.dtype
    if value.problem:
        return unreadable(shape, dtype, *value.problem)
    if dtype not in NUMPY_CODES:
        return of_foreign_type(shape, dtype, "PyTorch")
    storage, offset, strides = value.storage, value.offset, value.strides
    if type(strides) is not tuple or len(strides) != len(shape) or type(offset) is not int or offset < 0:
        raise WeightsError(_CORRUPT)
    if any(type(stride) is not int or not 0 <= stride < 2**48 for stride in strides):
        raise WeightsError("declares a tensor whose strides are negative or no numbers")
    base, size = storage.base, item_size(dtype)
    if base.read is None:
        raise WeightsError("holds a tensor whose data are not in the file")
    if 0 in shape:
        return Tensor(shape, dtype, lambda: native(np.empty(shape, "<" + NUMPY_CODES[dtype]), dtype))
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if (last + 1) * size > storage.size:
        raise WeightsError(
            f"declares a tensor of shape {shape} that ends at byte {(last + 1) * size:,} "
            f"of a storage of {storage.size:,}"
        )
    if math.prod(shape) * size > base.file_size + SLACK:
        raise WeightsError(f"declares a tensor of shape {shape}, much larger than the file, by repeating a few values")
    start, byte_strides = storage.start + offset * size, tuple(stride * size for stride in strides)

    def load() -> np.ndarray:
        code = (">" if base.big_endian else "<") + NUMPY_CODES[dtype]
        return native(np.ndarray(shape, code, base.read(), start, byte_strides), dtype)

    return Tensor(shape, dtype, load)


def _make_tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> TorchTensor:
    """_rebuild_tensor(storage, offset, size, stride), _rebuild_tensor_v2(..., requires_grad, hooks, metadata)"""
    if isinstance(storage, Storage):
        return TorchTensor(storage, offset, shape, strides, storage.dtype, *_problem_of(metadata))
    if isinstance(storage, PickledObject) and storage.class_name == "torch.storage._load_from_bytes":
        return _make_unreadable(
            "was written by pickle.dump instead of torch.save, which hides each tensor in a pickle of its own",
            SAVE_PLAIN,
        )()
    raise WeightsError(_CORRUPT)


def _make_tensor_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> TorchTensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, Global):
        raise WeightsError(_CORRUPT)
    return TorchTensor(storage, offset, shape, strides, dtype.name.rpartition(".")[2], *_problem_of(metadata))


def _problem_of(metadata: Any) -> tuple[str, ...]:
    """PyTorch negates a tensor with the negative bit when it is used, as the imaginary part of a conjugate is."""
    if type(metadata) is dict and metadata.get("neg"):
        return "has PyTorch's negative bit, so its numbers are stored with the wrong sign", _RESOLVE
    return ()


def _make_parameter(data: Any, *others: Any) -> Any:
    """_rebuild_parameter(data, requires_grad, hooks), and the like: the data are the tensor."""
    return data if isinstance(data, (TorchTensor, PickledArray)) else PickledObject("torch.nn.Parameter", (data,))


def _make_subclass(function: Any, of_class: Any, arguments: Any, state: Any) -> Any:
    """_rebuild_from_type_v2: a tensor that carries attributes, or one of a class that says how it is made."""
    known = isinstance(function, Global) and isinstance(of_class, Global) and type(arguments) is tuple
    if not known or function.make is _make_subclass:
        raise WeightsError(_CORRUPT)
    made = function.called_with(arguments)
    if isinstance(made, (TorchTensor, PickledArray)):
        return made
    shown = quoted(of_class.name)[1:-1]
    return _make_unreadable(f"is of the class `{shown}`, which only its own code can rebuild", SAVE_PLAIN)()


def _make_unreadable(*problem: str) -> Callable[..., TorchTensor]:
    return lambda *arguments: TorchTensor(None, 0, (), (), "unknown", *problem)


_QUANTISED = _make_unreadable("is quantised; weights are real numbers")
_SPARSE = _make_unreadable("is sparse; weights are dense")

TORCH = (
    PYTHON
    | NUMPY
    | globals_by_name(
        {
            "torch._tensor._rebuild_from_type_v2": _make_subclass,
            "torch._utils._rebuild_tensor": _make_tensor,
            "torch._utils._rebuild_tensor_v2": _make_tensor,
            "torch._utils._rebuild_tensor_v3": _make_tensor_v3,
            "torch._utils._rebuild_parameter": _make_parameter,
            "torch._utils._rebuild_parameter_with_state": _make_parameter,
            "torch._utils._rebuild_device_tensor_from_numpy": _make_parameter,
            "torch._utils._rebuild_device_tensor_from_cpu_tensor": _make_parameter,
            "torch._utils._rebuild_xla_tensor": _make_parameter,
            "torch._utils._rebuild_qtensor": _QUANTISED,
            "torch._utils._rebuild_sparse_tensor": _SPARSE,
            "torch._utils._rebuild_sparse_csr_tensor": _SPARSE,
            "torch._utils._rebuild_nested_tensor": _make_unreadable("is a nested tensor; weights are dense"),
            "torch._utils._rebuild_meta_tensor_no_storage": _make_unreadable(
                "has no data: its model was on the meta device when saved"
            ),
        }
    )
)
