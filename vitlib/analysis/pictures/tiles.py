"""Small pictures in a grid, with names of rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from .captions import INK, PAPER
from .text import font_for, write


def tiled(
    tiles: Sequence[Sequence[Image.Image]],
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    gap: int = 6,
    size: int = 15,
) -> Image.Image:
    """Rows of pictures of one size, on white; rows are named at their left, columns above."""
    width, height = tiles[0][0].size
    margin = 2 * gap
    left = margin + (round(max(font_for(name, size).getlength(name) for name in rows)) + margin if rows else 0)
    top = margin + (round(1.9 * size) if title else 0) + (round(1.6 * size) if columns else 0)
    count = max(map(len, tiles))
    whole = (left + count * (width + gap) - gap + margin, top + len(tiles) * (height + gap) - gap + margin)
    if title:
        whole = (max(whole[0], round(font_for(title, size).getlength(title)) + 2 * margin), whole[1])
    canvas = Image.new("RGB", whole, PAPER)
    pen = ImageDraw.Draw(canvas)
    if title:
        write(pen, (margin, margin), title, size, INK)
    for index, name in enumerate(columns):
        write(pen, (left + index * (width + gap) + width // 2, top - round(0.5 * size)), name, size, INK, anchor="ms")
    for down, row in enumerate(tiles):
        y = top + down * (height + gap)
        if rows:
            write(pen, (left - margin, y + height // 2), rows[down], size, INK, anchor="rm")
        for across, tile in enumerate(row):
            canvas.paste(tile, (left + across * (width + gap), y))
    return canvas
