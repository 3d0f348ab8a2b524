"""PyTorch's zip format (torch.save since 1.6): one pickle, and one stored member for each storage.

Source: torch/serialization.py (`_save`, `_load`), caffe2/serialize/inline_container.cc.
"""

from __future__ import annotations

from typing import Any

from .errors import WeightsError, quoted
from .file_bytes import FileBytes
from .pickle_data import PickleReader
from .pickle_objects import PickledObject
from .tensors import Contents
from .torch_tensors import TORCH, Storages, tensor_of
from .zip_index import Member

MAX_RECORD = 64  # "little" or "big"
MAX_NAMES = 4 << 20  # characters of all names in a TorchScript module; a large model has some hundred thousand


def read_torch_zip(file: FileBytes, members: dict[str, Member], root: str) -> Contents:
    """The object of an archive whose pickle is the member `root`/data.pkl; of a TorchScript archive, as OpenAI's CLIP
    is, the tensors of its module by name. Its program is not read."""
    scripted = f"{root}/constants.pkl" in members or any(name.startswith(f"{root}/code/") for name in members)
    order = members.get(f"{root}/byteorder")
    word = b"little" if order is None else order.head(file, MAX_RECORD)
    if word not in (b"little", b"big"):
        raise WeightsError("has a byte order that is neither little nor big")
    storages = Storages()
    reader = PickleReader(members[f"{root}/data.pkl"].read(file), TORCH, storages.refer)
    tree = reader.load()
    if reader.at != len(reader.data):
        raise WeightsError("is damaged: something follows the end of its pickle")
    for key, storage in storages.items():
        member = members.get(f"{root}/data/{key}")
        if member is None:
            raise WeightsError(f"misses the data of the storage {quoted(key)}")
        if member.deflated:
            # Not by PyTorch. Each tensor on it would have to unpack it again
            raise WeightsError(
                "is an archive of PyTorch that another program has compressed",
                way_out="Unpack it and pack it again without compression (zip -0 -r)",
            )
        storage.bind(file, key, member.size, member.reader(file), big_endian=word == b"big")
    if scripted:
        tree = _state_of_module(tree)
    return Contents("torch", tree, file.size, tensor_of=tensor_of)


def _state_of_module(module: Any) -> dict[str, Any]:
    """The attributes of a scripted module and of the modules in it, by the names that `state_dict` gives them."""
    found: dict[str, Any] = {}
    waiting, seen, length = [("", module)], set(), 0
    while waiting:
        prefix, part = waiting.pop()
        if not isinstance(part, PickledObject) or type(part.state) is not dict:
            raise WeightsError("is a TorchScript archive without a module")
        if id(part.state) in seen:  # a module inside itself adds nothing, nor does another one with its state
            continue
        seen.add(id(part.state))
        for name, value in part.state.items():
            if type(name) is not str or type(value) in (bool, type(None)):  # such as `training`
                continue
            name = prefix + name
            length += len(name)
            if length > MAX_NAMES:
                raise WeightsError(
                    f"is a TorchScript archive whose names take more than {MAX_NAMES:,} characters",
                    way_out="Save only the model's state_dict",
                )
            if isinstance(value, PickledObject) and type(value.state) is dict:
                waiting.append((f"{name}.", value))
            else:
                found[name] = value
    return found
