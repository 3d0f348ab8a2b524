"""timm's augmentation operations, and how a magnitude becomes the argument of each.

Equal to `timm.data.auto_augment` pixel for pixel for the same argument; both call Pillow. `TONAL` operations take
(image, argument), `GEOMETRIC` ones (image, argument, method, fill); images are "RGB" or "L", and what needs colour
leaves grey as it is. The levels of RandAugment (arXiv 1909.13719) run from 0 to 10, or higher where asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Fill: TypeAlias = int | tuple[int, ...]
_AFFINE = Image.Transform.AFFINE


def shear_x(image: Image.Image, factor: float, method: Image.Resampling, fill: Fill) -> Image.Image:
    return image.transform(image.size, _AFFINE, (1, factor, 0, 0, 1, 0), method, fillcolor=fill)


def shear_y(image: Image.Image, factor: float, method: Image.Resampling, fill: Fill) -> Image.Image:
    return image.transform(image.size, _AFFINE, (1, 0, 0, factor, 1, 0), method, fillcolor=fill)


def translate_x(image: Image.Image, part: float, method: Image.Resampling, fill: Fill) -> Image.Image:
    """By a part of the width, to the left where positive."""
    return image.transform(image.size, _AFFINE, (1, 0, part * image.width, 0, 1, 0), method, fillcolor=fill)


def translate_y(image: Image.Image, part: float, method: Image.Resampling, fill: Fill) -> Image.Image:
    """By a part of the height, upwards where positive."""
    return image.transform(image.size, _AFFINE, (1, 0, 0, 0, 1, part * image.height), method, fillcolor=fill)


def rotate(image: Image.Image, degrees: float, method: Image.Resampling, fill: Fill) -> Image.Image:
    """Counter-clockwise, about the centre."""
    return image.rotate(degrees, method, fillcolor=fill)


def auto_contrast(image: Image.Image, _: None = None) -> Image.Image:
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, _: None = None) -> Image.Image:
    return ImageOps.equalize(image)


def invert(image: Image.Image, _: None = None) -> Image.Image:
    return ImageOps.invert(image)


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keeps the highest `bits` bits of each value; 0 gives black."""
    if bits >= 8:
        return image
    # Not ImageOps.posterize: since Pillow 13 it raises for 0 bits, which RandAugment's level 10 asks for.
    mask = 256 - (1 << (8 - bits))
    return image.point([value & mask for value in range(256)] * len(image.getbands()))


def solarize(image: Image.Image, threshold: int) -> Image.Image:
    """Inverts the values from `threshold` on."""
    return ImageOps.solarize(image, threshold)


def solarize_add(image: Image.Image, add: int) -> Image.Image:
    """Adds to the values below 128, up to 255."""
    table = [min(255, value + add) if value < 128 else value for value in range(256)]
    return image.point(table * len(image.getbands()))


def color(image: Image.Image, factor: float) -> Image.Image:
    """0 gives grey, 1 the image itself, more than 1 stronger colours."""
    return image if image.mode == "L" else ImageEnhance.Color(image).enhance(factor)


def desaturate(image: Image.Image, amount: float) -> Image.Image:
    """0 gives the image itself, 1 grey."""
    return color(image, min(1.0, max(0.0, 1.0 - amount)))


def contrast(image: Image.Image, factor: float) -> Image.Image:
    """0 gives the mean grey, 1 the image itself."""
    return ImageEnhance.Contrast(image).enhance(factor)


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """0 gives black, 1 the image itself."""
    return ImageEnhance.Brightness(image).enhance(factor)


def sharpness(image: Image.Image, factor: float) -> Image.Image:
    """0 gives a smoothed image, 1 the image itself, more than 1 a sharpened one."""
    return ImageEnhance.Sharpness(image).enhance(factor)


def gaussian_blur(image: Image.Image, radius: float) -> Image.Image:
    """Radius in pixels: the standard deviation."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def hue(image: Image.Image, shift: float) -> Image.Image:
    """Turns the hue by `shift` of the circle, in [-0.5, 0.5]; equal to torchvision's `adjust_hue` on images."""
    if image.mode == "L":
        return image
    hues, saturations, values = image.convert("HSV").split()
    hues = hues.point([(value + int(shift * 255)) % 256 for value in range(256)])
    return Image.merge("HSV", (hues, saturations, values)).convert("RGB")


def _signed(largest: float) -> Callable[[float, np.random.Generator], float]:
    """Level 10 means `largest`; the sign is drawn."""
    return lambda level, rng: (-1 if rng.random() > 0.5 else 1) * (level / 10 * largest)


def _enhance(level: float, rng: np.random.Generator) -> float:
    return level / 10 * 1.8 + 0.1


def _enhance_increasing(level: float, rng: np.random.Generator) -> float:
    """Away from 1, "no change", to either side."""
    change = level / 10 * 0.9
    return max(0.1, 1.0 + (-change if rng.random() > 0.5 else change))


def _bits(level: float, rng: np.random.Generator) -> int:
    return int(level / 10 * 4)


def _threshold(level: float, rng: np.random.Generator) -> int:
    return min(256, int(level / 10 * 256))


def _between(low: float, high: float) -> Callable[[float, np.random.Generator], float]:
    return lambda level, rng: max(low, min(high, low + (high - low) * (level / 10)))


GEOMETRIC = {
    "Rotate": (rotate, _signed(30.0)),
    "ShearX": (shear_x, _signed(0.3)),
    "ShearY": (shear_y, _signed(0.3)),
    "TranslateXRel": (translate_x, _signed(0.45)),
    "TranslateYRel": (translate_y, _signed(0.45)),
}
# "Increasing" variants change an image more at higher levels; some of the others change it less.
TONAL = {
    "AutoContrast": (auto_contrast, None),
    "Equalize": (equalize, None),
    "Invert": (invert, None),
    "Posterize": (posterize, _bits),
    "PosterizeIncreasing": (posterize, lambda level, rng: 4 - _bits(level, rng)),
    "Solarize": (solarize, _threshold),
    "SolarizeIncreasing": (solarize, lambda level, rng: 256 - _threshold(level, rng)),
    "SolarizeAdd": (solarize_add, lambda level, rng: min(128, int(level / 10 * 110))),
    "Color": (color, _enhance),
    "ColorIncreasing": (color, _enhance_increasing),
    "Contrast": (contrast, _enhance),
    "ContrastIncreasing": (contrast, _enhance_increasing),
    "Brightness": (brightness, _enhance),
    "BrightnessIncreasing": (brightness, _enhance_increasing),
    "Sharpness": (sharpness, _enhance),
    "SharpnessIncreasing": (sharpness, _enhance_increasing),
    "Desaturate": (desaturate, _between(0.5, 1.0)),
    "GaussianBlur": (gaussian_blur, _between(0.1, 2.0)),
}
