"""`TrainTransform`: the augmentation of training images, from the file to the model's input, as one record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from .checks import check_name, check_number
from .color_jitter import ColorJitter
from .decode import ImageSource, decode
from .erasing import RandomErasing
from .generator import as_generator
from .normalize import normalize
from .preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from .rand_augment import RandAugment, ThreeAugment
from .random_crop import RandomResizedCrop, SimpleRandomCrop
from .record import Record, check_mean_and_std, check_numbers, check_size, side_lengths
from .resize import INTERPOLATIONS


@dataclass(frozen=True)
class TrainTransform(Record):
    """Crop, flip, augment, jitter, normalise, erase: timm's `create_transform(size, is_training=True)` as a record.

    The steps and their random draws are timm's; interpolation and erasing_mode have the defaults of its training
    script, which are not those of the function, and there is no colour jitter unless it is asked for.

    Called with one image, and with a NumPy generator or a seed, which then decides everything random. Called with the
    image alone, as the `transform` of any data set, it draws anew each time, in each worker of a `paddle.io.DataLoader`
    and in each epoch: from NumPy's global random state, so that `numpy.random.seed` makes a run repeatable.

    Images are given as for `Preprocess`: a path, the bytes of an image file, an open file, a Pillow image or a uint8
    array. len(mean) is the number of channels, 1 (grey) or 3 (RGB); what needs colour leaves grey as it is.

    =========  ===============================================================================
    DeiT       auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", erasing=0.25
    DeiT III   auto_augment="3a", color_jitter=0.3, interpolation="bicubic" (crop="simple" for its fine-tuning)
    =========  ===============================================================================

    Frozen: `replace` makes a changed copy. Raises ValueError when a value cannot work, and TypeError, with the nearest
    name, for a field that does not exist.

    Args:
        size: Size of the model's input, an int or (height, width). Default: 224.
        squash: Size, an int or (height, width), that the whole image is resized to before the crop, without keeping its
            aspect ratio; None for the crop of the image itself. Default: None.
        crop: "resized" is RandomResizedCrop; "simple" is SimpleRandomCrop (DeiT III). Default: 'resized'.
        scale: Area of the resized crop, (lowest, highest) part of the image. Default: (0.08, 1.0).
        ratio: Width / height of the resized crop, (lowest, highest). Default: (3 / 4, 4 / 3).
        interpolation: As in Preprocess, or "random": bilinear or bicubic, drawn for each image and each operation.
            Default: 'random'.
        hflip: Probability of mirroring left to right. Default: 0.5.
        vflip: Probability of mirroring top to bottom. Default: 0.0.
        auto_augment: RandAugment in timm's language, such as "rand-m9-mstd0.5-inc1"; "3a" is ThreeAugment; None for
            neither. Default: None.
        color_jitter: Jitter of brightness, contrast and saturation: one number, or one each and a fourth for the hue;
            None for none. As in timm, without effect beside a RandAugment (other than with the operations "3a").
            Default: None.
        mean: Subtracted from each channel, on the 0..1 scale. Default: (0.485, 0.456, 0.406).
        std: Divides each channel afterwards. Default: (0.229, 0.224, 0.225).
        erasing: Probability of RandomErasing. Default: 0.0.
        erasing_mode: Mode of RandomErasing: "pixel", "rand" or "const". Default: 'pixel'.
        erasing_count: Most rectangles that are erased in an image. Default: 1.
    """

    size: int | tuple[int, int] = 224
    squash: int | tuple[int, int] | None = None
    crop: str = "resized"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "random"
    hflip: float = 0.5
    vflip: float = 0.0
    auto_augment: str | None = None
    color_jitter: float | tuple[float, ...] | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    erasing: float = 0.0
    erasing_mode: str = "pixel"
    erasing_count: int = 1

    def __post_init__(self) -> None:
        for name in ("size", "squash"):
            object.__setattr__(self, name, check_size(getattr(self, name)))
        for name in ("mean", "std"):
            object.__setattr__(self, name, check_numbers(name, getattr(self, name)))
        check_mean_and_std(self.mean, self.std)
        if len(self.mean) not in (1, 3):
            raise ValueError(f"mean has {len(self.mean)} channels; expected 1 (grey) or 3 (RGB)")
        check_name("crop", self.crop, ("resized", "simple"))
        check_number("hflip", self.hflip, "[0, 1]")
        check_number("vflip", self.vflip, "[0, 1]")
        for name in ("scale", "ratio", "color_jitter"):
            if isinstance(getattr(self, name), (list, np.ndarray)):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        _ = self._crop, self._augment, self._jitter, self._erase  # their own checks run now

    @classmethod
    def from_preprocess(cls, preprocess: Preprocess, **fields: Any) -> TrainTransform:
        """With the size, interpolation, mean and std of an evaluation transform, such as `model.preprocess`.

        `fields` sets any others, or these. Raises ValueError where the record has no size and none is given.
        """
        shared = {name: getattr(preprocess, name) for name in ("size", "interpolation", "mean", "std")}
        return cls(**shared | fields)

    def __call__(
        self, image: ImageSource, rng: np.random.Generator | int | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """One image -> [C, H, W] float32; written to `out`, such as a row of a batch array, where it is given.

        Raises `ImageError` (a ValueError) for an image that cannot be used, naming it, and FileNotFoundError for a
        path that does not exist.
        """
        rng = as_generator(rng)
        augmented = self.augment(image, rng)
        shape = (len(self.mean), augmented.height, augmented.width)
        if out is not None and (out.shape != shape or out.dtype != np.float32):
            raise ValueError(f"out: {out.dtype} {list(out.shape)}; expected float32 {list(shape)}")
        values = normalize(np.asarray(augmented), self.mean, self.std, out)
        return self._erase(values, rng) if self._erase else values

    def augment(self, image: ImageSource, rng: np.random.Generator | int | None = None) -> Image.Image:
        """One image -> the same before normalising and erasing, mode L or RGB; for looking at. Raises as calling."""
        rng = as_generator(rng)
        result = self._crop(self.first(image), rng)
        if self.hflip and rng.random() < self.hflip:
            result = result.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.vflip and rng.random() < self.vflip:
            result = result.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        if self._augment:
            result = self._augment(result, rng)
        return self._jitter(result, rng) if self._jitter else result

    def first(self, image: ImageSource) -> Image.Image:
        """One image -> the same decoded and squashed, mode L or RGB: all of `augment` that nothing random changes."""
        result = decode(image, "L" if len(self.mean) == 1 else "RGB", share=True)
        if self.squash is None:
            return result
        height, width = side_lengths(self.squash)
        if (result.height, result.width) == (height, width):
            return result
        return result.resize((width, height), INTERPOLATIONS.get(self.interpolation, Image.Resampling.BICUBIC))

    def to_cache(self, image: ImageSource) -> Image.Image:
        """One image -> its form for an `ImageFolder(cache=...)`: squashed; without `squash`, shrunk to twice the size
        of the model's input, or more, so that the smallest crop of `scale` has the pixels of the input: 3.5 times for
        0.08. Calling with it gives the same as with the whole image where it was squashed, and nearly the same where
        it was shrunk."""
        result = self.first(image)
        height, width = side_lengths(self.size)
        times = 2 if self.crop == "simple" else max(2, self.scale[0] ** -0.5)
        factor = max(times * height / result.height, times * width / result.width)
        if self.squash is not None or factor >= 1:
            return result
        shape = (max(1, round(result.width * factor)), max(1, round(result.height * factor)))
        return result.resize(shape, Image.Resampling.BICUBIC)

    @cached_property
    def _crop(self) -> RandomResizedCrop | SimpleRandomCrop:
        if self.crop == "simple":
            return SimpleRandomCrop(self.size, interpolation=self.interpolation)
        return RandomResizedCrop(self.size, self.scale, self.ratio, self.interpolation)

    @cached_property
    def _augment(self) -> RandAugment | ThreeAugment | None:
        if self.auto_augment is None:
            return None
        if self.auto_augment == "3a":
            return ThreeAugment()
        fill = tuple(min(255, round(255 * value)) for value in self.mean)
        return RandAugment.from_string(
            self.auto_augment, interpolation=self.interpolation, fill=fill if len(fill) > 1 else fill[0]
        )

    @cached_property
    def _jitter(self) -> ColorJitter | None:
        if not self.color_jitter:
            return None
        amounts = self.color_jitter if isinstance(self.color_jitter, tuple) else (self.color_jitter,) * 3
        if len(amounts) not in (3, 4):
            raise ValueError(
                f"color_jitter={self.color_jitter!r}: expected a number, or three or four: brightness, contrast, "
                "saturation, hue"
            )
        jitter = ColorJitter(*amounts)
        return jitter if self.auto_augment is None or "3a" in self.auto_augment else None

    @cached_property
    def _erase(self) -> RandomErasing | None:
        erase = RandomErasing(self.erasing, mode=self.erasing_mode, count=self.erasing_count)
        return erase if self.erasing else None
