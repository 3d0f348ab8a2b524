"""A dict of arrays or tensors in memory, read as a weight file is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..checkpoint.errors import WeightsError, quoted
from ..checkpoint.find_state_dict import find_weights


class Arrays:
    """Named arrays, or tensors of Paddle or PyTorch, with the interface of `checkpoint.WeightsFile`.

    Tables and prefixes around the weights are taken off as they are in files. format: "paddle tensors" where all values
    are Paddle's, whose linear weights are [in, out], else "dict", with linear weights [out, in] as in PyTorch.

    Raises WeightsError for what holds no named real numbers, and when nothing is under `part`.
    """

    path = "the given dict"

    def __init__(self, tree: Mapping[Any, Any], part: str | None = None) -> None:
        try:
            found = find_weights(tree, _tensor, part)
            for name in tree:
                if not isinstance(name, str):
                    raise WeightsError(f"has the key {quoted(name)}, expected names of parameters")
                if isinstance(value := tree[name], np.ndarray) and value.dtype.kind not in "fiub":
                    raise WeightsError(f"has {quoted(name)} of type {value.dtype}, expected real numbers")
            for name, value in found.tensors.items():
                if "complex" in str(value.dtype):
                    raise WeightsError(f"has {quoted(name)} of type {value.dtype}, expected real numbers")
        except WeightsError as error:
            raise error.at(self.path) from None
        ours = [type(value).__module__.startswith("paddle") for value in found.tensors.values()]
        self.format = "paddle tensors" if ours and all(ours) else "dict"
        self.metadata: Mapping[str, str] = {}
        self.wrapper = " > ".join(found.wrapper)
        self.others = tuple(found.others)
        self._arrays = {name: _to_array(value) for name, value in found.tensors.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def spec(self, name: str) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) of an array."""
        return self._arrays[name].shape, str(self._arrays[name].dtype)

    def read(self, name: str) -> np.ndarray:
        """An array of the dict."""
        return self._arrays[name]


def _tensor(value: Any) -> Any:
    """An array or tensor of numbers, or None for anything else."""
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "fiubc" else None
    return value if hasattr(value, "detach") and hasattr(value, "shape") else None


def _to_array(value: Any) -> np.ndarray:
    """A NumPy array of what an array or a tensor of Paddle or PyTorch holds; bfloat16, which NumPy lacks, widened."""
    if hasattr(value, "detach"):
        value = value.detach()
        if "bfloat16" in str(value.dtype):
            value = value.astype("float32") if hasattr(value, "astype") else value.float()
        value = value.cpu().numpy()
    return np.asarray(value)
