"""PyTorch's zip format (torch.save since 1.6): one pickle, and one stored member for each storage.

Source: torch/serialization.py (`_save`, `_load`), caffe2/serialize/inline_container.cc.
"""

from __future__ import annotations

from typing import Any

from .errors import WeightsError, quoted
from .find_state_dict import find_weights
from .pickle_data import PickleReader
from .tensors import Contents, Source
from .torch_tensors import CONSTRUCTORS, Storage, expect_size, storage_item_size, storage_type, tensor_of
from .zip_index import Member

MAX_RECORD = 64  # "little" or "big"


def read_torch_zip(source: Source, members: dict[str, Member], root: str, wrapper: str | None = None) -> Contents:
    """The tensors of an archive whose pickle is the member `root`/data.pkl."""
    if f"{root}/constants.pkl" in members or any(name.startswith(f"{root}/code/") for name in members):
        raise WeightsError(
            "is a TorchScript archive, a program with its weights inside",
            way_out=f"In PyTorch: torch.save(torch.jit.load({quoted(source.name)}).state_dict(), 'weights.pth')",
        )
    big_endian = False
    if (order := members.get(f"{root}/byteorder")) is not None:
        word = order.head(source, MAX_RECORD)
        if word not in (b"little", b"big"):
            raise WeightsError("has a byte order that is neither little nor big")
        big_endian = word == b"big"
    storages: dict[str, Storage] = {}

    def storage(identifier: Any) -> Storage:
        """("storage", class, key, device, number of elements)"""
        if type(identifier) is not tuple or len(identifier) != 5 or identifier[0] != "storage":
            raise WeightsError("refers to data outside of its pickle in a way that PyTorch does not")
        _, kind, key, _, count = identifier
        if type(key) is not str or type(count) is not int or not 0 <= count < 2**48:
            raise WeightsError("refers to data outside of its pickle in a way that PyTorch does not")
        dtype = storage_type(kind)
        size = count * storage_item_size(dtype)
        if key not in storages:
            member = members.get(f"{root}/data/{key}")
            if member is None:
                raise WeightsError(f"misses the data of the storage {quoted(key)}")
            if member.deflated:
                # Not by PyTorch. Each tensor on it would have to unpack it again
                raise WeightsError(
                    "is an archive of PyTorch that another program has compressed",
                    way_out="Unpack it and pack it again without compression (zip -0 -r)",
                )
            storages[key] = made = Storage(dtype, size)
            expect_size(made, key, source, member.size)
            made.big_endian = big_endian
            made.read = _reader(source, member)
        if storages[key].dtype != dtype or storages[key].size != size:
            raise WeightsError(f"describes the storage {quoted(key)} in two different ways")
        return storages[key]

    reader = PickleReader(members[f"{root}/data.pkl"].read(source), CONSTRUCTORS, storage)
    tree = reader.load()
    if reader.at != len(reader.data):
        raise WeightsError("is damaged: something follows the end of its pickle")
    wrappers, tensors, extras = find_weights(tree, tensor_of, wrapper)
    return Contents("torch", tensors, wrapper=wrappers, extras=extras)


def _reader(source: Source, member: Member) -> Any:
    checked: list[memoryview] = []

    def read() -> memoryview:
        if not checked:  # the checksum, once for all tensors that share the storage
            checked.append(member.read(source))
        return checked[0]

    return read
