"""A picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_DARK, _LIGHT, _GREY = (8, 48, 107), (255, 255, 255), (90, 90, 90)


def confusion_image(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str] | None = None) -> Image.Image:
    """How many samples of each class were taken for which: a cell for each pair, darker for a larger share of its row.

    Counts are written into the cells and names beside them where there is room: up to about 40 and 100 classes.

    Args:
        matrix: [R, C] counts, the true classes as rows.
        rows, columns: names of the classes; columns: None for the same.

    Raises ValueError for other numbers of names.
    """
    columns = rows if columns is None else columns
    if matrix.shape != (len(rows), len(columns)):
        raise ValueError(f"the matrix is {list(matrix.shape)}, for {len(rows)} and {len(columns)} names")
    cell = int(np.clip(1000 // max(matrix.shape), 2, 48))
    font = _font(int(np.clip(cell * 0.45, 9, 16)))
    named, counted = cell >= 10, cell >= 24
    left = 40 + (max(int(font.getlength(_short(name))) for name in rows) if named else 0)
    top = 40 + (max(int(font.getlength(_short(name))) for name in columns) if named else 0)
    page = Image.new("RGB", (left + cell * len(columns) + 12, top + cell * len(rows) + 12), _LIGHT)
    pen = ImageDraw.Draw(page)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for row, column in np.ndindex(*matrix.shape):
        x, y, share = left + column * cell, top + row * cell, shares[row, column]
        pen.rectangle((x, y, x + cell - 1, y + cell - 1), fill=_mixed(_LIGHT, _DARK, share**0.7))
        if counted and matrix[row, column]:
            ink = _LIGHT if share > 0.4 else _DARK
            pen.text((x + cell / 2, y + cell / 2), str(matrix[row, column]), ink, font, anchor="mm")
    pen.rectangle((left - 1, top - 1, left + cell * len(columns), top + cell * len(rows)), outline=_GREY)
    pen.text((left + cell * len(columns) / 2, 14), "predicted class", _GREY, font, anchor="mm")
    _write_upwards(page, (14, top + cell * len(rows) // 2), "true class", font, _GREY, centred=True)
    if named:
        for row, name in enumerate(rows):
            pen.text((left - 8, top + (row + 0.5) * cell), _short(name), _DARK, font, anchor="rm")
        for column, name in enumerate(columns):
            _write_upwards(page, (left + int((column + 0.5) * cell), top - 8), _short(name), font, _DARK)
    return page


def _write_upwards(
    page: Image.Image,
    place: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont,
    ink: tuple[int, int, int],
    centred: bool = False,
) -> None:
    """Text turned by 90 degrees; place: the middle of its beginning, or of all of it."""
    width, height = int(font.getlength(text)) + 2, int(font.size * 1.4)
    strip = Image.new("L", (width, height))
    ImageDraw.Draw(strip).text((0, height / 2), text, 255, font, anchor="lm")
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    x, y = place
    page.paste(ink, (x - height // 2, y - (width // 2 if centred else width)), turned)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _short(name: str, limit: int = 24) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _mixed(low: tuple[int, ...], high: tuple[int, ...], share: float) -> tuple[int, ...]:
    return tuple(round(a + (b - a) * float(share)) for a, b in zip(low, high, strict=True))
