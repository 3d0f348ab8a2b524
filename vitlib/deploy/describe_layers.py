"""The operations of the layers that a model is made of."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..layers import (
    MLP,
    DropPath,
    EncoderBlock,
    GatedMLP,
    LayerNorm,
    LayerScale,
    Linear,
    MultiHeadAttention,
    RotaryAttention,
    RotaryBlock,
)
from ..layers.mlp import ACTIVATIONS
from .graph import Graph
from .operations import Value
from .overrides import DescriptionError, described_as, ways_out

# Which tokens of a block are needed: the first so many, all, or the patches' mean as one token.
Kept: TypeAlias = int | Literal["all", "mean"]

_FUNCTIONS = {function: kind for kind, function in ACTIVATIONS.items()} | {
    F.gelu: "gelu",
    F.tanh: "tanh",
    paddle.tanh: "tanh",
    F.sigmoid: "sigmoid",
}
_ACTIVATION_LAYERS = {nn.ReLU: "relu", nn.Silu: "silu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
_LINEAR = (nn.Linear, Linear)
_NORM = (nn.LayerNorm, LayerNorm)
_PASS = (nn.Identity, nn.Dropout, DropPath)
_MLP = (MLP, GatedMLP)
_ATTENTION = (MultiHeadAttention, RotaryAttention)
_BLOCK = (EncoderBlock, RotaryBlock)
_KNOWN = (*_ACTIVATION_LAYERS, *_LINEAR, *_NORM, *_PASS, *_MLP, *_ATTENTION, *_BLOCK)
_KNOWN += (nn.GELU, nn.Sequential, LayerScale)


class Affine(NamedTuple):
    """x·weight + bias: weight [in, out], bias [out] or None."""

    weight: np.ndarray
    bias: np.ndarray | None

    def times(self, factor: np.ndarray) -> Affine:
        """Its result, times a factor for each channel."""
        return Affine(self.weight * factor, None if self.bias is None else self.bias * factor)

    def columns(self, start: int, stop: int) -> Affine:
        """Some of the channels."""
        return Affine(self.weight[:, start:stop], None if self.bias is None else self.bias[start:stop])


def array(tensor: paddle.Tensor | None) -> np.ndarray | None:
    """A parameter's numbers as float32."""
    return None if tensor is None else tensor.astype("float32").numpy()


def linear_weights(layer: nn.Layer) -> Affine:
    return Affine(array(layer.weight), array(layer.bias))


def is_plain(layer: nn.Layer, kinds: tuple[type, ...]) -> bool:
    """Whether a layer is described as one of these classes. Raises `DescriptionError` for one that is not known."""
    return described_as(layer, _KNOWN) in kinds


def describe_layer(graph: Graph, layer: nn.Layer, x: Value, path: str) -> Value:
    """See `Graph.layer`; path is the layer's name in the model."""
    with graph.scope(path):
        kind = described_as(layer, _KNOWN)
        if kind is None:
            return layer.to_graph(graph, x)
        if kind in _PASS:
            return x
        if kind in _LINEAR:
            return graph.linear(x, layer.weight, layer.bias)
        if kind in _NORM:
            _check_last_axis(layer)
            if layer.weight is None:
                raise DescriptionError("a LayerNorm without weight; give it one")
            return graph.layer_norm(x, array(layer.weight), array(layer.bias), layer._epsilon)
        if kind is LayerScale:
            return graph.multiply(x, graph.weight(layer.gamma, "gamma"))
        if kind is nn.GELU:
            return graph.activation(x, "gelu_tanh" if layer._approximate else "gelu")
        if kind in _ACTIVATION_LAYERS:
            return graph.activation(x, _ACTIVATION_LAYERS[kind])
        if kind is nn.Sequential:
            for part in layer:
                x = graph.layer(part, x)
            return x
        if kind in _MLP:
            return _mlp(graph, layer, x, path)
        if kind in _ATTENTION:
            return _attention(graph, layer, x, path)[0]
        return describe_block(graph, layer, x, path)[0]


