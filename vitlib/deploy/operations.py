"""The operations that an inference graph is made of: every engine has each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Value: TypeAlias = str  # the name of an array that an operation gives, or of a weight

ACTIVATION_KINDS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu", "tanh", "sigmoid")


@dataclass(frozen=True)
class Node:
    """One operation: names of its inputs and outputs, and its constants."""

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: dict[str, Any] = field(default_factory=dict)


class Operations:
    """Operations in the order in which they run. Methods add one and return the name of what it gives.

    Attributes: `nodes`; `weights`, arrays by name. Values are tokens [B, N, D] unless a method says otherwise.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.weights: dict[str, np.ndarray] = {}
        self._scope = "model"
        self._taken: set[str] = set()

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names made in this block begin with `name.`, that of a layer."""
        outer, self._scope = self._scope, name
        try:
            yield
        finally:
            self._scope = outer

    def weight(self, array: Any, name: str = "weight") -> Value:
        """A constant: an array, a paddle.Tensor or a number, as float32."""
        array = array.astype("float32").numpy() if hasattr(array, "numpy") else np.asarray(array)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"expected a weight in numbers, found {array.dtype}")
        name = self._name(name)
        self.weights[name] = np.ascontiguousarray(array, np.float32)
        return name

    def linear(self, x: Value, weight: Any, bias: Any = None, name: str = "linear") -> Value:
        """x·W + b: [..., in] -> [..., out]; weight [in, out] as in paddle.nn.Linear, bias [out] or None."""
        return self._add("linear", [x, *self._weights(weight, bias, name)], name)

    def matmul(self, a: Value, b: Value, name: str = "matmul") -> Value:
        """a·b over the last two axes, the others broadcast as NumPy does."""
        return self._add("matmul", [a, b], name)

    def add(self, a: Value, b: Value, name: str = "add") -> Value:
        """a + b, broadcast as NumPy does."""
        return self._add("add", [a, b], name)

    def multiply(self, a: Value, b: Value, name: str = "multiply") -> Value:
        """a · b elementwise, broadcast as NumPy does."""
        return self._add("multiply", [a, b], name)

    def divide(self, a: Value, b: Value, name: str = "divide") -> Value:
        """a / b elementwise, broadcast as NumPy does."""
        return self._add("divide", [a, b], name)

    def layer_norm(self, x: Value, weight: Any, bias: Any, epsilon: float, name: str = "norm") -> Value:
        """LayerNorm over the last axis; weight [D], bias [D] or None."""
        return self._add("layer_norm", [x, *self._weights(weight, bias, name)], name, epsilon=float(epsilon))

    def cos(self, x: Value, name: str = "cos") -> Value:
        """The cosine of an angle, elementwise."""
        return self._add("cos", [x], name)

    def softmax(self, x: Value, name: str = "softmax") -> Value:
        """Softmax over the last axis."""
        return self._add("softmax", [x], name)

    def activation(self, x: Value, kind: str, name: str | None = None) -> Value:
        """One of `ACTIVATION_KINDS`, elementwise. Raises ValueError for another."""
        if kind not in ACTIVATION_KINDS:
            raise ValueError(f"unknown activation {kind!r}; there are {', '.join(map(repr, ACTIVATION_KINDS))}")
        return self._add("activation", [x], name or kind, kind=kind)

    def reshape(self, x: Value, shape: Sequence[int], name: str = "reshape") -> Value:
        """As paddle.reshape: 0 keeps the length at its place, one -1 takes what remains."""
        return self._add("reshape", [x], name, shape=tuple(shape))

    def transpose(self, x: Value, order: Sequence[int], name: str = "transpose") -> Value:
        return self._add("transpose", [x], name, order=tuple(order))

    def slice(self, x: Value, axis: int, start: int, stop: int | None = None, name: str = "slice") -> Value:
        """x[start:stop] along an axis; stop None is the end. Both count from the start."""
        return self._add("slice", [x], name, axis=axis, start=start, stop=stop)

    def split(self, x: Value, axis: int, parts: int, name: str = "split") -> tuple[Value, ...]:
        """Equal parts along an axis."""
        outputs = tuple(self._name(f"{name}.{index}") for index in range(parts))
        self.nodes.append(Node("split", (x,), outputs, {"axis": axis, "parts": parts}))
        return outputs

    def concat(self, values: Sequence[Value], axis: int, name: str = "concat") -> Value:
        return self._add("concat", list(values), name, axis=axis)

    def mean(self, x: Value, axis: int, *, keepdim: bool = False, name: str = "mean") -> Value:
        return self._add("mean", [x], name, axis=axis, keepdim=keepdim)

    def attention(self, q: Value, k: Value, v: Value, name: str = "attention") -> Value:
        """softmax(q·kᵀ)·v: q [B, H, M, d], k and v [B, H, N, d] -> [B, H, M, d]. The scale 1/√d is q's already."""
        return self._add("attention", [q, k, v], name)

    def prepend(self, rows: Any, x: Value, name: str = "prefix") -> Value:
        """Constant tokens [1, P, D] before those of every image: [B, N, D] -> [B, P + N, D]."""
        return self._add("prepend", [self.weight(rows, f"{name}.tokens"), x], name)

    def conv(
        self,
        x: Value,
        weight: Any,
        bias: Any = None,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] | tuple[int, int, int, int] = (0, 0),
        name: str = "conv",
    ) -> Value:
        """A convolution: [B, C, H, W] -> [B, D, H', W']; weight [D, C, rows, columns], bias [D].

        padding: zeros on either side of the rows and of the columns, or at the top, left, bottom and right.
        """
        inputs = [x, *self._weights(weight, bias, name)]
        return self._add("conv", inputs, name, stride=tuple(stride), padding=_four(padding))

    def max_pool(
        self,
        x: Value,
        kernel: tuple[int, int],
        *,
        stride: tuple[int, int],
        padding: tuple[int, int] | tuple[int, int, int, int] = (0, 0),
        name: str = "pool",
    ) -> Value:
        """The largest value in each window: [B, C, H, W] -> [B, C, H', W']; padding as of `conv`, without a value."""
        return self._add("max_pool", [x], name, kernel=tuple(kernel), stride=tuple(stride), padding=_four(padding))

    def group_norm(
        self, x: Value, num_groups: int, weight: Any, bias: Any, epsilon: float, name: str = "norm"
    ) -> Value:
        """GroupNorm over the channels of [B, C, H, W], in groups; weight and bias [C]."""
        inputs = [x, *self._weights(weight, bias, name)]
        return self._add("group_norm", inputs, name, num_groups=num_groups, epsilon=float(epsilon))

    def arange(self, count: Value, name: str = "arange") -> Value:
        """0, 1, ... below count [1]: [count], whole numbers in float32."""
        return self._add("arange", [count], name)

    def _weights(self, weight: Any, bias: Any, name: str) -> list[Value]:
        names = [self.weight(weight, f"{name}.weight")]
        return names if bias is None else [*names, self.weight(bias, f"{name}.bias")]

    def _add(self, op: str, inputs: Sequence[Value], name: str, **attrs: Any) -> Value:
        output = self._name(name)
        self.nodes.append(Node(op, tuple(inputs), (output,), attrs))
        return output

    def _name(self, name: str) -> Value:
        full = stem = f"{self._scope}.{name}"
        count = 1
        while full in self._taken:
            count += 1
            full = f"{stem}_{count}"
        self._taken.add(full)
        return full


def _four(padding: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Top, left, bottom and right."""
    return tuple(padding) * (4 // len(padding))
