"""The operations of the layers that a model is made of."""

from __future__ import annotations

from paddle import nn

from ..layers import LayerScale
from ..layers.conv_stem import StemLayer
from .describe_block import describe_attention, describe_block, describe_mlp
from .graph import Graph
from .known_layers import (
    ACTIVATION_LAYERS,
    ATTENTION,
    LINEAR,
    MLPS,
    NORM,
    PASS,
    array,
    kind_of,
    stem_weights,
    window_of,
)
from .operations import Value
from .overrides import DescriptionError


def describe_layer(graph: Graph, layer: nn.Layer, x: Value, path: str) -> Value:
    """See `Graph.layer`; path is the layer's name in the model."""
    with graph.scope(path):
        kind = kind_of(layer)
        if kind is None:
            return layer.to_graph(graph, x)
        if kind in PASS:
            return x
        if kind in LINEAR:
            return graph.linear(x, layer.weight, layer.bias)
        if kind in NORM:
            _check_last_axis(layer)
            if layer.weight is None:
                raise DescriptionError("a LayerNorm without weight; give it one")
            return graph.layer_norm(x, array(layer.weight), array(layer.bias), layer._epsilon)
        if kind is LayerScale:
            return graph.multiply(x, graph.weight(layer.gamma, "gamma"))
        if kind is nn.GELU:
            return graph.activation(x, "gelu_tanh" if layer._approximate else "gelu")
        if kind in ACTIVATION_LAYERS:
            return graph.activation(x, ACTIVATION_LAYERS[kind])
        if kind is nn.Conv2D:
            stride, padding = window_of(layer)
            return graph.conv(x, array(layer.weight), array(layer.bias), stride=stride, padding=padding)
        if kind is StemLayer:
            weight, bias = stem_weights(layer)
            stride, padding = window_of(layer.conv)
            return graph.activation(graph.conv(x, weight, bias, stride=stride, padding=padding), "relu")
        if kind is nn.Sequential:
            for part in layer:
                x = graph.layer(part, x)
            return x
        if kind in MLPS:
            return describe_mlp(graph, layer, x, path)
        if kind in ATTENTION:
            return describe_attention(graph, layer, x, path)[0]
        return describe_block(graph, layer, x, path)[0]


def _check_last_axis(norm: nn.Layer) -> None:
    if len(norm._normalized_shape) != 1:
        raise DescriptionError(f"a LayerNorm over {norm._normalized_shape}; expected one over the last axis")