def describe_block(
    graph: Graph,
    block: nn.Layer,
    x: Value,
    path: str,
    kept: Kept = "all",
    num_prefix: int = 0,
    *,
    with_weights: bool = False,
) -> tuple[Value, Value | None]:
    """The tokens that are kept of z' = MSA(LN(z)) + z; MLP(LN(z')) + z', and the attention weights [B, H, N, N]."""
    if not is_plain(block, _BLOCK):
        if with_weights:
            raise DescriptionError(f"block {type(block).__name__} does not tell its attention weights")
        x = graph.layer(block, x)
        with graph.scope(path):
            return _kept(graph, x, kept, num_prefix), None
    num_first = kept if isinstance(kept, int) else None
    y, weights = graph.layer(block.norm1, x), None
    if is_plain(block.attn, _ATTENTION):
        y, weights = _attention(graph, block.attn, y, f"{path}.attn", block.ls1, num_first, with_weights=with_weights)
    elif with_weights:
        raise DescriptionError(f"the to_graph of {type(block.attn).__name__} does not tell its attention weights")
    else:
        y = graph.layer(block.ls1, graph.layer(block.attn, y))
        with graph.scope(path):
            y = _first(graph, y, num_first)
    y = graph.layer(block.drop_path1, y)
    with graph.scope(path):
        x = graph.add(_first(graph, x, num_first), y, "attn.add")
        if kept == "mean" and num_prefix:
            x = graph.slice(x, 1, num_prefix)
    y, mean_inside = graph.layer(block.norm2, x), False
    if is_plain(block.mlp, _MLP):
        mean_inside = kept == "mean" and is_plain(block.ls2, (*_PASS, LayerScale)) and is_plain(block.drop_path2, _PASS)
        y = _mlp(graph, block.mlp, y, f"{path}.mlp", block.ls2, mean=mean_inside)
    else:
        y = graph.layer(block.ls2, graph.layer(block.mlp, y))
    y = graph.layer(block.drop_path2, y)
    with graph.scope(path):
        if mean_inside:
            return graph.add(graph.mean(x, 1, keepdim=True), y, "mlp.add"), weights
        x = graph.add(x, y, "mlp.add")
        return graph.mean(x, 1, keepdim=True) if kept == "mean" else x, weights


def _kept(graph: Graph, x: Value, kept: Kept, num_prefix: int) -> Value:
    if kept == "mean":
        return graph.mean(graph.slice(x, 1, num_prefix) if num_prefix else x, 1, keepdim=True)
    return _first(graph, x, None if kept == "all" else kept)


def _first(graph: Graph, x: Value, count: int | None) -> Value:
    return x if count is None else graph.slice(x, 1, 0, count, "kept")


def _attention(
    graph: Graph,
    attn: nn.Layer,
    x: Value,
    path: str,
    scale: nn.Layer | None = None,
    kept: int | None = None,
    *,
    with_weights: bool = False,
) -> tuple[Value, Value | None]:
    """scale(attention(x)) [B, M, D] of the first `kept` tokens (None: all), and the weights [B, H, N, N]."""
    num_heads, d, dim = attn.num_heads, attn.head_dim, attn.num_heads * attn.head_dim
    plain = is_plain(attn.qkv, _LINEAR)
    scaled = plain and is_plain(attn.q_norm, (nn.Identity,))
    queries = None if with_weights else kept
    if plain:
        affine = linear_weights(attn.qkv)
        if scaled:
            affine = affine.times(np.repeat(np.float32([1 / math.sqrt(d), 1, 1]), dim))
        with graph.scope(path):
            q, k, v = (
                graph.linear(tokens, *affine.columns(index * dim, (index + 1) * dim), name)
                for index, (name, tokens) in enumerate((("q", _first(graph, x, queries)), ("k", x), ("v", x)))
            )
    else:
        x = graph.layer(attn.qkv, x)
        with graph.scope(path):
            q, k, v = graph.split(x, 2, 3)
            q = _first(graph, q, queries)
    with graph.scope(path):
        q, k, v = (graph.heads(part, num_heads, d) for part in (q, k, v))
    q, k = graph.layer(attn.q_norm, q), graph.layer(attn.k_norm, k)
    with graph.scope(path):
        if is_plain(attn, (RotaryAttention,)):
            q, k = graph.rotate(q, d, queries), graph.rotate(k, d)
        if not scaled:
            q = graph.multiply(q, graph.weight(1 / math.sqrt(d), "scale"))
        weights = None
        if with_weights:
            weights = graph.softmax(graph.matmul(q, graph.transpose(k, (0, 1, 3, 2))))
            y = graph.matmul(weights, v)
        else:
            y = graph.attention(q, k, v)
        y = graph.merge_heads(y, dim)
        if with_weights:
            y = _first(graph, y, kept)
    y = _product(graph, attn.proj, y, f"{path}.proj", scale)
    return graph.layer(attn.proj_drop, y), weights


