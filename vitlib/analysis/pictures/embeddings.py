"""What the embedding has learnt: positions and patch filters (ViT paper, §4.5 and figure 7, centre and left)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ...images.checks import check_count
from ...models import VisionTransformer
from .captions import Scale, captioned
from .colors import color_table, levels
from .tiles import tiled

_ACROSS = 7  # filters in a row, as in the paper


def draw_position_similarity(model: VisionTransformer) -> Image.Image:
    """Cosine similarity of the positions: the picture in row i and column j compares the position of that patch with
    those of all patches, from -1 to 1 (ViT paper, figure 7, centre).

    The model's own table is shown, at its own grid. When it misleads: a fixed sin-cos table looks like a learnt one
    and says nothing about training. In a learnt table that was resized, neighbours are alike by interpolation.

    Returns a Pillow image, RGB. Raises ValueError for a model without a position table (rotary or no positions).
    """
    if not model.config.has_position_table:
        raise ValueError(f"this model has pos_embed={model.config.pos_embed!r} and no table of positions to compare")
    rows, columns = model.patch_embed.grid_size
    table = model.pos_embed[0, -rows * columns :].numpy().astype("float64")
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    similarity = (table @ table.T).reshape(rows, columns, rows, columns)
    cell = max(1, 900 // (max(rows, columns) * (max(rows, columns) + 1)))
    colors = color_table("viridis")[levels(similarity, -1, 1)]
    tiles = [
        [
            Image.fromarray(colors[i, j]).resize((columns * cell, rows * cell), Image.Resampling.NEAREST)
            for j in range(columns)
        ]
        for i in range(rows)
    ]
    grid = tiled(tiles, gap=max(2, min(8, cell)))
    return captioned(grid, "Position similarity", f"{rows} x {columns} patches", Scale(-1.0, 1.0, "", "viridis"))


def draw_patch_filters(model: VisionTransformer, count: int = 28) -> Image.Image:
    """The first principal components of the filters of the patch embedding, as images of a patch (ViT paper, figure 7,
    left: 28 of them).

    The filters [embed_dim, C, P, P] are centred; the components come in the order of their variance, each stretched to
    the whole range with zero in the middle grey. Sign and brightness of a component mean nothing.

    When it misleads: components are no filters of the model but the directions in which its filters vary, and every
    set of filters has some: trained ones are smooth, random ones look like noise.

    Returns a Pillow image, RGB. Raises ValueError for a count below 1, for a patch embedding without a convolution, and
    for filters of other than 1 or 3 channels (as behind a convolutional stem), which no image can show.
    """
    count = check_count("count", count, 1)
    weight = getattr(getattr(model.patch_embed, "proj", None), "weight", None)
    if weight is None or weight.ndim != 4:
        raise ValueError(f"{type(model.patch_embed).__name__} has no convolution called proj, whose filters are shown")
    kernel = weight.numpy().astype("float64")
    dim, channels, height, width = kernel.shape
    if channels not in (1, 3):
        raise ValueError(f"the filters of this model have {channels} channels, and 1 or 3 make an image")
    flat = kernel.reshape(dim, -1)
    _, strengths, components = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    components = components[:count]
    share = float((strengths[: len(components)] ** 2).sum() / max((strengths**2).sum(), 1e-30))
    factor = max(1, 64 // max(height, width))
    pictures = []
    for component in components:
        pixels = levels(component / np.abs(component).max(), -1, 1).reshape(channels, height, width)
        picture = Image.fromarray(np.repeat(pixels, 3 // channels, axis=0).transpose(1, 2, 0))
        pictures.append(picture.resize((factor * width, factor * height), Image.Resampling.NEAREST))
    lines = [pictures[start : start + _ACROSS] for start in range(0, len(pictures), _ACROSS)]
    return tiled(lines, title=f"Patch filters: {len(pictures)} components, {100 * share:.0f} % of the variance")
