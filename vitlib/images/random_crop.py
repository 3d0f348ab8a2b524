"""Random crops for training: the resized part of any area and aspect, and DeiT III's simple random crop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .checks import check_count, check_name, check_range
from .record import check_size, side_lengths
from .resize import INTERPOLATIONS, WHOLE_UP_TO, resize_part, resized_size

# "random" is drawn for each image from these two, as in timm.
RANDOM_INTERPOLATIONS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
TRAIN_INTERPOLATIONS = ("random", *INTERPOLATIONS)


def draw_interpolation(interpolation: str, rng: np.random.Generator) -> Image.Resampling:
    """Pillow's method of that name; "random" draws bilinear or bicubic."""
    if interpolation == "random":
        return RANDOM_INTERPOLATIONS[rng.integers(2)]
    return INTERPOLATIONS[interpolation]


@dataclass(frozen=True)
class RandomResizedCrop:
    """A part of the image of random area and aspect ratio, at a random place, resized to `size`.

    Equals timm's `RandomResizedCropAndInterpolation` and torchvision's `RandomResizedCrop`: ten attempts with the area
    uniform in `scale` times the image's, the aspect ratio log-uniform in `ratio`; then the largest central part
    whose aspect ratio lies in `ratio`. (Inception, arXiv 1409.4842, section 6.)

    Args:
        size: of the result, int or (height, width).
        scale: (lowest, highest) part of the area, in [0, 1].
        ratio: (lowest, highest) width / height, from 1e-6 to 1e6.
        interpolation: a name that `Preprocess` knows, or "random": bilinear or bicubic, drawn for each image.

    Raises ValueError for values that cannot work.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "random"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _check_crop_size(self.size))
        object.__setattr__(self, "scale", check_range("scale", self.scale, "[0, 1]"))
        object.__setattr__(self, "ratio", check_range("ratio", self.ratio, "[1e-6, 1e6]"))
        check_name("interpolation", self.interpolation, TRAIN_INTERPOLATIONS)

    def box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """The part to cut from an image of that size, as (left, top, right, bottom)."""
        log_ratio = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = rng.uniform(*self.scale) * (width * height)
            aspect = math.exp(rng.uniform(*log_ratio))
            part_width = round(math.sqrt(area * aspect))
            part_height = round(math.sqrt(area / aspect))
            # timm and torchvision do not ask for at least one pixel and fail on images of very few
            if 0 < part_width <= width and 0 < part_height <= height:
                top = int(rng.integers(0, height - part_height + 1))
                left = int(rng.integers(0, width - part_width + 1))
                return left, top, left + part_width, top + part_height
        part_width, part_height = width, height
        if width / height < self.ratio[0]:
            part_height = max(1, round(width / self.ratio[0]))
        elif width / height > self.ratio[1]:
            part_width = max(1, round(height * self.ratio[1]))
        left, top = (width - part_width) // 2, (height - part_height) // 2
        return left, top, left + part_width, top + part_height

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A Pillow image of any size -> one of `size`."""
        height, width = side_lengths(self.size)
        box = self.box(image.height, image.width, rng)
        method = draw_interpolation(self.interpolation, rng)
        # Not resize(box=...): it is no faster and lets pixels outside the box shine into the edges.
        part = image if box == (0, 0, image.width, image.height) else image.crop(box)
        return part.resize((width, height), method)


@dataclass(frozen=True)
class SimpleRandomCrop:
    """The short side resized to `size`, `padding` mirrored pixels around it, and a random crop of `size`.

    Equals DeiT III's "simple random crop" (arXiv 2204.07118, section 3.2; `--src` in facebook's code): torchvision's
    `Resize(size)` and `RandomCrop(size, padding=4, padding_mode="reflect")`.

    Args:
        size: of the result, int or (height, width).
        padding: pixels on each side, below the size.
        interpolation: a name that `Preprocess` knows, or "random": bilinear or bicubic, drawn for each image.

    Raises ValueError for values that cannot work.
    """

    size: int | tuple[int, int]
    padding: int = 4
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _check_crop_size(self.size))
        smallest = min(side_lengths(self.size))
        if check_count("padding", self.padding) >= smallest:
            raise ValueError(f"padding={self.padding!r}: expected fewer pixels than the size, {self.size}")
        check_name("interpolation", self.interpolation, TRAIN_INTERPOLATIONS)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A Pillow image of any size -> one of `size`."""
        height, width = side_lengths(self.size)
        method = draw_interpolation(self.interpolation, rng)
        full = resized_size((image.height, image.width), (height, width), 1.0, "short")
        top = int(rng.integers(0, full[0] + 2 * self.padding - height + 1)) - self.padding
        left = int(rng.integers(0, full[1] + 2 * self.padding - width + 1)) - self.padding
        if full[0] * full[1] > WHOLE_UP_TO:  # what of it lies in the crop, mirrored pixels included
            start = max(0, top), max(0, left)
            stop = min(full[0], top + height), min(full[1], left + width)
            image = resize_part(image, full, start, (stop[0] - start[0], stop[1] - start[1]), method)
            top, left = top - start[0], left - start[1]
        elif full != (image.height, image.width):
            image = image.resize((full[1], full[0]), method)
        return _crop_mirrored(image, left, top, left + width, top + height)


def _check_crop_size(size: Any) -> int | tuple[int, int]:
    checked = check_size(size)
    if checked is None:
        raise ValueError("size=None: expected an int or (height, width)")
    return checked


def _crop_mirrored(image: Image.Image, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """A crop that may reach over the edges, where the image is mirrored about its outermost pixels."""
    if left >= 0 and top >= 0 and right <= image.width and bottom <= image.height:
        return image.crop((left, top, right, bottom))
    rows, columns = np.abs(np.arange(top, bottom)), np.abs(np.arange(left, right))
    rows = np.minimum(rows, 2 * (image.height - 1) - rows)
    columns = np.minimum(columns, 2 * (image.width - 1) - columns)
    return Image.fromarray(np.asarray(image)[rows[:, None], columns])
