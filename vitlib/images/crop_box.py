"""Where in an image the part lies that a model sees."""

from __future__ import annotations

from .preprocess import Preprocess
from .resize import crop_offsets, resized_size


def crop_box(preprocess: Preprocess, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of an upright image of (height, width) that becomes the model's input: (left, top, right, bottom) in
    pixels of the image, which reach beyond it where the preprocessing pads.

    A point (x, y) of the input, of width w and height h, is (left + x/w · (right - left), top + y/h · (bottom - top)).

    Raises ValueError for a Preprocess without a size.
    """
    target = preprocess.target_size
    full = resized_size(size, target, preprocess.crop_fraction, preprocess.resize)
    (top, bottom), (left, right) = (
        _span(length, whole, wanted) for length, whole, wanted in zip(size, full, target, strict=True)
    )
    return left, top, right, bottom


def _span(length: int, whole: int, wanted: int) -> tuple[float, float]:
    padding, start = crop_offsets(whole, wanted)
    scale = length / whole
    return (start - padding) * scale, (start - padding + wanted) * scale
