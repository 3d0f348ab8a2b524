"""An inference graph as a Paddle program: `paddle.jit.save`d, for Paddle Inference."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from .graph import Graph
from .operations import Node, Value


def save_paddle_program(graph: Graph, prefix: str | os.PathLike[str]) -> None:
    """Write `prefix`.json and `prefix`.pdiparams, with an open batch and the outputs of `distinct_outputs`."""
    images = graph.images
    spec = paddle.static.InputSpec([-1 if side is None else side for side in images.shape], images.dtype, images.name)
    layer = _GraphLayer(graph)
    layer.eval()
    paddle.jit.save(layer, os.fspath(prefix), input_spec=[spec])


class _GraphLayer(nn.Layer):
    """Runs a graph by Paddle's functions."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.names = list(graph.weights)
        for index, array in enumerate(graph.weights.values()):
            # LazyGuard: no time for an initialisation that is overwritten
            with paddle.LazyGuard():
                parameter = self.create_parameter(list(array.shape), dtype="float32")
            parameter.set_value(array)
            self.add_parameter(f"weight_{index}", parameter)

    def forward(self, images: paddle.Tensor) -> list[paddle.Tensor]:
        # Read here and not before: while a forward is traced, Paddle keeps the program's values in this place
        weights = {name: getattr(self, f"weight_{index}") for index, name in enumerate(self.names)}
        return run_graph(self.graph, weights, images)


@paddle.jit.not_to_static
def run_graph(graph: Graph, weights: dict[str, paddle.Tensor], images: paddle.Tensor) -> list[paddle.Tensor]:
    """The outputs of a graph, in their order."""
    values = {**weights, graph.images.name: images}
    for node in graph.nodes:
        outputs = _OPERATIONS[node.op](node, *(values[name] for name in node.inputs))
        if len(node.outputs) == 1:
            outputs = (outputs,)
        values.update(zip(node.outputs, outputs, strict=True))
    return [values[name] for name in distinct_outputs(graph)]


def distinct_outputs(graph: Graph) -> list[Value]:
    """The values that a program gives: Paddle leaves out the second of two equal ones."""
    return list(dict.fromkeys(output.value for output in graph.outputs.values()))


def _linear(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    return F.linear(x, weight, bias)


def _layer_norm(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    return F.layer_norm(x, weight.shape, weight, bias, node.attrs["epsilon"])


def _activation(node: Node, x: Any) -> Any:
    kind = node.attrs["kind"]
    if kind in ("gelu", "gelu_tanh"):
        return F.gelu(x, approximate=kind == "gelu_tanh")
    if kind == "quick_gelu":
        return x * F.sigmoid(1.702 * x)
    return {"relu": F.relu, "silu": F.silu, "tanh": paddle.tanh, "sigmoid": F.sigmoid}[kind](x)


def _slice(node: Node, x: Any) -> Any:
    stop = 2**31 - 1 if node.attrs["stop"] is None else node.attrs["stop"]
    return paddle.slice(x, [node.attrs["axis"]], [node.attrs["start"]], [stop])


def _mean(node: Node, x: Any) -> Any:
    # not paddle.mean, for which Paddle Inference prints a line on standard output
    axis = node.attrs["axis"]
    count = x.shape[axis] if x.shape[axis] > 0 else paddle.shape(x)[axis].astype("float32")
    return paddle.sum(x, axis=axis, keepdim=node.attrs["keepdim"]) / count


def _attention(node: Node, q: Any, k: Any, v: Any) -> Any:
    return paddle.matmul(F.softmax(paddle.matmul(q, k, transpose_y=True), axis=-1), v)


def _prepend(node: Node, rows: Any, x: Any) -> Any:
    return paddle.concat([paddle.expand(rows, [paddle.shape(x)[0], -1, -1]), x], axis=1)


def _pad(node: Node, x: Any, values: Any) -> Any:
    shape = [paddle.shape(x)[axis] for axis in range(4)]
    shape[node.attrs["axis"]] = node.attrs["count"]
    return paddle.concat([x, paddle.expand(values, shape)], axis=node.attrs["axis"])


def _conv(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    return F.conv2d(x, weight, bias, stride=node.attrs["stride"], padding=_padding(node))


def _max_pool(node: Node, x: Any) -> Any:
    return F.max_pool2d(x, node.attrs["kernel"], node.attrs["stride"], _padding(node))


def _padding(node: Node) -> list[int]:
    """In the order of Paddle."""
    top, left, bottom, right = node.attrs["padding"]
    return [top, bottom, left, right]


def _group_norm(node: Node, x: Any, weight: Any, bias: Any) -> Any:
    return F.group_norm(x, node.attrs["num_groups"], node.attrs["epsilon"], weight, bias)


def _to_grid(node: Node, x: Any, images: Any) -> Any:
    return paddle.reshape(x, [0, node.attrs["dim"], *_grid(node, images)])


def _patch_count(node: Node, images: Any) -> Any:
    side = paddle.shape(images)[_sides(images)[node.attrs["axis"]]]
    patch = node.attrs["patch"]
    return ((side + (patch - 1)) // patch).astype("float32").reshape([1])


def _arange(node: Node, count: Any) -> Any:
    return paddle.arange(count.astype("int64")).astype("float32")


def _grid(node: Node, images: Any) -> list[Any]:
    shape = paddle.shape(images)
    return [
        (shape[axis] + (patch - 1)) // patch for axis, patch in zip(_sides(images), node.attrs["patch"], strict=True)
    ]


def _sides(images: Any) -> tuple[int, int]:
    """The axes of height and width."""
    return (1, 2) if "uint8" in str(images.dtype).lower() else (2, 3)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    "matmul": lambda node, a, b: paddle.matmul(a, b),
    "add": lambda node, a, b: a + b,
    "multiply": lambda node, a, b: a * b,
    "divide": lambda node, a, b: a / b,
    "layer_norm": _layer_norm,
    "cos": lambda node, x: paddle.cos(x),
    "softmax": lambda node, x: F.softmax(x, axis=-1),
    "activation": _activation,
    "reshape": lambda node, x: paddle.reshape(x, node.attrs["shape"]),
    "transpose": lambda node, x: paddle.transpose(x, node.attrs["order"]),
    "slice": _slice,
    "split": lambda node, x: paddle.split(x, node.attrs["parts"], axis=node.attrs["axis"]),
    "concat": lambda node, *values: paddle.concat(values, axis=node.attrs["axis"]),
    "mean": _mean,
    "attention": _attention,
    "prepend": _prepend,
    "cast": lambda node, x: x.astype("float32"),
    "pad": _pad,
    "conv": _conv,
    "max_pool": _max_pool,
    "group_norm": _group_norm,
    "to_grid": _to_grid,
    "patch_count": _patch_count,
    "arange": _arange,
}
