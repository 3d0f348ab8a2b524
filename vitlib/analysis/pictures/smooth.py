"""Smooth enlargement of a map of patches to pixels."""

from __future__ import annotations

import numpy as np

_ROWS = 256  # computed at once, so that memory stays that of the 8-bit result


def mitchell_matrix(count: int, start: float, end: float, pixels: int) -> np.ndarray:
    """The matrix [pixels, count] that reads `count` patches on a line at evenly spread places from `start` to `end`,
    in patches; its rows sum to 1.

    The cubic filter of Mitchell and Netravali (1988, B = C = 1/3), which neither rings nor shows the grid. The first
    and the last patch go on beyond the ends.
    """
    centres = start + (np.arange(pixels) + 0.5) * ((end - start) / pixels) - 0.5
    first = np.floor(centres).astype(int) - 1
    matrix = np.zeros([pixels, count], "float32")
    for tap in range(4):
        x = np.abs(centres - (first + tap))
        near, far = (21 * x**3 - 36 * x**2 + 16) / 18, (-7 * x**3 + 36 * x**2 - 60 * x + 32) / 18
        np.add.at(matrix, (np.arange(pixels), (first + tap).clip(0, count - 1)), np.where(x < 1, near, far))
    return matrix


def enlarged_levels(
    values: np.ndarray, part: tuple[float, float, float, float], size: tuple[int, int], low: float, high: float
) -> np.ndarray:
    """A map [h, w] as levels 0 (low) to 255 (high) of so many pixels (height, width): uint8.

    part: the part of the map that the pixels cover, (left, top, right, bottom) in patches.
    """
    rows = mitchell_matrix(values.shape[0], part[1], part[3], size[0])
    columns = mitchell_matrix(values.shape[1], part[0], part[2], size[1])
    across = np.asarray(values, "float32") @ columns.T  # [h, width]
    scale = 255 / (high - low) if high > low else 0.0
    result = np.empty(size, "uint8")
    for start in range(0, size[0], _ROWS):
        block = (rows[start : start + _ROWS] @ across - low) * scale
        result[start : start + _ROWS] = np.rint(block).clip(0, 255)
    return result
