"""Whether an array is what a model's input takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..layers.patch_embed import by, grid_of
from .graph import Images


def check_images(images: Images, batch: Any) -> np.ndarray:
    """The batch as a contiguous array of the input's type.

    Raises TypeError for another kind of numbers and ValueError for another shape, each with a way out.
    """
    array = batch.numpy() if hasattr(batch, "numpy") else batch
    pixels = images.dtype == "uint8"
    layout = "[B, H, W, C] uint8" if pixels else "[B, C, H, W] float32"
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected an array {layout}, found {type(batch).__name__}; predict and embed take images")
    if pixels and array.dtype != np.uint8:
        raise TypeError(
            f"expected images {layout}, found {array.dtype}; this model normalises pixels of 0 to 255 itself"
        )
    if not pixels and array.dtype.kind != "f":
        raise TypeError(
            f"expected images {layout}, found {array.dtype}; normalise them first (model.preprocess does), or make the "
            "predictor or export with input_dtype='uint8'"
        )
    shape = list(array.shape)
    if array.ndim != 4:
        hint = "; add the batch axis with array[None]" if array.ndim == 3 else ""
        raise ValueError(f"expected images {layout}, found the shape {shape}{hint}")
    if shape[0] == 0:
        raise ValueError(f"expected at least one image, found an empty batch with shape {shape}")
    channels, size = (shape[3], shape[1:3]) if pixels else (shape[1], shape[2:])
    if channels != images.channels:
        other = shape[1] if pixels else shape[3]
        hint = "; the axes seem to be in the other order" if other == images.channels else ""
        raise ValueError(f"expected {images.channels} channels in {layout}, found {channels} in {shape}{hint}")
    if images.patch is not None and None in images.size:
        grid_of(tuple(size), images.patch)
    expected = tuple(given or side for given, side in zip(images.size, size, strict=True))
    if expected != tuple(size):
        raise ValueError(
            f"expected images of {by(images.size)}, found {by(size)}; make the predictor or export with that img_size, "
            "or with a model of dynamic_img_size=True"
        )
    return np.ascontiguousarray(array, images.dtype)
