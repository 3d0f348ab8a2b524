"""PyTorch's format before 1.6: four pickles, then the storages one behind the other.

Source: torch/serialization.py (`_legacy_save`, `_legacy_load`), torch/csrc/serialization.cpp (`writeFileRaw`).
"""

from __future__ import annotations

from .errors import WeightsError, quoted
from .file_bytes import FileBytes
from .pickle_data import PickleReader
from .tensors import Contents
from .torch_tensors import TORCH, Storages, tensor_of

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


def read_torch_legacy(file: FileBytes) -> Contents:
    """The object of a file that begins with PyTorch's magic number."""
    storages = Storages()
    reader = PickleReader(file.view, TORCH, storages.refer)
    if reader.load() != MAGIC_NUMBER or reader.load() != PROTOCOL_VERSION:
        raise WeightsError("is not of a version of PyTorch's old format that is known")
    reader.load()  # the byte order of the machine; PyTorch writes storages as little-endian on every one
    tree = reader.load()
    keys = reader.load()
    if type(keys) is not list or any(type(key) is not str for key in keys) or len(set(keys)) != len(keys):
        raise WeightsError("has a corrupt list of storages")
    for key in keys:
        if key not in storages:
            raise WeightsError(f"holds a storage {quoted(key)} that nothing refers to")
        storage = storages[key]
        size = int.from_bytes(reader.take(8), "little") * storage.item_size
        data = reader.take(size)
        storage.bind(file, key, size, lambda data=data: data, big_endian=False)
    if len(keys) != len(storages):
        raise WeightsError("misses the data of some of its storages")
    if reader.at != file.size:
        raise WeightsError(f"is damaged: {file.size - reader.at:,} bytes follow its last storage")
    return Contents("torch", tree, file.size, tensor_of=tensor_of)
