"""Mean attention distance: how far each head reaches (ViT paper, §4.5 and figure 7, right)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle

from ..models import VisionTransformer
from ..models.evaluation import evaluation_mode
from ..models.predictions import default_batch_size
from .attention import as_tensor, check_attention, check_called, intercepted, run_blocks
from .reading import batches


def attention_distance(
    model: VisionTransformer, images: Any, layers: int | Sequence[int] | None = None
) -> paddle.Tensor:
    """Mean attention distance of each head in pixels of the model's input: [L, heads], one row a layer.

    For each patch it is the mean distance between its centre and the centres of the patches that it reads, weighted by
    the attention, and then the mean over patches and images (ViT paper, figure 7, right; there 128 images). Prefix
    tokens have no place: they are left out, and the weights of the patches are divided by their sum.

    Args:
        model: the model. It is left as it was, and other threads may evaluate it meanwhile.
        images: a tensor [B, C, H, W], or images as `model.preprocess` takes them.
        layers: indices (negative ones count from the end), a count n for the last n blocks, or None for all.

    It misleads for few images, and where a head gives nearly all of its attention to prefix tokens: the distance is
    then that of the little that is left. A head that attends evenly has the mean distance of two patches: for a square
    grid about 0.52 of the image's side.

    Raises ValueError and TypeError as `attention_maps` does, and ValueError for blocks with different numbers of heads.
    """
    indices = model.layer_indices(layers)
    for index in sorted(set(indices)):
        check_attention(model, index)
    tensor = as_tensor(model, images)
    distances = paddle.to_tensor(patch_distances(model.patch_embed.grid_for(tensor), model.patch_embed.patch_size))
    sums: dict[int, paddle.Tensor] = {}
    prefix = model.num_prefix_tokens

    def record(index: int, attention: Any, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if index in indices:
            weights = attention.attention_weights(*args, **options)[:, :, prefix:, prefix:].astype("float32")
            to_patches = weights.sum(axis=-1).clip(min=1e-12)
            reach = (weights * distances).sum(axis=-1) / to_patches  # [B, heads, patches]
            sums[index] = sums.get(index, 0) + reach.mean(axis=-1).sum(axis=0)
        return call(*args, **options)

    for batch in batches(tensor, default_batch_size(model)):
        with evaluation_mode(model), paddle.no_grad(), intercepted(model, record):
            run_blocks(model, batch, max(indices))
    check_called(model, sums, indices)
    heads = sorted({sums[index].shape[0] for index in indices})
    if len(heads) > 1:
        raise ValueError(f"the blocks have {heads} heads; ask for layers with the same number")
    return paddle.stack([sums[index] / tensor.shape[0] for index in indices])


def patch_distances(grid: tuple[int, int], patch_size: tuple[int, int]) -> np.ndarray:
    """Distances between the centres of patches in pixels: [N, N] float32, row by row."""
    centres = np.stack(np.indices(grid), axis=-1).reshape(-1, 2) * np.array(patch_size)
    return np.sqrt(((centres[:, None] - centres[None]) ** 2).sum(-1)).astype("float32")
