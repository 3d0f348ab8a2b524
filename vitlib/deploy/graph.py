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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .operations import Operations, Value


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


class Graph(Operations):
    """What a model computes from its images, by the methods of `Operations` and those that a Vision Transformer needs.

    Attributes, too: `images`, the input; `outputs`, by the user's name; `rotary`, in a model with rotary positions the
    cosines and sines [1, P + N, d] for `rotate`.
    """

    def __init__(self, images: Images) -> None:
        super().__init__()
        self.images = images
        self.outputs: dict[str, Output] = {}
        self.describe_layer: Callable[[Any, Value], Value] | None = None
        self.rotary: tuple[Value, Value] | None = None
        self._taken.add(images.name)

    def layer(self, layer: Any, x: Value) -> Value:
        """The operations of a layer: a part of vitlib, one of paddle.nn's common ones, or one with a `to_graph`.

        Raises `DescriptionError` for any other.
        """
        if self.describe_layer is None:
            raise RuntimeError("this graph was not made by describe(), which knows the layers")
        return self.describe_layer(layer, x)

    def normalized_images(self, mean: np.ndarray, std: np.ndarray) -> Value:
        """[B, C, H, W] float32 whatever the input is; pixels are divided by 255 and normalised, mean and std [C]."""
        if self.images.dtype != "uint8":
            return self.images.name
        with self.scope("normalize"):
            x = self.transpose(self._add("cast", [self.images.name], "cast"), (0, 3, 1, 2))
            x = self.multiply(x, self.weight((1 / (255 * std)).reshape(1, -1, 1, 1), "scale"))
            return self.add(x, self.weight((-mean / std).reshape(1, -1, 1, 1), "shift"))

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

    def patch_count(self, axis: int, patch: int, name: str = "patch_count") -> Value:
        """Patches along the height (axis 0) or width (1) of the images, rounded up: [1], a whole number in float32."""
        return self._add("patch_count", [self.images.name], name, axis=axis, patch=patch)

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
