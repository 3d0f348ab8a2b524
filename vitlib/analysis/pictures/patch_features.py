"""Features of patches as colours (as DINOv2, arXiv 2304.07193, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from PIL import Image, ImageDraw

from ...models import VisionTransformer
from ...models.evaluation import evaluation_mode
from .captions import INK, PAPER
from .overlay import colored_patches, open_photo
from .sources import image_sources
from .text import fitted, write
from .tiles import tiled

_SIDE = 320


def draw_patch_features(
    model: VisionTransformer, images: Any, *, layer: int = -1, names: Sequence[str] | None = None
) -> Image.Image:
    """The first three principal components of the patch features as red, green and blue, beside each image.

    The components are those of the patches of all images together, so that equal colours are alike features in every
    row. Each component is stretched from its 1st to its 99th percentile.

    Args:
        model: the model. It is left as it was.
        images: a list of at most 100 images as `model.preprocess` takes them, one of them, or a folder.
        layer: the block, after which the final norm is applied; negative ones count from the end.
        names: of the rows; None: folder and file of paths, else "image 1".

    When it misleads: colours have no names, and change with the images that are shown together. Three components hold
    only part of the features (the share of the variance is written above). Positions are part of the features, so that
    smooth gradients over a plain background are places, not content.

    Returns a Pillow image, RGB. Raises ValueError for a layer that does not exist and as `draw_page` does.
    """
    sources, names = image_sources(images, names)
    maps = []
    with evaluation_mode(model), paddle.no_grad():
        for source in sources:
            x = model.preprocess(source).astype(model.parameters()[0].dtype)
            (found,) = model.intermediates(x, [layer], norm=True, reshape=True)
            maps.append(found[0].astype("float32").numpy().transpose(1, 2, 0))  # [h, w, D]
    colors, share = principal_colors(maps)
    tiles = []
    for source, name, color in zip(sources, names, colors, strict=True):
        photo = open_photo(model, source).fit(_SIDE)
        tiles.append(_pair(photo.image, colored_patches(photo, color), name))
    rows = [tiles[start : start + 2] for start in range(0, len(tiles), 2)]
    return tiled(rows, title=f"Three principal components of the patch features, {100 * share:.0f} % of the variance")


def principal_colors(maps: Sequence[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """Maps [h, w, D] of features -> [h, w, 3] in [0, 1], and the share of the variance that three components hold."""
    flat = np.concatenate([features.reshape(-1, features.shape[-1]) for features in maps]).astype("float64")
    flat -= flat.mean(axis=0)
    values, vectors = np.linalg.eigh(flat.T @ flat)  # ascending
    first = vectors[:, ::-1][:, :3]
    scores = flat @ first
    if scores.shape[1] < 3:
        scores = np.pad(scores, [(0, 0), (0, 3 - scores.shape[1])])
    low, high = np.percentile(scores, [1, 99], axis=0)
    scores = ((scores - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    ends = np.cumsum([features.shape[0] * features.shape[1] for features in maps])[:-1]
    parts = [part.reshape(*features.shape[:2], 3) for part, features in zip(np.split(scores, ends), maps, strict=True)]
    return parts, float(values[-3:].sum() / max(values.sum(), 1e-30))


def _pair(left: Image.Image, right: Image.Image, name: str) -> Image.Image:
    canvas = Image.new("RGB", (2 * _SIDE + 6, _SIDE + 30), PAPER)
    for index, picture in enumerate((left, right)):
        canvas.paste(picture, (index * (_SIDE + 6) + (_SIDE - picture.width) // 2, 30 + (_SIDE - picture.height) // 2))
    write(ImageDraw.Draw(canvas), (0, 6), fitted(name, 15, canvas.width, keep_end=True), 15, INK)
    return canvas
