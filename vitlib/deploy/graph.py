"""The inference graph: a short list of operations with their weights in NumPy, which every engine is built from.

`describe` makes one from a model. A layer of one's own takes part by a method `to_graph(self, graph, x)`: it adds its
operations with the methods of `Graph` and returns the name of its output, as here, where `graph.layer` adds those of a
part that is known::

    class ScaledMLP(vitlib.MLP):
        def forward(self, x):
            return 0.5 * super().forward(x)

        def to_graph(self, graph, x):
            x = graph.activation(graph.layer(self.fc1, x), "gelu")
            return graph.multiply(graph.layer(self.fc2, x), graph.weight(0.5))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


@dataclass(frozen=True)
class Images:
    """The input: shape [B, C, H, W] float32 (normalised), or [B, H, W, C] uint8 (0 to 255); None is left open.

    patch: (height, width) that an open size must be a multiple of; None: any size.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    name: Value = "images"
    patch: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width)"""
        return self.shape[1:3] if self.dtype == "uint8" else self.shape[2:]

    @property
    def channels(self) -> int:
        return self.shape[3 if self.dtype == "uint8" else 1]


@dataclass(frozen=True)
class Output:
    """A value that is given to the user, with its shape; None is left open."""

    value: Value
    shape: tuple[int | None, ...]


class Graph:
    """Operations in the order in which they run. Methods add one and return the name of what it gives.

    Attributes: `images`, the input; `nodes`; `weights`, arrays by name; `outputs`, by the user's name; `rotary`, in a
    model with rotary positions the cosines and sines [1, P + N, d] for `rotate`.
    Values are tokens [B, N, D] unless a method says otherwise.
    """

    def __init__(self, images: Images) -> None:
        self.images = images
        self.nodes: list[Node] = []
        self.weights: dict[str, np.ndarray] = {}
        self.outputs: dict[str, Output] = {}
        self.describe_layer: Callable[[Any, Value], Value] | None = None
        self.rotary: tuple[Value, Value] | None = None
        self._scope = "model"
        self._taken: set[str] = {images.name}

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
        array = array.numpy() if hasattr(array, "numpy") else np.asarray(array)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"expected a weight in numbers, found {array.dtype}")
        name = self._name(name)
        self.weights[name] = np.ascontiguousarray(array, np.float32)
        return name

    def linear(self, x: Value, weight: Any, bias: Any = None, name: str = "linear") -> Value:
        """x·W + b: [..., in] -> [..., out]; weight [in, out] as in paddle.nn.Linear, bias [out] or None."""
        return self._add("linear", [x, *self._weights(weight, bias, name)], name)

    def matmul(self, a: Value, b: Value, *, transpose_b: bool = False, name: str = "matmul") -> Value:
        """a·b, or a·bᵀ, over the last two axes."""
        return self._add("matmul", [a, b], name, transpose_b=transpose_b)

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

    def heads(self, x: Value, num_heads: int, head_dim: int, name: str = "heads") -> Value:
        """[B, N, H·d] -> [B, H, N, d]"""
        return self.transpose(self.reshape(x, (0, 0, num_heads, head_dim), name), (0, 2, 1, 3), name)

    def merge_heads(self, x: Value, dim: int, name: str = "merge") -> Value:
        """[B, H, N, d] -> [B, N, H·d], dim wide."""
        return self.reshape(self.transpose(x, (0, 2, 1, 3), name), (0, 0, dim), name)

    def rotate(self, x: Value, head_dim: int, count: int | None = None, name: str = "rotate") -> Value:
        """Queries or keys [B, H, M, d], turned by `rotary`; count: how many of the first tokens x holds, None: all."""
        cos, sin = self.rotary
        if count is not None:
            cos, sin = self.slice(cos, 1, 0, count, name), self.slice(sin, 1, 0, count, name)
        turned = self.multiply(x, cos, name)
        half = head_dim // 2  # -sin of the first half is in the sines
        swapped = self.concat([self.slice(x, 3, half, None, name), self.slice(x, 3, 0, half, name)], 3, name)
        return self.add(turned, self.multiply(swapped, sin, name), name)

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
        padding: tuple[int, int] = (0, 0),
        name: str = "conv",
    ) -> Value:
        """A convolution with zeros around: [B, C, H, W] -> [B, D, H', W']; weight [D, C, rows, columns], bias [D]."""
        inputs = [x, *self._weights(weight, bias, name)]
        return self._add("conv", inputs, name, stride=tuple(stride), padding=tuple(padding))

    def normalized_images(self, mean: np.ndarray, std: np.ndarray) -> Value:
        """[B, C, H, W] float32 whatever the input is; pixels are divided by 255 and normalised, mean and std [C]."""
        if self.images.dtype != "uint8":
            return self.images.name
        with self.scope("normalize"):
            x = self.transpose(self._add("cast", [self.images.name], "cast"), (0, 3, 1, 2))
            x = self.multiply(x, self.weight((1 / (255 * std)).reshape(1, -1, 1, 1), "scale"))
            return self.add(x, self.weight((-mean / std).reshape(1, -1, 1, 1), "shift"))

    def layer(self, layer: Any, x: Value) -> Value:
        """The operations of a layer: a part of vitlib, one of paddle.nn's common ones, or one with a `to_graph`.

        Raises `DescriptionError` for any other.
        """
        if self.describe_layer is None:
            raise RuntimeError("this graph was not made by describe(), which knows the layers")
        return self.describe_layer(layer, x)

    def cut_patches(
        self,
        weight: np.ndarray,
        bias: np.ndarray | None,
        *,
        pad: tuple[int, int] = (0, 0),
        pad_values: np.ndarray | None = None,
        name: str = "patches",
    ) -> Value:
        """The images' patches, projected: [B, N, D].

        weight: a convolution's, [D, C, P, P'], whose stride is the patch; bias [D] or None.
        pad: rows and columns added at the bottom and at the right, with pad_values [C].
        """
        x = self.images.name
        dim, channels, rows, columns = weight.shape
        if self.images.dtype == "uint8":
            x = self.transpose(self._add("cast", [x], name), (0, 3, 1, 2), name)
        for axis, count in ((2, pad[0]), (3, pad[1])):
            if count:
                values = np.zeros(channels) if pad_values is None else pad_values
                fill = self.weight(values.reshape(1, channels, 1, 1), f"{name}.pad")
                x = self._add("pad", [x, fill], name, axis=axis, count=count)
        x = self.conv(x, weight, bias, stride=(rows, columns), name=name)  # [B, D, h, w]
        return self.transpose(self.reshape(x, (0, dim, -1), name), (0, 2, 1), name)

    def patch_count(self, axis: int, patch: int, name: str = "patch_count") -> Value:
        """Patches along the height (axis 0) or width (1) of the images, rounded up: [1], a whole number in float32."""
        return self._add("patch_count", [self.images.name], name, axis=axis, patch=patch)

    def arange(self, count: Value, name: str = "arange") -> Value:
        """0, 1, ... below count [1]: [count], whole numbers in float32."""
        return self._add("arange", [count], name)

    def patch_map(self, x: Value, dim: int, patch: tuple[int, int], name: str = "map") -> Value:
        """Tokens of the patches [B, N, D] -> [B, D, h, w], the images' rows and columns."""
        height, width = self.images.size
        x = self.transpose(x, (0, 2, 1), name)
        if height is not None and width is not None:
            grid = (-(-height // patch[0]), -(-width // patch[1]))
            return self.reshape(x, (0, dim, *grid), name)
        return self._add("to_grid", [x, self.images.name], name, dim=dim, patch=patch)

    def output(self, name: str, value: Value, shape: Sequence[int | None]) -> None:
        """Give a value to the user under this name. shape: None for the batch and for what the image size decides."""
        if name in self.outputs:
            raise ValueError(f"there is an output {name!r} already")
        self.outputs[name] = Output(value, tuple(shape))

    def drop_unused(self) -> None:
        """Leave out operations and weights that no output needs."""
        needed, nodes = {output.value for output in self.outputs.values()}, []
        for node in reversed(self.nodes):
            if needed & set(node.outputs):
                needed |= set(node.inputs)
                nodes.append(node)
        self.nodes = nodes[::-1]
        self.weights = {name: array for name, array in self.weights.items() if name in needed}

    def num_bytes(self) -> int:
        """Of the weights."""
        return sum(array.nbytes for array in self.weights.values())

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
