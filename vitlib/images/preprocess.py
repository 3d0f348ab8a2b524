"""`Preprocess`: resizing, cropping and normalising before a model, as data that travels with the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .checks import check_name, check_number
from .decode import ImageSource, decode, split_channels
from .errors import ImageError
from .normalize import normalize
from .record import Record, check_mean_and_std, check_numbers, check_size, side_lengths
from .resize import INTERPOLATIONS, RESIZE_RULES, resize_and_crop

if TYPE_CHECKING:
    import paddle

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocess(Record):
    """Resize, centre crop, scale to 0..1, normalise: the evaluation transform of timm, torchvision and HF as a record.

    Called with one image or a flat list of them, it gives a `paddle.Tensor` [B, C, H, W] float32. An image is a path,
    the bytes of an image file, an open binary file, a Pillow image or a uint8 array [H, W] or [H, W, C]. The number of
    channels C is len(mean): 1 makes images grey, 3 makes them RGB, any other number takes arrays with just that many.

    The usual settings, for size 224:

    ===========================  =====================================================================
    timm ViT                     the defaults
    timm DeiT                    mean=IMAGENET_MEAN, std=IMAGENET_STD
    torchvision; facebook DeiT   the same, crop_fraction=224 / 256; interpolation="bilinear" for the first
    HF google/vit                resize="squash", crop_fraction=1.0, interpolation="bilinear"
    HF DeiT                      resize="squash", crop_fraction=224 / 256, mean=IMAGENET_MEAN, std=IMAGENET_STD
    ===========================  =====================================================================

    Frozen: `replace` makes a changed copy. Raises ValueError when a value cannot work, and TypeError, with the nearest
    name, for a field that does not exist.

    Args:
        size: Size of the model's input, an int or (height, width); None for the model's img_size. Default: None.
        crop_fraction: Part of the resized image that the crop keeps, in [0.001, 1] (timm: crop_pct). Default: 0.9.
        resize: "short" scales the short side to floor(size / crop_fraction), then crops the centre; "squash" scales
            both sides to it without keeping the aspect ratio, then crops the centre; "border" scales the long side to
            it and fills with the mean colour. Default: 'short'.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos", "box", "hamming" or another filter of the installed
            Pillow; antialiased. Default: 'bicubic'.
        mean: Subtracted from each channel, on the 0..1 scale. Default: (0.5, 0.5, 0.5).
        std: Divides each channel afterwards. Default: (0.5, 0.5, 0.5).
    """

    size: int | tuple[int, int] | None = None
    crop_fraction: float = 0.9
    resize: str = "short"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        checked = {
            "size": check_size(self.size),
            "crop_fraction": check_number("crop_fraction", self.crop_fraction, "[0.001, 1]"),
            "resize": check_name("resize", self.resize, RESIZE_RULES),
            "interpolation": check_name("interpolation", self.interpolation, tuple(INTERPOLATIONS)),
            "mean": check_numbers("mean", self.mean),
            "std": check_numbers("std", self.std),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        check_mean_and_std(self.mean, self.std)

    @property
    def in_chans(self) -> int:
        """Channels of the result: one per mean."""
        return len(self.mean)

    def __call__(self, images: ImageSource | Sequence[ImageSource]) -> paddle.Tensor:
        """One image -> [1, C, H, W], a list or tuple of B images -> [B, C, H, W]; float32.

        Raises ValueError when size is None, `ImageError` (a ValueError) for an image that cannot be used, naming it,
        and FileNotFoundError for a path that does not exist.
        """
        import paddle  # here, so that data-loader workers, which call `array`, do without it

        if not isinstance(images, (list, tuple)):
            return paddle.to_tensor(self.array(images)[np.newaxis])
        if not images:
            raise ImageError("the list of images is empty; expected at least one")
        batch = np.empty((len(images), self.in_chans, *self.target_size), np.float32)
        for index, image in enumerate(images):
            batch[index] = self._normalize(self._cropped(image, f"item {index} of the list, counted from 0"))
        return paddle.to_tensor(batch)

    def array(self, image: ImageSource) -> np.ndarray:
        """One image -> [C, H, W] float32, in NumPy alone. Raises as calling does."""
        return self._normalize(self._cropped(image))

    def crop(self, image: ImageSource) -> Image.Image:
        """One image -> the resized and cropped image that the model sees, before normalising; mode L or RGB.

        Raises as calling does, and for records of other than 1 or 3 channels, which no image can show.
        """
        if self.in_chans not in (1, 3):
            raise ValueError(f"{self.in_chans} channels make no image; use array(image), or 1 or 3 means and stds")
        cropped = self._cropped(image)[0]
        shared = cropped is image or isinstance(image, np.ndarray)
        return cropped.copy() if shared else cropped  # of its own memory: nobody draws on the caller's image

    def normalized(self, cropped: Image.Image) -> np.ndarray:
        """A crop of `crop` -> [C, H, W] float32, as `array` of the whole image."""
        return self._normalize([cropped])

    def with_channels(self, in_chans: int) -> Preprocess:
        """A copy for models of another number of channels: 1 takes the means of mean and std, more repeat them in turn,
        as first-layer weights are converted."""
        if in_chans == self.in_chans:
            return self
        mean, std = (
            (sum(values) / len(values),) if in_chans == 1 else (values * in_chans)[:in_chans]
            for values in (self.mean, self.std)
        )
        return self.replace(mean=mean, std=std)

    @property
    def target_size(self) -> tuple[int, int]:
        """(height, width) of the result. Raises ValueError when size is None."""
        if self.size is None:
            raise ValueError(
                "this Preprocess has no size; use preprocess.replace(size=224) with the size of your model, "
                "or model.preprocess, which has it"
            )
        return side_lengths(self.size)

    def _cropped(self, image: ImageSource, where: str = "") -> list[Image.Image]:
        """The cropped image; for other than 1 or 3 channels one grey image per channel."""
        size = self.target_size
        if self.in_chans in (1, 3):
            planes = [decode(image, "L" if self.in_chans == 1 else "RGB", where=where, share=True)]
            fills = [tuple(round(255 * value) for value in self.mean)]
        else:
            planes = split_channels(image, self.in_chans, where=where)
            fills = [(round(255 * value),) for value in self.mean]
        return [
            resize_and_crop(
                plane,
                size,
                crop_fraction=self.crop_fraction,
                rule=self.resize,
                interpolation=self.interpolation,
                fill=(fill if len(fill) > 1 else fill[0]) if self.resize == "border" else 0,
            )
            for plane, fill in zip(planes, fills, strict=True)
        ]

    def _normalize(self, planes: list[Image.Image]) -> np.ndarray:
        """Images of C channels together -> [C, H, W] float32."""
        if len(planes) == 1:
            return normalize(np.asarray(planes[0]), self.mean, self.std)
        return normalize(np.stack([np.asarray(plane) for plane in planes], axis=2), self.mean, self.std)
