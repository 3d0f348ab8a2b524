"""RandAugment (arXiv 1909.13719) in timm's dialect, and the 3-Augment of DeiT III (arXiv 2204.07118)."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from .checks import check_count, check_name, check_number
from .operations import GEOMETRIC, TONAL, Fill, desaturate, gaussian_blur, solarize
from .random_crop import draw_interpolation

_PLAIN = (
    "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast",
    "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel",
)  # fmt: skip
_INCREASING = tuple(name + "Increasing" if name + "Increasing" in TONAL else name for name in _PLAIN)
# timm's other sets ("t" in its strings). Weighted operations are drawn without repeating one.
_SETS = {
    "3a": ("SolarizeIncreasing", "Desaturate", "GaussianBlur"),
    "3aw": {
        "SolarizeIncreasing": 6, "Desaturate": 6, "GaussianBlur": 6, "Rotate": 3, "ShearX": 2, "ShearY": 2,
        "PosterizeIncreasing": 1, "AutoContrast": 1, "ColorIncreasing": 1, "SharpnessIncreasing": 1,
        "ContrastIncreasing": 1, "BrightnessIncreasing": 1, "Equalize": 1, "Invert": 1,
    },
    "weights": {
        "Rotate": 3, "ShearX": 2, "ShearY": 2, "TranslateXRel": 1, "TranslateYRel": 1, "ColorIncreasing": 0.25,
        "SharpnessIncreasing": 0.25, "AutoContrast": 0.25, "SolarizeIncreasing": 0.05, "SolarizeAdd": 0.05,
        "ContrastIncreasing": 0.05, "BrightnessIncreasing": 0.05, "Equalize": 0.05, "PosterizeIncreasing": 0.05,
        "Invert": 0.05,
    },
}  # fmt: skip


@dataclass(frozen=True)
class RandAugment:
    """`layers` operations drawn from 15, each applied with probability `prob` at a magnitude.

    Equals timm's `rand_augment_transform`; `from_string` reads its strings. Without weights the same operation may be
    drawn twice.

    Args:
        magnitude: from 0 to 10, or to `max_magnitude`.
        layers: operations drawn for each image.
        magnitude_std: standard deviation of the magnitude; infinity draws it uniformly from 0 to `magnitude`.
        max_magnitude: the drawn magnitude is clipped to [0, max_magnitude].
        increasing: posterize, solarize and the enhancements in their variants that grow with the magnitude.
        prob: of each drawn operation to be applied.
        operations: "standard", or timm's sets "weights", "3a" and "3aw".
        interpolation: of rotating, shearing and shifting: a name that `Preprocess` knows ("nearest", "bilinear" or
            "bicubic"), or "random": bilinear or bicubic, drawn each time.
        fill: where these leave a hole, whole numbers 0..255: one for all channels, or three, whose mean grey images
            take.

    Raises ValueError for values that cannot work.
    """

    magnitude: float = 10
    layers: int = 2
    magnitude_std: float = 0.0
    max_magnitude: float = 10
    increasing: bool = False
    prob: float = 0.5
    operations: str = "standard"
    interpolation: str = "random"
    fill: Fill = (128, 128, 128)

    def __post_init__(self) -> None:
        for name in ("magnitude", "max_magnitude"):
            check_number(name, getattr(self, name), "[0, inf)")
        check_number("magnitude_std", self.magnitude_std, "[0, inf]")
        bands = self.fill if isinstance(self.fill, (list, tuple)) else (self.fill,)
        whole = all(isinstance(band, numbers.Integral) and 0 <= band <= 255 for band in bands)
        if len(bands) not in (1, 3) or not whole:
            raise ValueError(f"fill={self.fill!r}: expected a whole number from 0 to 255, or three, one per channel")
        object.__setattr__(self, "fill", tuple(map(int, bands)))
        check_number("prob", self.prob, "[0, 1]")
        check_count("layers", self.layers)
        check_name("operations", self.operations, ("standard", *_SETS))
        check_name("interpolation", self.interpolation, ("random", "nearest", "bilinear", "bicubic"))
        names, weights = self._choices
        if weights is not None and self.layers > len(names):
            raise ValueError(
                f"layers={self.layers}: operations={self.operations!r} are {len(names)}, drawn without repeating one"
            )

    @classmethod
    def from_string(cls, text: str, *, interpolation: str = "random", fill: Fill = (128, 128, 128)) -> RandAugment:
        """Reads timm's language: "rand" and parts in any order, with dashes between them.

        m9 (magnitude), n2 (layers), p0.5 (probability), mstd0.5 (standard deviation of the magnitude; above 100:
        uniform), mmax10 (highest magnitude), inc1 (increasing variants), tweights, t3a, t3aw (the operations). DeiT's
        is "rand-m9-mstd0.5-inc1". Raises ValueError naming a part that is unknown, cannot be read, or comes twice.
        """
        head, *parts = text.split("-") if isinstance(text, str) else [None]
        if head != "rand":
            raise ValueError(f'{text!r}: expected "rand" and parts such as m9, as in "rand-m9-mstd0.5-inc1"')
        fields: dict[str, Any] = {}
        for part in parts:
            name, value = _read_part(part, text)
            if name in fields:
                raise ValueError(f"{text!r}: the part {part!r} sets {name} a second time; keep one")
            fields[name] = value
        return cls(**fields, interpolation=interpolation, fill=fill)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A Pillow image, mode RGB or L -> one of the same size and mode."""
        names, weights = self._choices
        if weights is None:
            chosen = rng.integers(0, len(names), self.layers)
        else:
            chosen = rng.choice(len(names), self.layers, replace=False, p=weights)
        for index in chosen:
            if self.prob == 1 or rng.random() <= self.prob:
                image = self._apply(names[index], image, rng)
        return image

    def _apply(self, name: str, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        magnitude = self.magnitude
        if math.isinf(self.magnitude_std):
            magnitude = rng.uniform(0, magnitude)
        elif self.magnitude_std > 0:
            magnitude = rng.normal(magnitude, self.magnitude_std)
        level = max(0.0, min(magnitude, self.max_magnitude))
        if name in GEOMETRIC:
            operation, argument = GEOMETRIC[name]
            fill = self._fill(len(image.getbands()))
            return operation(image, argument(level, rng), draw_interpolation(self.interpolation, rng), fill)
        operation, argument = TONAL[name]
        return operation(image) if argument is None else operation(image, argument(level, rng))

    def _fill(self, channels: int) -> Fill:
        """The fill colour of an image of that many channels: for grey, the mean of three."""
        if channels == 1:
            return round(sum(self.fill) / len(self.fill))
        return self.fill * channels if len(self.fill) == 1 else self.fill

    @cached_property
    def _choices(self) -> tuple[tuple[str, ...], np.ndarray | None]:
        """The operations to draw from and their probabilities; None: equal ones."""
        if self.operations == "standard":
            return (_INCREASING if self.increasing else _PLAIN), None
        choices = _SETS[self.operations]
        if isinstance(choices, tuple):
            return choices, None
        weights = np.array(list(choices.values()), float)
        return tuple(choices), weights / weights.sum()


_PARTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "m": ("magnitude", int),
    "n": ("layers", int),
    "p": ("prob", float),
    "mstd": ("magnitude_std", lambda text: math.inf if float(text) > 100 else float(text)),
    "mmax": ("max_magnitude", lambda text: int(text) or 10),  # 0 stands for the default, as in timm
    "inc": ("increasing", lambda text: bool(int(text))),
    "t": ("operations", str),
}


