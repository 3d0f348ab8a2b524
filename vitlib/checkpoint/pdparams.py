"""Paddle's .pdparams: a pickled table of arrays.

Source: paddle.framework.io (`_build_saved_state_dict`, `_pickle_save`) and io_utils (`_unpack_saved_dict`) of Paddle
1.8 to 3.3: a state_dict is saved as {name: ndarray} with a table of Paddle's own names beside; anything else has each
tensor as the tuple (Paddle's name, ndarray), or as `eval("data", {"data": ndarray})` for tensors of static graphs.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from .errors import WeightsError, quoted
from .file_bytes import FileBytes
from .numpy_pickle import PickledArray, array_tensor
from .pickle_data import PickleReader
from .pickle_objects import PickledObject, globals_by_name
from .tensors import Contents, Tensor, checked_shape
from .torch_tensors import TORCH, tensor_of

NAME_TABLE = "StructuredToParameterName@@"
CHUNK_TABLE = "UnpackBigParamInfor@@"  # Paddle's spelling
_OPTIMISER_NAME = re.compile(
    r"_(moment\d?|beta\d_pow_acc|velocity|mean_square|mean_grad|inf_norm|fp32_master)(_max)?_\d+$"
)


def read_pdparams(file: FileBytes) -> Contents:
    """The object of a pickle written by `paddle.save`."""
    reader = PickleReader(file.view, _KNOWN)
    tree = reader.load()
    if reader.at != file.size:
        raise WeightsError(f"is damaged: {file.size - reader.at:,} bytes follow the end of its pickle")
    if type(tree) is dict:
        _refuse_optimiser(tree)
        _join_chunks(tree)
        tree.pop(NAME_TABLE, None)
    return Contents("pdparams", tree, file.size, tensor_of=_tensor_of)


def _tensor_of(value: Any) -> Tensor | None:
    if type(value) is tuple and len(value) == 2 and type(value[0]) is str:
        value = value[1]
    if isinstance(value, PickledArray):
        # Paddle writes bfloat16 as uint16 and has no tensors of unsigned 16-bit integers
        return array_tensor(value, uint16_is_bfloat16=True)
    return value if isinstance(value, Tensor) else tensor_of(value)


def _refuse_optimiser(tree: dict[Any, Any]) -> None:
    names = [key for key in tree if type(key) is str]
    states = sum(1 for name in names if len(name) < 512 and _OPTIMISER_NAME.search(name))
    if "LR_Scheduler" in tree or "master_weights" in tree or (states and 2 * states >= len(names) - 1):
        raise WeightsError(
            "is an optimiser's state (.pdopt), not a model's weights",
            way_out="Give the .pdparams file that lies beside it",
        )


def _join_chunks(tree: dict[Any, Any]) -> None:
    """Puts arrays that protocols 2 and 3 had to write in pieces back under one name."""
    table = tree.pop(CHUNK_TABLE, None)
    if table is None:
        return
    if type(table) is not dict:
        raise WeightsError(f"has a corrupt table of chunks {CHUNK_TABLE}")
    for name, entry in table.items():
        pieces = entry.get("slices") if type(entry) is dict else None
        if type(name) is not str or name in tree or type(pieces) is not list:
            raise WeightsError(f"has a corrupt table of chunks {CHUNK_TABLE}")
        parts = []
        for piece in pieces:
            # Taken out, so that no piece can be used twice
            part = _tensor_of(tree.pop(piece, None)) if type(piece) is str else None
            if part is None:
                raise WeightsError(f"misses a chunk of {quoted(name)}")
            parts.append(part)
        tree[name] = _joined(name, parts, checked_shape(entry.get("OriginShape")))


def _joined(name: str, parts: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    if len({part.dtype for part in parts}) != 1 or sum(math.prod(part.shape) for part in parts) != math.prod(shape):
        raise WeightsError(f"has chunks that do not make up {quoted(name)}")
    if parts[0].problem:
        return parts[0]
    dtype = parts[0].dtype

    def load() -> np.ndarray:
        whole = np.empty(math.prod(shape), np.float32 if dtype == "bfloat16" else dtype)
        at = 0
        for part in parts:
            count = math.prod(part.shape)
            whole[at : at + count] = part.load().reshape(-1)
            at += count
        whole.flags.writeable = False
        return whole.reshape(shape)

    return Tensor(shape, dtype, load)


def _evaluated(text: Any = None, names: Any = None, *others: Any) -> Any:
    """eval("data", {"data": array}) is that array; every other text is an object like others, and not evaluated."""
    if type(text) is str and text == "data" and type(names) is dict and len(names) == 1 and not others:
        array = names.get("data")
        if isinstance(array, PickledArray):
            return array
    return PickledObject("builtins.eval")


_KNOWN = TORCH | globals_by_name({"builtins.eval": _evaluated, "__builtin__.eval": _evaluated})
