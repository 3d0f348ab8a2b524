"""The operations of the layers that a model is made of."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..layers import MLP, DropPath, EncoderBlock, LayerNorm, LayerScale, Linear, MultiHeadAttention
from ..layers.mlp import ACTIVATIONS
from .graph import Graph, Value
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
_KNOWN = (*_ACTIVATION_LAYERS, *_LINEAR, *_NORM, *_PASS, nn.GELU, nn.Sequential, LayerScale, MLP, MultiHeadAttention)
_KNOWN += (EncoderBlock,)


class Affine(NamedTuple):
    """x·weight + bias: weight [in, out], bias [out] or None."""

    weight: np.ndarray
    bias: np.ndarray | None

    def after(self, scale: np.ndarray, shift: np.ndarray | None) -> Affine:
        """The same of x·scale + shift."""
        bias = self.bias
        if shift is not None:
            bias = shift @ self.weight + (0 if bias is None else bias)
        return Affine(scale[:, None] * self.weight, bias)

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
            return graph.layer_norm(
                x, array(layer.weight), array(layer.bias), layer._epsilon, dim=layer._normalized_shape[0]
            )
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
        if kind is MLP:
            return _mlp(graph, layer, x, path)
        if kind is MultiHeadAttention:
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
    if not is_plain(block, (EncoderBlock,)):
        if with_weights:
            raise DescriptionError(f"the to_graph of {type(block).__name__} does not tell its attention weights")
        with graph.scope(path):
            return _keep(graph, block.to_graph(graph, x), kept, num_prefix), None
    num_first = kept if isinstance(kept, int) else None
    weights = None
    if is_plain(block.attn, (MultiHeadAttention,)):
        y, weights = _attention(
            graph, block.attn, x, f"{path}.attn", norm=block.norm1, scale=block.ls1, kept=num_first, with_weights=with_weights
        )
    elif with_weights:
        raise DescriptionError(f"the to_graph of {type(block.attn).__name__} does not tell its attention weights")
    else:
        y = graph.layer(block.ls1, graph.layer(block.attn, graph.layer(block.norm1, x)))
        with graph.scope(path):
            y = _first(graph, y, num_first)
    y = graph.layer(block.drop_path1, y)
    with graph.scope(path):
        x = graph.add(_first(graph, x, num_first), y, "attn.add")
        if kept == "mean" and num_prefix:
            x = graph.slice(x, 1, num_prefix)
    mean_inside = kept == "mean" and is_plain(block.ls2, (nn.Identity, LayerScale)) and is_plain(block.drop_path2, _PASS)
    if is_plain(block.mlp, (MLP,)):
        y = _mlp(graph, block.mlp, x, f"{path}.mlp", norm=block.norm2, scale=block.ls2, mean=mean_inside)
    else:
        mean_inside = False
        y = graph.layer(block.ls2, graph.layer(block.mlp, graph.layer(block.norm2, x)))
    y = graph.layer(block.drop_path2, y)
    with graph.scope(path):
        if mean_inside:
            x = graph.mean(x, 1, keepdim=True)
        x = graph.add(x, y, "mlp.add")
        if kept == "mean" and not mean_inside:
            x = graph.mean(x, 1, keepdim=True)
    return x, weights


def _first(graph: Graph, x: Value, count: int | None) -> Value:
    return x if count is None else graph.slice(x, 1, 0, count, "kept")


def _attention(
    graph: Graph,
    attn: nn.Layer,
    x: Value,
    path: str,
    *,
    norm: nn.Layer | None = None,
    scale: nn.Layer | None = None,
    kept: int | None = None,
    with_weights: bool = False,
) -> tuple[Value, Value | None]:
    """scale(attention(norm(x))) [B, M, D] of the first `kept` tokens (None: all), and the weights [B, H, N, N]."""
    num_heads, d, dim = attn.num_heads, attn.head_dim, attn.num_heads * attn.head_dim
    x, affine = _normed(graph, norm, x, attn.qkv)
    late_scale = affine is None or not is_plain(attn.q_norm, (nn.Identity,))
    if affine is None:
        x = graph.layer(attn.qkv, x)
        with graph.scope(path):
            q, k, v = (graph.heads(part, num_heads, d) for part in graph.split(x, 2, 3))
            q = q if with_weights or kept is None else graph.slice(q, 2, 0, kept, "kept")
    else:
        if not late_scale:
            affine = affine.times(np.repeat(np.float32([1 / math.sqrt(d), 1, 1]), dim))
        with graph.scope(path):
            q, k, v = _queries_keys_values(graph, x, affine, num_heads, d, None if with_weights else kept)
    q, k = graph.layer(attn.q_norm, q), graph.layer(attn.k_norm, k)
    with graph.scope(path):
        if late_scale:
            q = graph.multiply(q, graph.weight(1 / math.sqrt(d), "scale"))
        weights = None
        if with_weights:
            weights = graph.softmax(graph.matmul(q, k, transpose_b=True))
            y = graph.matmul(weights, v)
        else:
            y = graph.attention(q, k, v)
        y = graph.merge_heads(y, dim)
        if with_weights:
            y = _first(graph, y, kept)
    y = _product(graph, attn.proj, y, f"{path}.proj", scale)
    return graph.layer(attn.proj_drop, y), weights


def _queries_keys_values(
    graph: Graph, x: Value, affine: Affine, num_heads: int, d: int, queries: int | None
) -> list[Value]:
    """Each [B, H, N, d], the queries of the first so many tokens alone; in the form that the engine prefers."""
    dim, form = num_heads * d, graph.shaping.qkv
    alone = [(0, "q"), (1, "k"), (2, "v")] if form == "separate" else [(0, "q")] if queries else []
    found = []
    for index, name in alone:
        tokens = _first(graph, x, queries) if name == "q" else x
        part = graph.linear(tokens, *affine.columns(index * dim, (index + 1) * dim), name)
        found.append(graph.heads(part, num_heads, d, name))
    parts = 3 - len(found)
    if not parts:
        return found
    y = graph.linear(x, *affine.columns((3 - parts) * dim, 3 * dim), "qkv" if parts == 3 else "kv")
    if form == "stacked":
        y = graph.transpose(graph.reshape(y, (0, 0, parts, num_heads, d)), (2, 0, 3, 1, 4))
        return found + list(graph.unbind(y, 0, parts))
    return found + [graph.heads(part, num_heads, d) for part in graph.split(y, 2, parts)]


def _mlp(
    graph: Graph,
    mlp: nn.Layer,
    x: Value,
    path: str,
    *,
    norm: nn.Layer | None = None,
    scale: nn.Layer | None = None,
    mean: bool = False,
) -> Value:
    """scale(mlp(norm(x))): [B, N, D] -> the same, or its mean over the tokens [B, 1, D]."""
    x, affine = _normed(graph, norm, x, mlp.fc1)
    with graph.scope(f"{path}.fc1"):
        x = graph.layer(mlp.fc1, x) if affine is None else graph.linear(x, *affine)
    if isinstance(mlp.activation, nn.Layer):
        x = graph.layer(mlp.activation, x)
    elif mlp.activation in _FUNCTIONS:
        with graph.scope(path):
            x = graph.activation(x, _FUNCTIONS[mlp.activation])
    else:
        name = getattr(mlp.activation, "__name__", repr(mlp.activation))
        raise DescriptionError(f"the activation {name} is not known; use {', '.join(ACTIVATIONS)}, {ways_out('the MLP')}")
    x = graph.layer(mlp.drop1, x)
    if mean:  # the second layer is linear, so its mean is that of the mean
        with graph.scope(path):
            x = graph.mean(x, 1, keepdim=True)
    return graph.layer(mlp.drop2, _product(graph, mlp.fc2, x, f"{path}.fc2", scale))


def _normed(graph: Graph, norm: nn.Layer | None, x: Value, layer: nn.Layer) -> tuple[Value, Affine | None]:
    """norm(x), and the weights of the linear layer that takes it; on request they hold the norm's scale and shift.

    None for a layer that is not plain.
    """
    affine = linear_weights(layer) if is_plain(layer, _LINEAR) else None
    if norm is None:
        return x, affine
    if affine is None or not graph.shaping.fold_norms or not is_plain(norm, _NORM) or norm.weight is None:
        return graph.layer(norm, x), affine
    _check_last_axis(norm)
    x = graph.layer_norm(x, None, None, norm._epsilon, dim=norm._normalized_shape[0])
    return x, affine.after(array(norm.weight), array(norm.bias))


def _product(graph: Graph, layer: nn.Layer, x: Value, path: str, scale: nn.Layer | None) -> Value:
    """scale(layer(x)), as one product where both are plain."""
    if not is_plain(layer, _LINEAR) or scale is None or not is_plain(scale, (LayerScale, nn.Identity)):
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
