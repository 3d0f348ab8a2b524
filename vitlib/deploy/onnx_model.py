"""An inference graph as an ONNX model, node by node (opset 20, which the engines of the last years read)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .extras import require
from .graph import Graph
from .operations import Node, Value

OPSET = 20
MAX_BYTES = 2_000_000_000  # of weights in one file: protobuf ends at 2 GiB
IR_VERSION = 9  # of the ONNX release that brought opset 20


def onnx_model(graph: Graph) -> Any:
    """The `onnx.ModelProto` of a graph, its weights inside.

    Raises ImportError without the extra `onnx`.
    """
    return _Writer(graph).model()


def save_onnx(graph: Graph, path: Path) -> None:
    """Write a graph as `path`; weights above what one ONNX file holds (2 GB) go beside it, as `path`.data."""
    onnx, external = require("onnx", extra="onnx"), graph.num_bytes() > MAX_BYTES
    model = onnx_model(graph)
    options = {"save_as_external_data": True, "location": path.name + ".data"} if external else {}
    onnx.save_model(model, path, **options)


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.onnx = require("onnx", extra="onnx")
        self.graph, self.nodes, self.constants, self.count = graph, [], {}, 0

    def model(self) -> Any:
        helper, graph = self.onnx.helper, self.graph
        for node in graph.nodes:
            getattr(self, f"_{node.op}")(node)
        for name, output in graph.outputs.items():
            self.emit("Identity", [output.value], [name])
        images, kind, names = graph.images, self.onnx.TensorProto.FLOAT, ("batch", "channels", "height", "width")
        if images.dtype == "uint8":
            kind, names = self.onnx.TensorProto.UINT8, ("batch", "height", "width", "channels")
        shape = [name if length is None else length for name, length in zip(names, images.shape, strict=True)]
        weights = {**graph.weights, **self.constants}
        made = helper.make_graph(
            self.nodes,
            "vitlib",
            [helper.make_tensor_value_info(images.name, kind, shape)],
            [
                helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, ["batch", *output.shape[1:]])
                for name, output in graph.outputs.items()
            ],
            [self.onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
        return helper.make_model(
            made, producer_name="vitlib", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
        )

    def emit(self, op: str, inputs: Sequence[Value], outputs: Sequence[Value] | None = None, **attrs: Any) -> Value:
        if outputs is None:
            self.count += 1
            outputs = [f"_{op.lower()}_{self.count}"]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), list(outputs), name=outputs[0], **attrs))
        return outputs[0]

    def constant(self, values: Any, dtype: str = "int64") -> Value:
        array = np.asarray(values, dtype)
        name = f"_{dtype}_{'x'.join(map(str, array.shape))}_{'_'.join(str(v) for v in array.ravel())}".replace("-", "m")
        self.constants[name] = array
        return name

    # Operations, in the order of Graph's methods

    def _linear(self, node: Node) -> None:
        x, weight, *bias = node.inputs
        if bias:
            product = self.emit("MatMul", [x, weight], [f"{node.outputs[0]}.matmul"])  # a name to quantise by
            self.emit("Add", [product, *bias], node.outputs)
        else:
            self.emit("MatMul", [x, weight], node.outputs)

    def _matmul(self, node: Node) -> None:
        self.emit("MatMul", node.inputs, node.outputs)

    def _add(self, node: Node) -> None:
        self.emit("Add", node.inputs, node.outputs)

    def _multiply(self, node: Node) -> None:
        self.emit("Mul", node.inputs, node.outputs)

    def _divide(self, node: Node) -> None:
        self.emit("Div", node.inputs, node.outputs)

    def _layer_norm(self, node: Node) -> None:
        self.emit("LayerNormalization", node.inputs, node.outputs, axis=-1, epsilon=node.attrs["epsilon"])

    def _cos(self, node: Node) -> None:
        self.emit("Cos", node.inputs, node.outputs)

    def _softmax(self, node: Node) -> None:
        self.emit("Softmax", node.inputs, node.outputs, axis=-1)

    def _activation(self, node: Node) -> None:
        kind, (x,) = node.attrs["kind"], node.inputs
        if kind in ("gelu", "gelu_tanh"):
            self.emit("Gelu", [x], node.outputs, approximate="tanh" if kind == "gelu_tanh" else "none")
        elif kind in ("silu", "quick_gelu"):
            inside = x if kind == "silu" else self.emit("Mul", [x, self.constant(1.702, "float32")])
            self.emit("Mul", [x, self.emit("Sigmoid", [inside])], node.outputs)
        else:
            self.emit({"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}[kind], [x], node.outputs)

    def _reshape(self, node: Node) -> None:
        self.emit("Reshape", [*node.inputs, self.constant(node.attrs["shape"])], node.outputs)

    def _transpose(self, node: Node) -> None:
        self.emit("Transpose", node.inputs, node.outputs, perm=node.attrs["order"])

    def _slice(self, node: Node) -> None:
        stop = np.iinfo(np.int64).max if node.attrs["stop"] is None else node.attrs["stop"]
        bounds = [self.constant([value]) for value in (node.attrs["start"], stop, node.attrs["axis"])]
        self.emit("Slice", [*node.inputs, *bounds], node.outputs)

    def _split(self, node: Node) -> None:
        self.emit("Split", node.inputs, node.outputs, axis=node.attrs["axis"], num_outputs=node.attrs["parts"])

    def _concat(self, node: Node) -> None:
        self.emit("Concat", node.inputs, node.outputs, axis=node.attrs["axis"])

    def _mean(self, node: Node) -> None:
        axes = self.constant([node.attrs["axis"]])
        self.emit("ReduceMean", [*node.inputs, axes], node.outputs, keepdims=int(node.attrs["keepdim"]))

    def _attention(self, node: Node) -> None:
        q, k, v = node.inputs
        (output,) = node.outputs
        logits = self.emit("MatMul", [q, self.emit("Transpose", [k], perm=(0, 1, 3, 2))], [f"{output}.logits"])
        weights = self.emit("Softmax", [logits], [f"{output}.weights"], axis=-1)
        self.emit("MatMul", [weights, v], node.outputs)

    def _prepend(self, node: Node) -> None:
        rows, x = node.inputs
        batch = self.emit("Shape", [x], start=0, end=1)
        shape = self.emit("Concat", [batch, self.constant(self.graph.weights[rows].shape[1:])], axis=0)
        self.emit("Concat", [self.emit("Expand", [rows, shape]), x], node.outputs, axis=1)

    def _cast(self, node: Node) -> None:
        self.emit("Cast", node.inputs, node.outputs, to=self.onnx.TensorProto.FLOAT)

    def _pad(self, node: Node) -> None:
        """Constant values of each channel beside the images, spelled as a concatenation."""
        x, values = node.inputs
        axis, count = node.attrs["axis"], node.attrs["count"]
        before, after = self.emit("Shape", [x], start=0, end=axis), self.emit("Shape", [x], start=axis + 1)
        shape = self.emit("Concat", [before, self.constant([count]), after], axis=0)
        self.emit("Concat", [x, self.emit("Expand", [values, shape])], node.outputs, axis=axis)

    def _conv(self, node: Node) -> None:
        kernel = self.graph.weights[node.inputs[1]].shape[2:]
        self.emit(
            "Conv",
            node.inputs,
            node.outputs,
            strides=node.attrs["stride"],
            kernel_shape=kernel,
            pads=node.attrs["padding"],
        )

    def _max_pool(self, node: Node) -> None:
        kernel, stride, padding = (node.attrs[name] for name in ("kernel", "stride", "padding"))
        self.emit("MaxPool", node.inputs, node.outputs, kernel_shape=kernel, strides=stride, pads=padding)

    def _group_norm(self, node: Node) -> None:
        """As an InstanceNormalization of the groups: GroupNormalization has a scale per group before opset 21."""
        x, weight, bias = node.inputs
        groups = node.attrs["num_groups"]
        one, zero = (self.emit("Expand", [self.constant(v, "float32"), self.constant([groups])]) for v in (1.0, 0.0))
        grouped = self.emit("Reshape", [x, self.constant([0, groups, -1])])
        normed = self.emit("InstanceNormalization", [grouped, one, zero], epsilon=node.attrs["epsilon"])
        normed = self.emit("Reshape", [normed, self.emit("Shape", [x])])
        scale, shift = (self.emit("Reshape", [value, self.constant([-1, 1, 1])]) for value in (weight, bias))
        self.emit("Add", [self.emit("Mul", [normed, scale]), shift], node.outputs)

    # Sizes that are known when images come

    def _grid(self, images: Value, axis: int, patch: int) -> Value:
        """The patches along an axis of the images, [1] int64."""
        side = self.emit("Shape", [images], start=axis, end=axis + 1)
        return self.emit("Div", [self.emit("Add", [side, self.constant([patch - 1])]), self.constant([patch])])

    def _sides(self) -> tuple[int, int]:
        return (1, 2) if self.graph.images.dtype == "uint8" else (2, 3)

    def _to_grid(self, node: Node) -> None:
        x, images = node.inputs
        grid = [self._grid(images, axis, patch) for axis, patch in zip(self._sides(), node.attrs["patch"], strict=True)]
        shape = self.emit("Concat", [self.constant([0, node.attrs["dim"]]), *grid], axis=0)
        self.emit("Reshape", [x, shape], node.outputs)

    def _patch_count(self, node: Node) -> None:
        axis = self._sides()[node.attrs["axis"]]
        count = self._grid(node.inputs[0], axis, node.attrs["patch"])
        self.emit("Cast", [count], node.outputs, to=self.onnx.TensorProto.FLOAT)

    def _arange(self, node: Node) -> None:
        end = self.emit("Cast", [self.emit("Squeeze", node.inputs)], to=self.onnx.TensorProto.INT64)
        steps = self.emit("Range", [self.constant(0), end, self.constant(1)])
        self.emit("Cast", [steps], node.outputs, to=self.onnx.TensorProto.FLOAT)
