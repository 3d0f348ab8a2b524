"""A map of the patches laid over the image that it belongs to, in the place where the model saw it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...images import ImageSource, Preprocess, decode
from ...images.crop_box import crop_box
from ...models import VisionTransformer
from .captions import PAPER, Scale
from .colors import color_table
from .smooth import enlarged_levels

_STRENGTH, _RISE = 0.8, 0.7  # opacity of a level in [0, 1]: strength times level to the power of rise
_DIMMED, _PALE = 0.65, 0.7  # brightness of the photo under the colours; share of white outside
_LEAST_SIDE = 384  # smaller images are enlarged by a whole number, so that there is room for text


class Photo(NamedTuple):
    """An image as a person sees it, and where in it the patches lie.

    source: the decoded image, upright, RGB.
    image: the same in the size in which it is shown.
    box: the patch grid in pixels of the image, (left, top, right, bottom).
    """

    source: Image.Image
    image: Image.Image
    box: tuple[float, float, float, float]

    def fit(self, side: int) -> Photo:
        """The same with its longer side at `side` pixels."""
        factor = side / max(self.image.size)
        width, height = (max(1, round(factor * length)) for length in self.image.size)
        across, down = width / self.image.width, height / self.image.height
        left, top, right, bottom = self.box
        small = self.image.resize((width, height), Image.Resampling.LANCZOS)
        return Photo(self.source, small, (across * left, down * top, across * right, down * bottom))


def open_photo(model: VisionTransformer, source: ImageSource) -> Photo:
    """The image at its own resolution, or a whole multiple of it where it is small.

    Raises ValueError for a tensor and for a model of other than 1 or 3 channels, and as `model.preprocess` does.
    """
    preprocess = model.preprocess
    if hasattr(source, "stop_gradient"):
        raise ValueError(
            "found a tensor, expected an image as model.preprocess takes it (path, Pillow image, uint8 array): the "
            "picture shows the image itself, which preprocessing has cut and normalised"
        )
    if preprocess.in_chans not in (1, 3):
        raise ValueError(f"this model takes {preprocess.in_chans} channels, which make no image to draw on")
    decoded = image = decode(source)
    factor = math.ceil(_LEAST_SIDE / max(image.size))
    if factor > 1:
        image = image.resize((factor * image.width, factor * image.height), Image.Resampling.BICUBIC)
    left, top, right, bottom = grid_box(model, preprocess, (decoded.height, decoded.width))
    return Photo(decoded, image, (factor * left, factor * top, factor * right, factor * bottom))


def grid_box(
    model: VisionTransformer, preprocess: Preprocess, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The patch grid in pixels of an image of (height, width); larger than the crop where the model pads it."""
    left, top, right, bottom = crop_box(preprocess, size)
    height, width = preprocess.target_size
    rows, columns = model.patch_embed.patch_size
    down, across = math.ceil(height / rows) * rows / height, math.ceil(width / columns) * columns / width
    return left, top, left + across * (right - left), top + down * (bottom - top)


def overlay(photo: Photo, values: np.ndarray, scale: Scale) -> Image.Image:
    """The photo in grey, over it a map [h, w] of the patches in colours, and the rest of it pale; RGB, of its size.

    The map is smooth (`mitchell_matrix`): a single bright patch among dark ones shows about 0.8 of its value.
    """
    seen = _visible(photo)
    level = Image.fromarray(_placed(values, photo, seen, scale.low, scale.high))
    table = color_table(scale.colors)
    colored = Image.merge("RGB", [level.point(table[:, channel].tolist()) for channel in range(3)])
    opacity = level.point([round(255 * _STRENGTH * (i / 255) ** _RISE) for i in range(256)])
    part = photo.image.crop(seen).convert("L").point([round(_DIMMED * i) for i in range(256)]).convert("RGB")
    return _on_pale(photo, Image.composite(colored, part, opacity), seen)


def colored_patches(photo: Photo, colors: np.ndarray) -> Image.Image:
    """A colour [h, w, 3] for each patch, in [0, 1], where the patches lie in the photo; RGB, of its size."""
    seen = _visible(photo)
    planes = [_placed(colors[:, :, channel], photo, seen, 0, 1) for channel in range(3)]
    return _on_pale(photo, Image.fromarray(np.stack(planes, axis=2)), seen)


def _on_pale(photo: Photo, part: Image.Image, seen: tuple[int, int, int, int]) -> Image.Image:
    picture = Image.blend(photo.image.convert("L").convert("RGB"), Image.new("RGB", photo.image.size, PAPER), _PALE)
    picture.paste(part, seen[:2])
    return picture


def _visible(photo: Photo) -> tuple[int, int, int, int]:
    """Whole pixels of the image that the grid covers, at least one."""
    (left, right), (top, bottom) = (
        _whole(photo.box[axis], photo.box[axis + 2], photo.image.size[axis]) for axis in (0, 1)
    )
    return left, top, right, bottom


def _whole(start: float, end: float, length: int) -> tuple[int, int]:
    first = min(max(0, round(start)), length - 1)
    return first, max(first + 1, min(length, round(end)))


def _placed(values: np.ndarray, photo: Photo, seen: tuple[int, int, int, int], low: float, high: float) -> np.ndarray:
    """The map as levels at the pixels of a part of the image."""
    rows, columns = values.shape
    left, top, right, bottom = photo.box
    across, down = columns / (right - left), rows / (bottom - top)
    part = ((seen[0] - left) * across, (seen[1] - top) * down, (seen[2] - left) * across, (seen[3] - top) * down)
    return enlarged_levels(values, part, (seen[3] - seen[1], seen[2] - seen[0]), low, high)
