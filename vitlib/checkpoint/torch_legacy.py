"""PyTorch's format before 1.6: four pickles, then the storages one behind the other.

Source: torch/serialization.py (`_legacy_save`, `_legacy_load`).
"""

from __future__ import annotations

from typing import Any

from .errors import WeightsError, quoted
from .find_state_dict import find_weights
from .pickle_data import PickleReader
from .tensors import Contents, Source
from .torch_tensors import CONSTRUCTORS, Storage, expect_size, storage_item_size, storage_type, tensor_of

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

_WRONG_ID = "refers to data outside of its pickle in a way that PyTorch does not"


def read_torch_legacy(source: Source, wrapper: str | None = None) -> Contents:
    """The tensors of a file that begins with PyTorch's magic number."""
    storages: dict[str, Storage] = {}
    reader = PickleReader(source.view, CONSTRUCTORS, lambda identifier: _storage(identifier, storages))
    if reader.load() != MAGIC_NUMBER or reader.load() != PROTOCOL_VERSION:
        raise WeightsError("is not of a version of PyTorch's old format that is known")
    system = reader.load()
    big_endian = type(system) is dict and system.get("little_endian") is False
    tree = reader.load()
    keys = reader.load()
    if type(keys) is not list or any(type(key) is not str for key in keys) or len(set(keys)) != len(keys):
        raise WeightsError("has a corrupt list of storages")
    for key in keys:
        if key not in storages:
            raise WeightsError(f"holds a storage {quoted(key)} that nothing refers to")
        storage = storages[key]
        count = int.from_bytes(reader.take(8), "little")
        size = count * storage_item_size(storage.dtype)
        expect_size(storage, key, source, size)
        data = reader.take(size)
        storage.big_endian = big_endian
        storage.read = lambda data=data: data
    if len(keys) != len(storages):
        raise WeightsError("misses the data of some of its storages")
    if reader.at != source.size:
        raise WeightsError(f"is damaged: {source.size - reader.at:,} bytes follow its last storage")
    wrappers, tensors, extras = find_weights(tree, lambda value: tensor_of(_resolved(value)), wrapper)
    return Contents("torch", tensors, wrapper=wrappers, extras=extras)


class StorageView(Storage):
    """A part of another storage, which PyTorch 0.x wrote for sliced storages."""

    __slots__ = ("base", "start")

    def __init__(self, base: Storage, start: int, size: int) -> None:
        super().__init__(base.dtype, size)
        self.base = base
        self.start = start


def _storage(identifier: Any, storages: dict[str, Storage]) -> Storage:
    """("storage", class, key, device, number of elements, None or (view key, offset, number of elements))"""
    if type(identifier) is not tuple or not identifier:
        raise WeightsError(_WRONG_ID)
    if identifier[0] == "module":
        raise WeightsError(
            "holds a whole pickled model, which only its own code can rebuild",
            way_out="Where you trust the file, load it with PyTorch and save only the model's state_dict",
        )
    if len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise WeightsError(_WRONG_ID)
    kind, key, count = identifier[1], identifier[2], identifier[4]
    if type(key) is not str or type(count) is not int or not 0 <= count < 2**48:
        raise WeightsError(_WRONG_ID)
    dtype = storage_type(kind)
    size = storage_item_size(dtype)
    made = storages.setdefault(key, Storage(dtype, count * size))
    if made.dtype != dtype or made.size != count * size:
        raise WeightsError(f"describes the storage {quoted(key)} in two different ways")
    view = identifier[5] if len(identifier) == 6 else None
    if view is None:
        return made
    if type(view) is not tuple or len(view) != 3 or any(type(number) is not int for number in view[1:]):
        raise WeightsError(_WRONG_ID)
    if not 0 <= view[1] <= view[1] + view[2] <= count:
        raise WeightsError(f"has a view that reaches out of the storage {quoted(key)}")
    return StorageView(made, view[1] * size, view[2] * size)


def _resolved(value: Any) -> Any:
    """`value` with its storage view bound to the bytes, which were read after the pickle."""
    storage = getattr(value, "storage", None)
    if isinstance(storage, StorageView) and storage.read is None and (read := storage.base.read) is not None:
        storage.big_endian, storage.file_size = storage.base.big_endian, storage.base.file_size
        storage.read = lambda: read()[storage.start : storage.start + storage.size]
    return value