def _read_part(part: str, text: str) -> tuple[str, Any]:
    key, value = part[:1], part[1:]
    if key != "t":
        key, value = re.fullmatch(r"([a-z]*)(.*)", part, re.DOTALL).groups()
    if key not in _PARTS or (key == "t" and value not in _SETS):
        known = ", ".join(_PARTS) + " (" + ", ".join("t" + name for name in _SETS) + ")"
        raise ValueError(f"{text!r}: unknown part {part!r}; known are {known}, each followed by its value")
    name, read = _PARTS[key]
    try:
        return name, read(value)
    except ValueError:
        kind = "number" if key in ("p", "mstd") else "whole number"
        raise ValueError(f"{text!r}: the part {part!r}: expected a {kind} after {key!r}, found {value!r}") from None


class ThreeAugment:
    """DeiT III's 3-Augment: grey, solarised above 128, or blurred with a radius uniform in [0.1, 2]; one of them.

    Equals the choice in `new_data_aug_generator` of facebook's DeiT code and timm's "3a", which are the same. Grey
    images (mode L) stay as they are in a third of the cases.
    """

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A Pillow image, mode RGB or L -> one of the same size and mode."""
        choice = rng.integers(3)
        if choice == 0:
            return solarize(image, 128)
        if choice == 1:
            return desaturate(image, 1.0)
        return gaussian_blur(image, rng.uniform(0.1, 2.0))
