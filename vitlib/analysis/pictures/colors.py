"""Colour maps: values in [0, 1] to RGB. Brightness grows evenly with the value, so that they also read in grey."""

from __future__ import annotations

import numpy as np

# Eleven even steps of matplotlib's maps of these names (CC0)
_MAPS = {
    "inferno": "000004 160b39 420a68 6a176e 932667 bc3754 dd513a f37819 fca50a f6d746 fcffa4",
    "viridis": "440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725",
}


def color_table(name: str) -> np.ndarray:
    """The colours of a map for the levels 0 to 255: [256, 3] uint8."""
    steps = np.array([[*bytes.fromhex(code)] for code in _MAPS[name].split()], "float64")
    at, places = np.linspace(0, 1, 256), np.linspace(0, 1, len(steps))
    return np.stack([np.interp(at, places, steps[:, i]) for i in range(3)], axis=1).round().astype("uint8")


def levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values of any shape as levels 0 to 255, from low to high; values beyond are at the ends."""
    span = high - low
    scaled = (np.asarray(values, "float64") - low) / span if span > 0 else np.zeros(np.shape(values))
    return (255 * scaled.clip(0, 1)).round().astype("uint8")
