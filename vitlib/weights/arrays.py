"""A dict of arrays or tensors in memory, read as a weight file is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..checkpoint.errors import WeightsError, quoted


class Arrays:
    """Named arrays, or tensors of Paddle or PyTorch, with the interface of `checkpoint.WeightsFile`.

    format: "paddle tensors" where the values are Paddle's, whose linear weights are [in, out], else "dict" with linear
        weights [out, in] as in PyTorch.

    Raises WeightsError for what are no named real numbers.
    """

    path = "the given dict"
    metadata: Mapping[str, str] = {}
    others: tuple[str, ...] = ()

    def __init__(self, values: Mapping[str, Any], wrapper: str = "") -> None:
        self.wrapper = wrapper
        self._arrays: dict[str, np.ndarray] = {}
        paddles = 0
        for name, value in values.items():
            if not isinstance(name, str):
                raise WeightsError(f"has the key {quoted(name)}, expected names of parameters")
            paddles += type(value).__module__.startswith("paddle")
            self._arrays[name] = array = _to_array(value)
            if array.dtype.kind not in "fiub":
                raise WeightsError(f"has {quoted(name)} of type {array.dtype}, expected real numbers")
        self.format = "paddle tensors" if paddles and paddles == len(self._arrays) else "dict"

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


def _to_array(value: Any) -> np.ndarray:
    """A NumPy array of what an array or a tensor of Paddle or PyTorch holds; bfloat16, which NumPy lacks, widened."""
    if hasattr(value, "detach"):
        value = value.detach()
        if "bfloat16" in str(value.dtype):
            value = value.astype("float32") if hasattr(value, "astype") else value.float()
        value = value.cpu().numpy()
    return np.asarray(value)
