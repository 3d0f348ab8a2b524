"""Random brightness, contrast, saturation and hue, in random order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .checks import check_number, check_range
from .operations import brightness, color, contrast, hue

_PROPERTIES = ("brightness", "contrast", "saturation", "hue")
_ADJUST = (brightness, contrast, color, hue)


@dataclass(frozen=True)
class ColorJitter:
    """Changes brightness, contrast, saturation and hue by random factors in random order, as torchvision's.

    Args:
        brightness, contrast, saturation: a number x, at least 0: the factor is uniform in [max(0, 1 - x), 1 + x]; or
            its range (lowest, highest).
        hue: a number x in [0, 0.5]: the turn is uniform in [-x, x] of the circle; or its range within [-0.5, 0.5].

    0, or a range of no change, leaves a property alone. Raises ValueError for values that cannot work.
    """

    brightness: float | tuple[float, float] = 0.0
    contrast: float | tuple[float, float] = 0.0
    saturation: float | tuple[float, float] = 0.0
    hue: float | tuple[float, float] = 0.0

    def __post_init__(self) -> None:
        for name in _PROPERTIES:
            value = getattr(self, name)
            numbers, ranges = ("[0, 0.5]", "[-0.5, 0.5]") if name == "hue" else ("[0, inf)", "[0, inf)")
            is_range = isinstance(value, (tuple, list))
            checked = check_range(name, value, ranges) if is_range else check_number(name, value, numbers)
            object.__setattr__(self, name, checked)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A Pillow image, mode RGB or L -> one of the same size and mode."""
        order = rng.permutation(len(_PROPERTIES))
        ranges = [self._range(name) for name in _PROPERTIES]
        amounts = [None if drawn_from is None else rng.uniform(*drawn_from) for drawn_from in ranges]
        for index in order:
            if amounts[index] is not None:
                image = _ADJUST[index](image, amounts[index])
        return image

    def _range(self, name: str) -> tuple[float, float] | None:
        """The range that the amount is drawn from; None where it changes nothing."""
        value, neutral = getattr(self, name), 0.0 if name == "hue" else 1.0
        if not isinstance(value, tuple):
            value = (-value, value) if name == "hue" else (max(0.0, 1.0 - value), 1.0 + value)
        return None if value == (neutral, neutral) else value
