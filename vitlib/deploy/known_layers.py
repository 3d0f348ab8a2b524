"""Layers whose operations are known: which they are, and the weights of those that are products."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle
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
from ..layers.conv_stem import StemLayer
from .overrides import DescriptionError, described_as, ways_out

ACTIVATION_LAYERS = {nn.ReLU: "relu", nn.Silu: "silu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
LINEAR = (nn.Linear, Linear)
NORM = (nn.LayerNorm, LayerNorm)
PASS = (nn.Identity, nn.Dropout, DropPath)
MLPS = (MLP, GatedMLP)
ATTENTION = (MultiHeadAttention, RotaryAttention)
BLOCK = (EncoderBlock, RotaryBlock)
_KNOWN = (*ACTIVATION_LAYERS, *LINEAR, *NORM, *PASS, *MLPS, *ATTENTION, *BLOCK)
_KNOWN += (nn.GELU, nn.Sequential, nn.Conv2D, LayerScale, StemLayer)


def kind_of(layer: nn.Layer) -> type | None:
    """The known class whose operations a layer has; None for one with a `to_graph`. Raises `DescriptionError` for any
    other, and for a dropout that scales in evaluation."""
    kind = described_as(layer, _KNOWN)
    if kind is nn.Dropout and layer.mode == "downscale_in_infer":
        raise DescriptionError(
            "a Dropout of this model has mode='downscale_in_infer', which scales its input in evaluation; make it "
            "with mode='upscale_in_train', Paddle's default"
        )
    return kind


def is_plain(layer: nn.Layer, kinds: tuple[type, ...]) -> bool:
    """Whether a layer is described as one of these classes. Raises as `kind_of`."""
    return kind_of(layer) in kinds


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


class Window(NamedTuple):
    """Of a convolution: (rows, columns) of its stride, and zeros on either side of each."""

    stride: tuple[int, int]
    padding: tuple[int, int]


def window_of(conv: nn.Conv2D) -> Window:
    """Raises `DescriptionError` for a convolution with groups, dilation or another padding than zeros on both sides."""
    simple = conv._padding_mode == "zeros" and conv._padding_algorithm == "EXPLICIT" and len(conv._updated_padding) == 2
    if not simple or conv._groups != 1 or set(conv._dilation) != {1} or conv._data_format != "NCHW":
        raise DescriptionError(
            "a Conv2D of this model is not described; expected one without groups and dilation, in NCHW, with "
            f"padding=rows or (rows, columns) of zeros; {ways_out('the layer that holds it')}"
        )
    return Window(tuple(conv._stride), tuple(conv._updated_padding))


def stem_weights(layer: StemLayer) -> tuple[np.ndarray, np.ndarray]:
    """Weight [D, C, rows, columns] and bias [D] of the convolution that does what a StemLayer does before its ReLU in
    evaluation. Raises `DescriptionError` for a convolution or a batch norm of another class."""
    conv, norm = layer.conv, layer.norm
    if not is_plain(conv, (nn.Conv2D,)) or described_as(norm, (nn.BatchNorm2D,)) is None:
        found = f"{type(conv).__name__} and {type(norm).__name__}"
        raise DescriptionError(f"a StemLayer of {found}; expected Conv2D and BatchNorm2D; {ways_out('StemLayer')}")
    scale, shift, mean, variance = (array(each) for each in (norm.weight, norm.bias, norm._mean, norm._variance))
    scale = scale / np.sqrt(variance + norm._epsilon)
    bias = 0 if conv.bias is None else array(conv.bias)
    return array(conv.weight) * scale.reshape(-1, 1, 1, 1), shift + (bias - mean) * scale
