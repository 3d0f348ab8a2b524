"""The operations of an encoder block, its attention and its MLP."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..layers import GatedMLP, LayerScale, RotaryAttention
from ..layers.mlp import ACTIVATIONS
from .graph import Graph
from .known_layers import ATTENTION, BLOCK, LINEAR, MLPS, PASS, array, is_plain, linear_weights
from .operations import Value
from .overrides import DescriptionError, ways_out

# Which tokens of a block are needed: the first so many, all, or the patches' mean as one token.
Kept: TypeAlias = int | Literal["all", "mean"]

_FUNCTIONS = {function: kind for kind, function in ACTIVATIONS.items()} | {
    F.gelu: "gelu",
    F.tanh: "tanh",
    paddle.tanh: "tanh",
    F.sigmoid: "sigmoid",
}


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
    if not is_plain(block, BLOCK):
        if with_weights:
            raise DescriptionError(f"block {type(block).__name__} does not tell its attention weights")
        x = graph.layer(block, x)
        with graph.scope(path):
            return _kept(graph, x, kept, num_prefix), None
    num_first = kept if isinstance(kept, int) else None
    y, weights = graph.layer(block.norm1, x), None
    if is_plain(block.attn, ATTENTION):
        y, weights = describe_attention(
            graph, block.attn, y, f"{path}.attn", block.ls1, num_first, with_weights=with_weights
        )
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
    if is_plain(block.mlp, MLPS):
        mean_inside = kept == "mean" and is_plain(block.ls2, (*PASS, LayerScale)) and is_plain(block.drop_path2, PASS)
        y = describe_mlp(graph, block.mlp, y, f"{path}.mlp", block.ls2, mean=mean_inside)
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


def describe_attention(
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
    plain = is_plain(attn.qkv, LINEAR)
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


def describe_mlp(
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
    if not is_plain(mlp.fc1, LINEAR):
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
    if not is_plain(layer, LINEAR) or scale is None or not is_plain(scale, (LayerScale, *PASS)):
        x = graph.layer(layer, x)
        return x if scale is None else graph.layer(scale, x)
    affine = linear_weights(layer)
    if isinstance(scale, LayerScale):
        affine = affine.times(array(scale.gamma))
    with graph.scope(path):
        return graph.linear(x, *affine)
