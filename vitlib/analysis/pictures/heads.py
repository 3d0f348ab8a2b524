"""The attention of every head, in a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from PIL import Image, ImageDraw

from ...images import ImageSource
from ...images.checks import check_count
from ...models import VisionTransformer
from ..attention import attention_maps
from ..reading import output_row
from .captions import INK, PAPER, Scale
from .overlay import Photo, open_photo, overlay
from .text import font_for, number, write
from .tiles import tiled

_SIZE = 12


def draw_heads(
    model: VisionTransformer, image: ImageSource, layers: int | Sequence[int] | None = None, *, side: int = 160
) -> Image.Image:
    """What each head of each layer reads for the output: a grid over the image, a row a layer and a column a head.

    It is the attention of the token that the output reads after the last layer: the class token, the mean of class and
    distillation token, or the mean of the patches. In layers before the last one that token is on its way.

    Args:
        model: the model. It is left as it was.
        image: an image as `model.preprocess` takes it.
        layers: indices (negative ones count from the end), a count n for the last n blocks, or None for all.
        side: longer side of each picture in pixels.

    When it misleads: every picture has its own scale, from 0 to the percentage above it, so that a head that gives all
    of its attention to prefix tokens looks as lively as others. A head that looks at an object need not matter for the
    class: see `vitlib.relevance`.

    Returns a Pillow image, RGB. Raises ValueError and TypeError as `attention_maps` and `draw_attention` do.
    """
    photo = open_photo(model, image).fit(check_count("side", side, 32))
    x = model.preprocess(photo.source).astype(model.parameters()[0].dtype)
    grid, prefix, indices = model.patch_embed.grid_for(x), model.num_prefix_tokens, model.layer_indices(layers)
    tiles = []
    for index in indices:
        (weights,) = attention_maps(model, x, [index])  # one layer at a time: all of a large model take gigabytes
        read = paddle.matmul(output_row(model, weights.shape[-1]), weights[0].astype("float32"))  # [heads, 1, N]
        maps = 100 * read[:, 0, prefix:].numpy().reshape(-1, *grid)
        tiles.append([_tile(photo, values) for values in maps])
    return tiled(
        tiles,
        rows=[f"layer {index}" for index in indices],
        columns=[f"head {index}" for index in range(max(map(len, tiles)))],
    )


def _tile(photo: Photo, values: np.ndarray) -> Image.Image:
    picture = overlay(photo, values, Scale(0.0, float(values.max()), "%"))
    text, pen = number(float(values.max()), "%"), ImageDraw.Draw(picture)
    width = font_for(text, _SIZE).getlength(text)
    pen.rectangle((0, picture.height - _SIZE - 6, width + 8, picture.height), fill=PAPER)
    write(pen, (4, picture.height - _SIZE - 3), text, _SIZE, INK)
    return picture
