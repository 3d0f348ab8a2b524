"""A page of images, a row each: the image, where the model looks, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from ...models import Prediction, VisionTransformer, predict
from .captions import INK, PALE, PAPER, draw_scale
from .maps import PatchMap, patch_map
from .overlay import Photo, open_photo, overlay
from .sources import image_sources
from .text import fitted, percent, write

_SIDE, _TEXT, _GAP = 320, 400, 16
_LINE, _LABEL = 28, 200  # height of a prediction, width of its label
_BAR, _EMPTY = "#4c72b0", "#ececec"


def draw_page(
    model: VisionTransformer,
    images: Any,
    *,
    method: str = "relevance",
    class_index: int | str | None = None,
    layer: int = -1,
    top_k: int = 3,
    names: Sequence[str] | None = None,
) -> Image.Image:
    """A row for each image: the image, the same under the map of `draw_attention`, its folder and file, the most
    probable classes with their probabilities, and the scale of the map.

    Args:
        model, method, class_index, layer: as in `draw_attention`.
        images: a list of at most 100 images as `model.preprocess` takes them, one of them, or a folder.
        top_k: how many classes to name.
        names: of the rows; None: folder and file of paths, else "image 1".

    Every row has a scale of its own: the same colour is another value in the next row. For when the maps mislead, see
    `draw_attention`.

    Returns a Pillow image, RGB. Raises ValueError for no image or more than 100 and for other numbers of names, and as
    `draw_attention` does.
    """
    rows = []
    for source, name in zip(*image_sources(images, names), strict=True):
        photo = open_photo(model, source)
        shown = patch_map(model, photo.source, method, class_index, layer)
        rows.append(_row(model, photo.fit(_SIDE), name, shown, top_k))
    canvas = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        canvas.paste(row, (0, top))
        top += row.height
    return canvas


def _row(model: VisionTransformer, photo: Photo, name: str, shown: PatchMap, top_k: int) -> Image.Image:
    small = [photo.image, overlay(photo, shown.values, shown.scale)]
    said = [] if shown.prediction is None else predict(model, photo.source, top_k=top_k)[0]
    height = max(small[0].height, 110 + _LINE * len(said)) + _GAP
    canvas = Image.new("RGB", (2 * _SIDE + 4 * _GAP + _TEXT, height + _GAP), PAPER)
    for column, picture in enumerate(small):
        left = _GAP + column * (_SIDE + _GAP) + (_SIDE - picture.width) // 2
        canvas.paste(picture, (left, _GAP + (height - _GAP - picture.height) // 2))
    left, top, pen = 2 * _SIDE + 3 * _GAP, _GAP, ImageDraw.Draw(canvas)
    write(pen, (left, top), fitted(name, 18, _TEXT, keep_end=True), 18, INK)
    top += 34
    about = shown.about
    if shown.prediction is not None:
        about = f"relevance for {shown.prediction.label}" if about == "relevance" else about
    for prediction in said:
        _draw_bar(pen, (left, top), prediction)
        top += _LINE
    top += 8
    write(pen, (left, top), fitted(about, 15, _TEXT), 15, PALE)
    draw_scale(canvas, (left, top + 18), 220, 17, shown.scale)
    return canvas


def _draw_bar(pen: ImageDraw.ImageDraw, at: tuple[int, int], prediction: Prediction) -> None:
    """A label, its probability and a bar as long as it."""
    left, top = at
    write(pen, (left, top), fitted(prediction.label, 17, _LABEL), 17, INK)
    write(pen, (left + _LABEL + 75, top), percent(prediction.probability), 17, INK, anchor="ra")
    start, room = left + _LABEL + 85, _TEXT - _LABEL - 85
    pen.rectangle((start, top + 2, start + room, top + 17), fill=_EMPTY)
    pen.rectangle((start, top + 2, start + round(room * prediction.probability), top + 17), fill=_BAR)