def _mlp(
    graph: Graph, mlp: nn.Layer, x: Value, path: str, scale: nn.Layer | None = None, *, mean: bool = False
) -> Value:
    """scale(mlp(x)): [B, N, D] -> the same, or its mean over the tokens [B, 1, D]."""
    value = None
    if is_plain(mlp, (GatedMLP,)):
        x, value = _gate_and_value(graph, mlp, x, path)
    else:
        x = graph.layer(mlp.fc1, x)
    if isinstance(mlp.activation, nn.Layer):
        x = graph.layer(mlp.activation, x)
    elif mlp.activation in _FUNCTIONS:
        with graph.scope(path):
            x = graph.activation(x, _FUNCTIONS[mlp.activation])
    else:
        name = getattr(mlp.activation, "__name__", repr(mlp.activation))
        raise DescriptionError(
            f"the activation {name} is not known; use {', '.join(ACTIVATIONS)}, {ways_out('the MLP')}"
        )
    if value is not None:
        with graph.scope(path):
            x = graph.multiply(x, value, "gated")
    x = graph.layer(mlp.drop1, x)
    if mean:  # the second layer is linear, so its mean is that of the mean
        with graph.scope(path):
            x = graph.mean(x, 1, keepdim=True)
    return graph.layer(mlp.drop2, _product(graph, mlp.fc2, x, f"{path}.fc2", scale))


def _gate_and_value(graph: Graph, mlp: nn.Layer, x: Value, path: str) -> tuple[Value, ...]:
    """The two halves of fc1(x), each [B, N, hidden]."""
    if not is_plain(mlp.fc1, _LINEAR):
        x = graph.layer(mlp.fc1, x)
        with graph.scope(path):
            return graph.split(x, 2, 2)
    affine = linear_weights(mlp.fc1)
    hidden = affine.weight.shape[1] // 2
    with graph.scope(f"{path}.fc1"):
        gate, value = affine.columns(0, hidden), affine.columns(hidden, 2 * hidden)
        return graph.linear(x, *gate, "gate"), graph.linear(x, *value, "value")


def _product(graph: Graph, layer: nn.Layer, x: Value, path: str, scale: nn.Layer | None) -> Value:
    """scale(layer(x)), as one product where both are plain."""
    if not is_plain(layer, _LINEAR) or scale is None or not is_plain(scale, (LayerScale, *_PASS)):
        x = graph.layer(layer, x)
        return x if scale is None else graph.layer(scale, x)
    affine = linear_weights(layer)
    if isinstance(scale, LayerScale):
        affine = affine.times(array(scale.gamma))
    with graph.scope(path):
        return graph.linear(x, *affine)


def _check_last_axis(norm: nn.Layer) -> None:
    if len(norm._normalized_shape) != 1:
        raise DescriptionError(f"a LayerNorm over {norm._normalized_shape}; expected one over the last axis")
