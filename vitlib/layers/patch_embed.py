"""Image to patch tokens (ViT paper, §3.1, equation 1: x_p·E, without the class token and the positions)."""

from __future__ import annotations

import numbers

import paddle
import paddle.nn.functional as F
from paddle import nn

from .initialization import attr

Size = int | tuple[int, int]


def to_pair(size: Size, name: str = "size") -> tuple[int, int]:
    """An int or (height, width) as (height, width). Raises ValueError for anything else, or for values below 1."""
    pair = size if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(is_positive_int(side) for side in pair):
        raise ValueError(f"{name}={size!r}: expected a positive int or a pair (height, width) of them")
    return int(pair[0]), int(pair[1])


def is_positive_int(value: object) -> bool:
    """Python's and NumPy's ints, not bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


def grid_of(img_size: tuple[int, int], patch_size: tuple[int, int], pad: bool = False) -> tuple[int, int]:
    """The patch grid (rows, columns) of an image of (height, width).

    Raises ValueError when the image holds no patch, or no whole number of patches and `pad` is off.
    """
    for side, patch, name in zip(img_size, patch_size, ("height", "width"), strict=True):
        if side == 0 or (side % patch and not pad):
            fault = "is smaller than one patch" if side < patch else "does not divide into patches"
            raise ValueError(
                f"an image of {by(img_size)} {fault} of {by(patch_size)}: its {name} {side} is not a multiple of "
                f"{patch}. Use {max(1, round(side / patch)) * patch}, or dynamic_img_pad=True to pad to the grid"
            )
    return tuple(-(-side // patch) for side, patch in zip(img_size, patch_size, strict=True))


def by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def mixed_precision() -> bool:
    """Whether this runs in a block of `paddle.amp.auto_cast`, which converts inputs itself."""
    return paddle.base.framework._dygraph_tracer()._amp_level != paddle.base.core.AmpLevel.O0


class PatchEmbed(nn.Layer):
    """Cut images into patches and project each linearly: [B, C, H, W] -> [B, N, D], N = (H/P)·(W/P), row by row.

    It is a convolution whose kernel and stride are the patch. Sizes are an int or (height, width).

    Args:
        img_size, patch_size: the size of the images that it expects, and of a patch.
        in_chans, embed_dim: channels C of an image, and width D of a token.
        bias: whether the projection has a bias.
        flatten: give [B, N, D]; otherwise the map [B, D, H/P, W/P].
        dynamic_img_size: accept images of any size that the patch divides.
        dynamic_img_pad: pad images with zeros at the right and bottom to a multiple of the patch.
        weight_init: a scheme of `vitlib.layers.initialization.SCHEMES`.

    Raises ValueError for sizes that do not fit each other. A call raises TypeError for anything but a floating-point
    tensor of the weights' precision, and ValueError for a wrong rank, channel count or image size and an empty batch.
    """

    def __init__(
        self,
        img_size: Size = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        *,
        bias: bool = True,
        flatten: bool = True,
        dynamic_img_size: bool = False,
        dynamic_img_pad: bool = False,
        weight_init: str = "timm",
    ) -> None:
        super().__init__()
        self.patch_size = to_pair(patch_size, "patch_size")
        for name, value in (("in_chans", in_chans), ("embed_dim", embed_dim)):
            if not is_positive_int(value):
                raise ValueError(f"{name}={value!r}: expected a positive int")
        self.in_chans, self.embed_dim, self.flatten = in_chans, embed_dim, flatten
        self.dynamic_img_size, self.dynamic_img_pad = dynamic_img_size, dynamic_img_pad
        self.set_image_size(img_size)
        self.proj = self.projection(in_chans, self.patch_size, bias, weight_init)

    def projection(self, in_chans: int, patch: tuple[int, int], bias: bool, weight_init: str) -> nn.Conv2D:
        """The convolution whose kernel and stride are the patch, to `embed_dim` channels."""
        fan_in = in_chans * patch[0] * patch[1]
        weight = attr(weight_init, "patch", fan_in, self.embed_dim)
        bias_attr = attr(weight_init, "patch_bias", fan_in, self.embed_dim) if bias else False
        return nn.Conv2D(in_chans, self.embed_dim, patch, stride=patch, weight_attr=weight, bias_attr=bias_attr)

    def set_image_size(self, img_size: Size) -> None:
        """Expect another image size from now on. Raises ValueError when it does not fit the patch."""
        img_size = to_pair(img_size, "img_size")
        self.grid_size = grid_of(img_size, self.patch_size, self.dynamic_img_pad)
        self.img_size = img_size

    @property
    def num_patches(self) -> int:
        """N for the expected image size."""
        return self.grid_size[0] * self.grid_size[1]

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x: [B, C, H, W] -> [B, N, D], or [B, D, H/P, W/P] with flatten=False"""
        self.check(x)
        x = self.proj(self.pad(x) if self.dynamic_img_pad else x)  # [B, D, H/P, W/P]
        return x.flatten(2).transpose([0, 2, 1]) if self.flatten else x

    def grid_for(self, x: paddle.Tensor) -> tuple[int, int] | tuple[paddle.Tensor, paddle.Tensor]:
        """The patch grid (rows, columns) of images [B, C, H, W]; scalar tensors where a graph leaves H or W open."""
        rows, columns = self.patch_size
        return (x.shape[2] + rows - 1) // rows, (x.shape[3] + columns - 1) // columns

    def pad(self, x: paddle.Tensor) -> paddle.Tensor:
        """Zeros at the right and bottom, enough for the last patch; the convolution leaves out the surplus."""
        return F.pad(x, [0, self.patch_size[1] - 1, 0, self.patch_size[0] - 1])

    @paddle.jit.not_to_static
    def check(self, x: paddle.Tensor) -> None:
        """Raises TypeError or ValueError for images that do not fit; a traced graph has -1 for sizes that are open."""
        if not hasattr(x, "stop_gradient"):
            raise TypeError(
                f"expected a paddle.Tensor [B, C, H, W], found {type(x).__name__}; "
                "a vitlib.Preprocess makes one from an image file"
            )
        shape = list(x.shape)
        if len(shape) != 4:
            raise ValueError(f"expected images [B, C, H, W], found a tensor of rank {len(shape)} with shape {shape}")
        if "float" not in str(x.dtype):
            raise TypeError(
                f"expected floating-point images, found {x.dtype}; normalise first (vitlib.Preprocess does), "
                "or convert with .astype('float32')"
            )
        weight = getattr(self.proj, "weight", None)
        if weight is not None and paddle.in_dynamic_mode() and x.dtype != weight.dtype and not mixed_precision():
            raise TypeError(
                f"expected images of {weight.dtype}, as the weights of this model, found {x.dtype}: convert them with "
                f".astype('{str(weight.dtype).rpartition('.')[2]}'), or the model with model.to(dtype=...)"
            )
        if shape[0] == 0:
            raise ValueError(f"expected at least one image, found an empty batch with shape {shape}")
        if shape[1] != self.in_chans:
            raise ValueError(
                f"expected images with in_chans={self.in_chans} channels, found {shape[1]} "
                f"(shape {shape}, read as [B, C, H, W])"
            )
        self.check_size(tuple(shape[2:]))

    def check_size(self, size: tuple[int, int]) -> None:
        """Raises ValueError when images of this size (-1: open until run time) are not accepted."""
        if -1 not in size and size != self.img_size:
            grid_of(size, self.patch_size, self.dynamic_img_pad)
        if self.dynamic_img_size or size == self.img_size:
            return
        found, remedy = by(size), f"call set_image_size({size}) to change it once"
        if -1 in size:
            found, remedy = "a graph that leaves height or width open", "trace it with that size"
        raise ValueError(
            f"expected images of {by(self.img_size)}, found {found}; build the model with dynamic_img_size=True to "
            f"accept any size, or {remedy}"
        )
