"""A confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .captions import INK, PALE, PAPER
from .text import fitted, font_for, write

_LONGEST = 180  # pixels of a name
_LOW, _HIGH = np.array([255, 255, 255]), np.array([8, 48, 107])


def draw_confusion(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str] | None = None) -> Image.Image:
    """How many images of each class were taken for which: a cell for each pair, darker for a larger share of its row.

    Counts stand in the cells for up to about 40 classes, names beside them for up to about 100.

    Args:
        matrix: [R, C] counts, the true classes as rows.
        rows, columns: names of the classes; columns: None for the same.

    When it misleads: shades are shares of a row, so that a class of two images looks as certain as one of a thousand.

    Returns a Pillow image, RGB. Raises ValueError for other numbers of names than rows and columns.
    """
    columns = rows if columns is None else columns
    if matrix.shape != (len(rows), len(columns)):
        raise ValueError(f"matrix has shape {list(matrix.shape)}, expected {[len(rows), len(columns)]} as named")
    cell = int(np.clip(1000 // max(matrix.shape), 2, 48))
    size = int(np.clip(cell * 0.4, 9, 16))
    named, counted = cell >= 10, cell >= 24
    left, top = (_room(names, size) if named else 40 for names in (rows, columns))
    width, height = cell * len(columns), cell * len(rows)
    canvas = Image.new("RGB", (left + width + 12, top + height + 12), PAPER)
    pen = ImageDraw.Draw(canvas)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    colors = np.rint(_LOW + (_HIGH - _LOW) * shares[:, :, None] ** 0.7).astype("uint8")
    canvas.paste(Image.fromarray(colors).resize((width, height), Image.Resampling.NEAREST), (left, top))
    if counted:
        for row, column in np.argwhere(matrix):
            at = (left + (column + 0.5) * cell, top + (row + 0.5) * cell)
            write(pen, at, str(matrix[row, column]), size, PAPER if shares[row, column] > 0.4 else INK, "mm")
    pen.rectangle((left - 1, top - 1, left + width, top + height), outline=PALE)
    write(pen, (left + width / 2, 14), "predicted class", size, PALE, "mm")
    _write_upwards(canvas, (14, top + height // 2), "true class", size, PALE, centred=True)
    if named:
        for row, name in enumerate(rows):
            write(pen, (left - 8, top + (row + 0.5) * cell), fitted(name, size, _LONGEST), size, INK, "rm")
        for column, name in enumerate(columns):
            at = (left + int((column + 0.5) * cell), top - 8)
            _write_upwards(canvas, at, fitted(name, size, _LONGEST), size, INK)
    return canvas


def _room(names: Sequence[str], size: int) -> int:
    """Pixels beside the cells for names and the title."""
    return 40 + int(
        max(font_for(text, size).getlength(text) for text in (fitted(name, size, _LONGEST) for name in names))
    )


def _write_upwards(
    canvas: Image.Image, at: tuple[int, int], text: str, size: int, color: str, centred: bool = False
) -> None:
    """Text turned by 90 degrees; at: the middle of its beginning, or of all of it."""
    width, height = int(font_for(text, size).getlength(text)) + 2, round(1.4 * size)
    strip = Image.new("RGB", (width, height), PAPER)
    write(ImageDraw.Draw(strip), (0, height / 2), text, size, color, "lm")
    canvas.paste(
        strip.transpose(Image.Transpose.ROTATE_90), (at[0] - height // 2, at[1] - (width // 2 if centred else width))
    )
