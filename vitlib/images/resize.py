"""Resize rules of evaluation: short side, squash, border; and the centre crop. Sizes are (height, width).

The resampling is Pillow's, as in timm, torchvision's presets and transformers' Pillow processors. Pillow before 13
always resized along the width first; 13 picks the cheaper order, which changes some shapes by one grey level and, with
bicubic at hard edges, by up to five (mean 0.17).
"""

from __future__ import annotations

import math

from PIL import Image

INTERPOLATIONS = {method.name.lower(): method for method in Image.Resampling}
RESIZE_RULES = ("short", "squash", "border")

# Of the resized image before its crop. Above it (a strip 300 times longer than wide) only the part around the crop
# is computed, which gives the same pixels in bounded memory, up to the rounding of coordinates.
WHOLE_UP_TO = 1 << 24


def resized_size(image: tuple[int, int], size: tuple[int, int], crop_fraction: float, rule: str) -> tuple[int, int]:
    """The size that an image of (height, width) is resized to, before the centre crop to `size`.

    As timm's `transforms_imagenet_eval`: with "short", a square size takes torchvision's rule (short side
    floor(size / crop_fraction), long side truncated), any other size timm's `ResizeKeepRatio` (the side that needs it
    is matched, both are rounded half to even).
    """
    height, width = image
    target = resize_target(size, crop_fraction)
    if rule == "squash":
        return target
    if rule == "short" and target[0] == target[1]:
        short = target[0]
        if width <= height:
            return int(short * height / width), short
        return short, int(short * width / height)
    ratios = (height / target[0], width / target[1])
    ratio = max(ratios) if rule == "border" else min(ratios)
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def resize_target(size: tuple[int, int], crop_fraction: float) -> tuple[int, int]:
    """The (height, width) that a resize rule aims at, before the centre crop to `size`."""
    return math.floor(size[0] / crop_fraction), math.floor(size[1] / crop_fraction)


def exact_fraction(crop: int, full: int) -> float:
    """The `crop_fraction` for a resize to `full` pixels, at least `crop`, and a crop of `crop`.

    Their quotient alone is rounded: floor(224 / (224 / 400)) is 399.
    """
    fraction = crop / full
    return fraction if math.floor(crop / fraction) == full else math.nextafter(fraction, 0)


def resize_and_crop(
    image: Image.Image,
    size: tuple[int, int],
    *,
    crop_fraction: float,
    rule: str,
    interpolation: str,
    fill: int | tuple[int, ...] = 0,
) -> Image.Image:
    """`image` resized by `rule`, then its centre cut to `size`; where it is smaller, `fill` is put around it."""
    method = INTERPOLATIONS[interpolation]
    full = resized_size((image.height, image.width), size, crop_fraction, rule)
    covers = rule == "short" or (full[0] >= size[0] and full[1] >= size[1])
    if covers and full[0] * full[1] > WHOLE_UP_TO:
        start = crop_offsets(full[0], size[0])[1], crop_offsets(full[1], size[1])[1]
        return resize_part(image, full, start, size, method)
    resized = image if full == (image.height, image.width) else image.resize((full[1], full[0]), method)
    return center_crop(resized, size, fill)


def center_crop(image: Image.Image, size: tuple[int, int], fill: int | tuple[int, ...] = 0) -> Image.Image:
    """As torchvision's: offsets rounded half to even; a smaller image is padded, the odd pixel at the far side."""
    pad_top, top = crop_offsets(image.height, size[0])
    pad_left, left = crop_offsets(image.width, size[1])
    if pad_top or pad_left or image.height < size[0] or image.width < size[1]:
        canvas = Image.new(image.mode, (max(image.width, size[1]), max(image.height, size[0])), fill)
        canvas.paste(image, (pad_left, pad_top))
        image = canvas
    if (image.height, image.width) == tuple(size):
        return image
    return image.crop((left, top, left + size[1], top + size[0]))


def crop_offsets(length: int, wanted: int) -> tuple[int, int]:
    """(padding before, start of the crop in the padded image) along one axis."""
    return max(0, (wanted - length) // 2), max(0, round((length - wanted) / 2))


def resize_part(
    image: Image.Image, full: tuple[int, int], start: tuple[int, int], size: tuple[int, int], method: Image.Resampling
) -> Image.Image:
    """The part of `size` that begins at `start` in the image as it would be if resized to `full`, too large a size to
    compute it whole. Sizes are (height, width), `start` is (top, left)."""
    axes = zip((image.height, image.width), full, start, size, strict=True)
    (top, bottom, y0, y1), (left, right, x0, x1) = [_source_span(*axis) for axis in axes]
    # Pillow keeps box coordinates in float32: cutting the source first keeps them small, hence exact enough.
    return image.crop((left, top, right, bottom)).resize((size[1], size[0]), method, box=(x0, y0, x1, y1))


def _source_span(length: int, full: int, start: int, wanted: int) -> tuple[int, int, float, float]:
    """Source pixels [first, last) that a part along one axis depends on, and its edges relative to first."""
    scale = length / full
    edges = start * scale, (start + wanted) * scale
    margin = math.ceil(3 * max(1.0, scale)) + 1  # Lanczos, the widest filter, reaches three (scaled) pixels
    first, last = max(0, math.floor(edges[0]) - margin), min(length, math.ceil(edges[1]) + margin)
    return first, last, edges[0] - first, edges[1] - first
