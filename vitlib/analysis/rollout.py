"""Attention rollout: how much the output attends to each token through all layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle

from ..images.checks import check_name, check_number
from ..models import VisionTransformer
from ..models.evaluation import evaluation_mode
from ..models.predictions import default_batch_size
from .attention import as_tensor, check_attention, check_called, intercepted
from .reading import LayerProduct, batches, beside_prefix, output_row, pool_diverted

_FUSIONS: dict[str, Callable[[paddle.Tensor], paddle.Tensor]] = {
    "mean": lambda weights: weights.mean(axis=1),
    "max": lambda weights: weights.max(axis=1),
    "min": lambda weights: weights.min(axis=1),
}


def attention_rollout(
    model: VisionTransformer, images: Any, *, head_fusion: str = "mean", discard_ratio: float = 0.0
) -> paddle.Tensor:
    """How much the output attends to each token through all layers [B, N]; each row sums to 1 (Abnar & Zuidema, arXiv
    2005.00928).

    The attention of a layer, with its heads fused to one matrix A, is (A + I) / 2, where I stands for the residual
    connection; rollout is the product of these matrices over the layers, and the row of it that the output reads: that
    of the class token, the mean of class and distillation token of a DeiT, the mean of the patches with
    global_pool="avg", the attention of the pooling query with "map", the mean of all tokens with "none". N counts all
    tokens (class, distillation, registers, patches row by row). It does not depend on a class: for that, see
    `relevance`.

    Args:
        model: the model. It is left as it was, and other threads may evaluate it meanwhile.
        images: a tensor [B, C, H, W], or images as `model.preprocess` takes them (paths, Pillow images, arrays).
        head_fusion: "mean", "max" or "min" over the heads.
        discard_ratio: share of the smallest entries of each fused matrix that is set to 0, in [0, 1).

    Raises ValueError and TypeError as `attention_maps` does, and ValueError for another head_fusion or discard_ratio.
    """
    fuse = _FUSIONS[check_name("head_fusion", head_fusion, _FUSIONS)]
    discard_ratio = check_number("discard_ratio", discard_ratio, "[0, 1)")
    for index in range(len(model.blocks)):
        check_attention(model, index)
    return paddle.concat(
        [
            _rollout(model, batch, fuse, discard_ratio)
            for batch in batches(as_tensor(model, images), default_batch_size(model))
        ]
    )


def _rollout(
    model: VisionTransformer, batch: paddle.Tensor, fuse: Callable[[paddle.Tensor], paddle.Tensor], ratio: float
) -> paddle.Tensor:
    steps, called, reading = LayerProduct(), [], []

    def record(index: int, attention: Any, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        fused = fuse(attention.attention_weights(*args, **options).astype("float32"))
        matrix = _without_smallest(fused, ratio) + paddle.eye(fused.shape[-1])
        steps.multiply(index, matrix / matrix.sum(axis=-1, keepdim=True))
        called.append(index)
        return call(*args, **options)

    def read(pool: Any, call: Callable[..., Any], x: paddle.Tensor) -> Any:
        result, weights = pool.pooled_with_weights(x)
        fused = beside_prefix(model, fuse(weights.astype("float32")))
        reading.append(fused / fused.sum(axis=-1, keepdim=True))
        return result

    with evaluation_mode(model), paddle.no_grad(), intercepted(model, record), pool_diverted(model, read):
        tokens = model.forward_features(batch)
        if model.config.global_pool == "map":
            model.pool(tokens)
    check_called(model, called)
    row = reading[0] if reading else output_row(model, steps.matrix.shape[-1])
    return paddle.matmul(row, steps.matrix).squeeze(1)


def _without_smallest(matrix: paddle.Tensor, ratio: float) -> paddle.Tensor:
    """[B, N, N] with a share of the smallest entries of each sample set to 0."""
    flat = matrix.flatten(1)
    count = int(ratio * flat.shape[1])
    if not count:
        return matrix
    smallest = flat.argsort(axis=-1)[:, :count]
    return paddle.put_along_axis(flat, smallest, paddle.zeros([], flat.dtype), axis=1).reshape(matrix.shape)
