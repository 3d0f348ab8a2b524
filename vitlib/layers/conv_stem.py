"""Patch tokens by a stack of convolutions ("Early Convolutions Help Transformers See Better", arXiv 2106.14881)."""

from __future__ import annotations

import math
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from .initialization import attr
from .patch_embed import PatchEmbed, Size


class StemLayer(nn.Layer):
    """Convolution 3 x 3 of stride 2 without bias, batch norm, ReLU: [B, C, H, W] -> [B, out_chans, ⌈H/2⌉, ⌈W/2⌉].

    A batch norm whose weight is frozen keeps its running statistics and normalises by them, in training, too.

    outputs_per_token: pixels of the result for one patch token, by which `macs` counts.
    """

    def __init__(self, in_chans: int, out_chans: int, outputs_per_token: int, weight_init: str = "timm") -> None:
        super().__init__()
        weight = attr(weight_init, "stem", 9 * in_chans, out_chans)
        self.conv = nn.Conv2D(in_chans, out_chans, 3, stride=2, padding=1, weight_attr=weight, bias_attr=False)
        self.norm = nn.BatchNorm2D(out_chans)
        self.outputs_per_token = outputs_per_token

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        self.norm._use_global_stats = True if self.norm.weight.stop_gradient else None  # None: in evaluation
        return F.relu(self.norm(self.conv(x)))

    def macs(self, num_tokens: int) -> int:
        """Multiply-accumulates of an image of so many tokens."""
        return num_tokens * self.outputs_per_token * math.prod(self.conv.weight.shape)


class ConvStem(PatchEmbed):
    """`PatchEmbed` that sees more than the patch: 3 x 3 convolutions of stride 2, each with batch norm and ReLU, then a
    1 x 1 projection: [B, C, H, W] -> [B, N, D], N = (H/P)·(W/P), row by row. Small data train it better than a plain
    patch projection.

    conv_stem: output channels of the convolutions, whose strides make the patch: three for 8 x 8, four for 16 x 16.
    The other arguments, and what is raised, are `PatchEmbed`'s. With dynamic_img_pad each convolution pads its own
    input. Running statistics of the batch norms are parameters that do not train.

    Raises ValueError when the patch is not 2 to the power of the number of convolutions.
    """

    def __init__(
        self,
        img_size: Size = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        *,
        conv_stem: tuple[int, ...] = (48, 96, 192, 384),
        bias: bool = True,
        weight_init: str = "timm",
        **options: bool,
    ) -> None:
        super().__init__(img_size, patch_size, in_chans, embed_dim, weight_init=weight_init, **options)
        check_stem(conv_stem, self.patch_size)
        outputs = [4 ** (len(conv_stem) - index) for index in range(1, len(conv_stem) + 1)]
        widths = zip((in_chans, *conv_stem), conv_stem, outputs, strict=False)
        del self.proj  # of pixels
        self.stem = nn.Sequential(*(StemLayer(*layer, weight_init) for layer in widths))
        last = conv_stem[-1]
        weight = attr(weight_init, "patch", last, embed_dim)
        bias_attr = attr(weight_init, "patch_bias", last, embed_dim) if bias else False
        self.proj = nn.Conv2D(last, embed_dim, 1, weight_attr=weight, bias_attr=bias_attr)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x: [B, C, H, W] -> [B, N, D], or [B, D, H/P, W/P] with flatten=False"""
        self.check(x)
        x = self.proj(self.stem(x))  # [B, D, H/P, W/P]
        return x.flatten(2).transpose([0, 2, 1]) if self.flatten else x

    def to_graph(self, graph: Any, x: str) -> str:
        """Its operations in a `vitlib.deploy.Graph`, from images x [B, C, H, W]."""
        x = graph.layer(self.proj, graph.layer(self.stem, x))
        return graph.transpose(graph.reshape(x, (0, self.embed_dim, -1)), (0, 2, 1))


def check_stem(conv_stem: tuple[int, ...], patch_size: tuple[int, int]) -> None:
    """Raises ValueError for channels that are no positive ints, and where the strides do not make the patch."""
    if not all(isinstance(width, int) and not isinstance(width, bool) and width >= 1 for width in conv_stem):
        raise ValueError(f"conv_stem={conv_stem!r}: expected the channels of each convolution, positive ints")
    if patch_size != (stride := 2 ** len(conv_stem), stride):
        raise ValueError(
            f"conv_stem={conv_stem!r}: {len(conv_stem)} convolutions of stride 2 make patches of {stride} x {stride}, "
            f"found patch_size={patch_size}; give one number of channels for each halving"
        )


def conv_stem_class(patch_embed_class: type[nn.Layer]) -> type[nn.Layer]:
    """The class of a patch embedding with convolutions: `ConvStem` for `PatchEmbed`, its subclasses as they are.

    Raises TypeError for any other class, which has no use for them.
    """
    if patch_embed_class is PatchEmbed:
        return ConvStem
    if not issubclass(patch_embed_class, ConvStem):
        raise TypeError(
            f"{patch_embed_class.__name__} as patch_embed_class takes no conv_stem: derive it from "
            "vitlib.layers.ConvStem"
        )
    return patch_embed_class
