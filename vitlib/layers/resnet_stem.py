"""The ResNet before the tokens of a hybrid Vision Transformer (ViT paper, §3.1 "Hybrid Architecture").

A ResNet with group norms and standardised weights (BiT, arXiv 1912.11370), padded as TensorFlow's "SAME" does.
Names of parameters are timm's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from .patch_embed import PatchEmbed, Size

_GROUPS = 32


class Epsilons(NamedTuple):
    """group_norm: of the group norms. variance, deviation: added to those of a weight that is standardised."""

    group_norm: float
    variance: float
    deviation: float


STEM_NORMS = {"timm": Epsilons(1e-5, 1e-8, 0.0), "google": Epsilons(1e-6, 0.0, 1e-5)}  # Google's: vit_jax


def stem_attr(name: str, shape: Sequence[int]) -> paddle.ParamAttr:
    """The attribute that creates a parameter of a ResNet, by its name: timm's initial values.

    Convolutions: He et al.'s (arXiv 1502.01852), by the outputs. A residual branch starts at zero.
    """
    if len(shape) == 4:
        initializer = nn.initializer.Normal(0.0, math.sqrt(2 / (shape[0] * shape[2] * shape[3])))
    else:
        initializer = nn.initializer.Constant(float(name.endswith("weight") and not name.endswith("norm3.weight")))
    return paddle.ParamAttr(initializer=initializer)


class StandardizedConv(nn.Conv2D):
    """A convolution without bias whose weight is standardised, each output channel by itself (arXiv 1903.10520):
    [B, C, H, W] -> [B, out, ⌈H / stride⌉, ⌈W / stride⌉].

    out_stride: pixels of the image between two of its outputs.
    """

    def __init__(self, in_chans: int, out_chans: int, kernel: int, stride: int = 1, *, out_stride: int) -> None:
        weight = stem_attr("weight", (out_chans, in_chans, kernel, kernel))
        super().__init__(in_chans, out_chans, kernel, stride, weight_attr=weight, bias_attr=False)
        self.kernel, self.stride, self.out_stride = kernel, stride, out_stride
        self.epsilons = STEM_NORMS["timm"]

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        w = self.weight - self.weight.mean([1, 2, 3], keepdim=True)
        variance = (w * w).mean([1, 2, 3], keepdim=True)
        deviation = (variance + self.epsilons.variance).sqrt() + self.epsilons.deviation
        return F.conv2d(x, w / deviation, stride=self.stride, padding="SAME")

    def to_graph(self, graph: Any, x: str) -> str:
        """Its operations in a `vitlib.deploy.Graph`, the weight standardised once."""
        w = self.weight.astype("float64").numpy()
        w = w - w.mean((1, 2, 3), keepdims=True)
        variance = (w * w).mean((1, 2, 3), keepdims=True)
        w = w / (np.sqrt(variance + self.epsilons.variance) + self.epsilons.deviation)
        return graph.conv(x, w, stride=(self.stride,) * 2, padding=_same(self.kernel, self.stride))


def _same(kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's "SAME" for sides that the stride divides: zeros at the top, left, bottom and right."""
    total = max(kernel - stride, 0)
    return (total // 2,) * 2 + (total - total // 2,) * 2


class StemNorm(nn.GroupNorm):
    """A group norm of 32 groups. out_stride: as of `StandardizedConv`. name: in its layer."""

    def __init__(self, channels: int, out_stride: int, name: str = "norm") -> None:
        scale = stem_attr(f"{name}.weight", (channels,))
        super().__init__(_GROUPS, channels, STEM_NORMS["timm"].group_norm, weight_attr=scale)
        self.out_stride = out_stride

    def to_graph(self, graph: Any, x: str) -> str:
        """Its operations in a `vitlib.deploy.Graph`."""
        return graph.group_norm(x, _GROUPS, self.weight, self.bias, self._epsilon)


class ResNetRoot(nn.Layer):
    """Convolution 7 x 7, norm, ReLU and pooling: [B, C, H, W] -> [B, 64, ⌈H/4⌉, ⌈W/4⌉]."""

    out_chans, out_stride = 64, 4

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.conv = StandardizedConv(in_chans, self.out_chans, 7, 2, out_stride=2)
        self.norm = StemNorm(self.out_chans, out_stride=2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.max_pool2d(F.relu(self.norm(self.conv(x))), 3, 2, padding="SAME")

    def to_graph(self, graph: Any, x: str) -> str:
        """Its operations in a `vitlib.deploy.Graph`."""
        x = graph.activation(graph.layer(self.norm, graph.layer(self.conv, x)), "relu")
        return graph.max_pool(x, (3, 3), stride=(2, 2), padding=_same(3, 2))


class Bottleneck(nn.Layer):
    """Convolutions 1 x 1, 3 x 3 and 1 x 1 with a shortcut: [B, in, H, W] -> [B, out, ⌈H / stride⌉, ⌈W / stride⌉]."""

    def __init__(self, in_chans: int, out_chans: int, stride: int, out_stride: int, downsample: bool) -> None:
        super().__init__()
        middle, before = out_chans // 4, out_stride // stride
        self.out_chans, self.out_stride = out_chans, out_stride
        self.downsample = nn.Identity()
        if downsample:
            conv = StandardizedConv(in_chans, out_chans, 1, stride, out_stride=out_stride)
            self.downsample = nn.Sequential(("conv", conv), ("norm", StemNorm(out_chans, out_stride)))
        self.conv1 = StandardizedConv(in_chans, middle, 1, out_stride=before)
        self.norm1 = StemNorm(middle, before)
        self.conv2 = StandardizedConv(middle, middle, 3, stride, out_stride=out_stride)
        self.norm2 = StemNorm(middle, out_stride)
        self.conv3 = StandardizedConv(middle, out_chans, 1, out_stride=out_stride)
        self.norm3 = StemNorm(out_chans, out_stride, "norm3")

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.norm3(self.conv3(y)) + self.downsample(x))

    def to_graph(self, graph: Any, x: str) -> str:
        """Its operations in a `vitlib.deploy.Graph`."""
        y = x
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            y = graph.activation(graph.layer(norm, graph.layer(conv, y)), "relu")
        y = graph.layer(self.norm3, graph.layer(self.conv3, y))
        return graph.activation(graph.add(y, graph.layer(self.downsample, x)), "relu")


class ResNetStage(nn.Layer):
    """Bottlenecks one after the other; the first changes width and resolution."""

    def __init__(self, in_chans: int, out_chans: int, depth: int, stride: int, out_stride: int) -> None:
        super().__init__()
        first = Bottleneck(in_chans, out_chans, stride, out_stride, downsample=True)
        rest = [Bottleneck(out_chans, out_chans, 1, out_stride, downsample=False) for _ in range(depth - 1)]
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.blocks(x)

    def to_graph(self, graph: Any, x: str) -> str:
        """Its operations in a `vitlib.deploy.Graph`."""
        return graph.layer(self.blocks, x)


class ResNet(nn.Layer):
    """Images [B, C, H, W] -> features [B, out_chans, ⌈H / out_stride⌉, ⌈W / out_stride⌉].

    stem_blocks: bottlenecks of each stage, whose output has 256 channels in the first and twice as many in each that
    follows.
    """

    def __init__(self, in_chans: int, stem_blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = ResNetRoot(in_chans)
        self.out_chans, self.out_stride, stages = self.stem.out_chans, self.stem.out_stride, []
        for index, depth in enumerate(stem_blocks):
            stride = 2 if index else 1
            before, self.out_chans, self.out_stride = self.out_chans, 256 << index, self.out_stride * stride
            stages.append(ResNetStage(before, self.out_chans, depth, stride, self.out_stride))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.stages(self.stem(x))

    def to_graph(self, graph: Any, x: str) -> str:
        """Its operations in a `vitlib.deploy.Graph`."""
        return graph.layer(self.stages, graph.layer(self.stem, x))


def stem_stride(stem_blocks: tuple[int, ...]) -> int:
    """Pixels of the image between two features of a ResNet."""
    return ResNetRoot.out_stride << max(len(stem_blocks) - 1, 0)


class HybridEmbed(PatchEmbed):
    """`PatchEmbed` of a ResNet's features in place of pixels: [B, C, H, W] -> [B, N, D].

    Args:
        stem_blocks: bottlenecks in each stage of the ResNet, whose stride divides the patch; () for its root alone.
        stem_norms: a row of `STEM_NORMS`, the epsilons to compute with.
        Others as of `PatchEmbed`; patch_size is that of a token in pixels of the image.

    Raises ValueError when the stride does not divide the patch.
    """

    def __init__(
        self,
        img_size: Size = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        *,
        stem_blocks: tuple[int, ...],
        stem_norms: str = "timm",
        bias: bool = True,
        weight_init: str = "timm",
        **options: Any,
    ) -> None:
        super().__init__(img_size, patch_size, in_chans, embed_dim, bias=bias, weight_init=weight_init, **options)
        del self.proj  # of pixels
        self.backbone = ResNet(in_chans, stem_blocks) if stem_blocks else ResNetRoot(in_chans)
        stride = self.backbone.out_stride
        if any(side % stride for side in self.patch_size):
            raise ValueError(
                f"stem_blocks={stem_blocks!r}: a feature is {stride} x {stride} pixels, which does not divide "
                f"patch_size={self.patch_size}; use a multiple of {stride}"
            )
        patch = tuple(side // stride for side in self.patch_size)
        self.proj = self.projection(self.backbone.out_chans, patch, bias, weight_init)
        self.set_stem_norms(stem_norms)

    def set_stem_norms(self, stem_norms: str) -> None:
        """Compute with other epsilons, a row of `STEM_NORMS`, from now on."""
        for layer in self.backbone.sublayers():
            if isinstance(layer, StandardizedConv):
                layer.epsilons = STEM_NORMS[stem_norms]
            elif isinstance(layer, StemNorm):
                layer._epsilon = STEM_NORMS[stem_norms].group_norm

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x: [B, C, H, W] -> [B, N, D], or [B, D, H/P, W/P] with flatten=False"""
        self.check(x)
        x = self.backbone(x)
        x = self.proj(self.pad(x) if self.dynamic_img_pad else x)  # [B, D, H/P, W/P]
        return x.flatten(2).transpose([0, 2, 1]) if self.flatten else x

    def pad(self, x: paddle.Tensor) -> paddle.Tensor:
        """Zeros at the right and bottom of the features, as timm's, enough for the last patch."""
        rows, columns = self.proj.weight.shape[2:]
        return F.pad(x, [0, columns - 1, 0, rows - 1])

    def to_graph(self, graph: Any, x: str) -> str:
        """Its operations in a `vitlib.deploy.Graph`, from images x [B, C, H, W], whose sides its strides divide."""
        x = graph.layer(self.proj, graph.layer(self.backbone, x))
        return graph.transpose(graph.reshape(x, (0, self.embed_dim, -1)), (0, 2, 1))


def hybrid_embed_class(patch_embed_class: type[nn.Layer]) -> type[nn.Layer]:
    """The class of the patch embedding behind a ResNet: `HybridEmbed` in place of `PatchEmbed`, its subclasses as they
    are. Raises TypeError for any other class, which has no ResNet."""
    if patch_embed_class is PatchEmbed:
        return HybridEmbed
    if not issubclass(patch_embed_class, HybridEmbed):
        raise TypeError(
            f"{patch_embed_class.__name__} as patch_embed_class takes no stem_blocks: derive it from "
            "vitlib.layers.HybridEmbed"
        )
    return patch_embed_class
