"""The strip with words and a scale under a picture."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image, ImageDraw

from .colors import color_table
from .text import fitted, number, write

_LEAST_WIDTH = 320  # beside a narrow picture the strip would have no room for words
INK, PALE, PAPER = "#1a1a1a", "#6b6b6b", "#ffffff"


class Scale(NamedTuple):
    """Values at the two ends of a colour map, with their unit."""

    low: float
    high: float
    unit: str = ""
    colors: str = "inferno"


def font_size(width: int, height: int) -> int:
    """Height of the letters beside a picture of this size: a person sees both as one."""
    return max(15, round(min(width, 2 * height) / 26))


def captioned(picture: Image.Image, title: str, note: str, scale: Scale) -> Image.Image:
    """The picture, and below it a title, a note, and its scale."""
    size = font_size(*picture.size)
    small, margin, width = round(0.8 * size), round(0.6 * size), max(picture.width, _LEAST_WIDTH)
    scale_width = min(round(0.38 * width), 14 * size)
    height = 2 * margin + size + round(0.4 * size) + small + round(0.3 * size)
    canvas = Image.new("RGB", (width, picture.height + height), PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    pen, top = ImageDraw.Draw(canvas), picture.height + margin
    room = width - scale_width - 3 * margin
    write(pen, (margin, top), fitted(title, size, room), size, INK)
    write(pen, (margin, top + round(1.4 * size)), fitted(note, small, room), small, PALE)
    draw_scale(canvas, (width - margin - scale_width, top), scale_width, size, scale)
    return canvas


def draw_scale(canvas: Image.Image, at: tuple[int, int], width: int, size: int, scale: Scale) -> None:
    """The colours of a map from left (low) to right (high) with both values below, as wide as said."""
    table = color_table(scale.colors)
    height, small = round(0.8 * size), round(0.8 * size)
    strip = Image.fromarray(table[None]).resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(strip, (at[0], at[1] + round(0.2 * size)))
    pen, below = ImageDraw.Draw(canvas), at[1] + round(1.4 * size)
    write(pen, (at[0], below), number(scale.low, scale.unit), small, PALE)
    write(pen, (at[0] + width, below), number(scale.high, scale.unit), small, PALE, anchor="ra")
