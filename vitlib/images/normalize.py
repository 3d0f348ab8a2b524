"""8-bit pixels -> the float array that a model takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def normalize(
    pixels: np.ndarray, mean: Sequence[float], std: Sequence[float], out: np.ndarray | None = None
) -> np.ndarray:
    """[H, W, C] or [H, W] uint8 -> (pixels / 255 - mean) / std, [C, H, W] float32, in `out` where it is given.

    Rounds as torchvision's `to_tensor` and `normalize` do, in that order of operations, so that results are equal to
    the last bit.
    """
    pixels = np.atleast_3d(pixels)
    values = np.empty((len(mean), *pixels.shape[:2]), np.float32) if out is None else out
    for channel, plane in enumerate(values):  # a plane at a time stays in the cache
        plane[...] = pixels[:, :, channel]
        plane /= np.float32(255)
        plane -= np.float32(mean[channel])
        plane /= np.float32(std[channel])
    return values
