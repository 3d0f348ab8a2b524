"""Pillow's modes -> 8-bit RGB or grey, as a person would see the image."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms

from .errors import ImageError

_ORIENTATION_TAG = 0x0112  # Exif 2.32, table 4
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orient(image: Image.Image, original: Image.Image) -> Image.Image:
    """`image` turned upright by the orientation tag of `original`, the (loaded) image that it was made from."""
    if original.format == "TIFF":  # Pillow turns these while it loads them, and older versions keep the tag
        return image
    try:
        orientation = original.getexif().get(_ORIENTATION_TAG)
    except Exception:  # broken metadata says nothing about the pixels, which are fine
        return image
    turn = _UPRIGHT.get(orientation)
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = {}  # the tag with the rest of it, or the image would be turned again
    return turned


def to_mode(image: Image.Image, mode: str, name: str) -> Image.Image:
    """A loaded Pillow image of any mode -> `mode`, "RGB" or "L".

    Transparent parts become white; 16-bit grey is divided by 257; "F" images are taken as 0..1 or 0..255 by their
    largest value; CMYK is converted without its colour profile. Raises ImageError, beginning with `name`, for number
    ranges that could mean several things.
    """
    if image.mode.startswith("I"):
        image = _from_integers(image, name)
    elif image.mode == "F":
        image = _from_floats(image, name)
    elif image.mode == "LAB":
        image = _from_lab(image)
    if _has_transparency(image):
        image = _on_white(image)
    if image.mode == mode:
        return image
    # By way of RGB, since not every mode goes to grey directly; grey -> RGB -> grey changes nothing.
    return image.convert("RGB").convert(mode)


def _has_transparency(image: Image.Image) -> bool:
    if image.mode in ("1", "L", "RGB"):
        return "transparency" in image.info  # one colour that is not painted (PNG's tRNS)
    return image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "RGBa"):  # premultiplied: only these two steps exist
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode == "1":
        image = image.convert("L")
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def _from_integers(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "I":  # 32 bits, yet what older Pillow versions give for a 16-bit PNG, too
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise ImageError(f"{name}: 32-bit integers from {low} to {high}; expected 0..65535; scale them to uint8")
        if 0 < high <= 255 and image.format not in ("PNG", "PPM"):  # these two scale to 65535
            raise ImageError(
                f"{name}: 32-bit integers up to {high}: an 8-bit image or a very dark 16-bit one; "
                'use image.convert("L") for the first, an array scaled to uint8 for the second'
            )
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _from_floats(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # also refuses NaN
        raise ImageError(f"{name}: float pixels from {low:g} to {high:g}; expected 0..1 or 0..255; scale them to uint8")
    return Image.fromarray(np.rint(values * 255 if high <= 1 else values).astype(np.uint8))


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
