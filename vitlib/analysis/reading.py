"""How the output of a model reads its tokens, and the product of matrices over its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ..layers import AttentionPool
from ..models import DeiT, VisionTransformer
from .attention import diverted


def output_row(model: VisionTransformer, tokens: int) -> paddle.Tensor:
    """Weights [1, N] with which the output reads the tokens after the last block; with attention pooling, which reads
    the patches by their content, the mean of the patches.

    Raises TypeError for a subclass that reads them in a way of its own.
    """
    for name in ("pool", "forward_head"):
        if getattr(type(model), name) not in (getattr(VisionTransformer, name), getattr(DeiT, name)):
            raise TypeError(
                f"{type(model).__name__} has a {name} of its own, so it is not known which tokens its output reads; "
                "set global_pool instead, or take attention_maps and the rows that it reads"
            )
    prefix = model.num_prefix_tokens
    chosen = {
        "token": slice(0, 2 if isinstance(model, DeiT) else 1),
        "avg": slice(prefix, None),
        "map": slice(prefix, None),
        "none": slice(None),
    }[model.config.global_pool]
    row = np.zeros([1, tokens], "float32")
    row[:, chosen] = 1
    return paddle.to_tensor(row / row.sum())


@contextmanager
def pool_diverted(model: VisionTransformer, diversion: Callable[..., Any]) -> Iterator[None]:
    """Have the attention pooling of a model go to `diversion`, where it has one. Raises TypeError for one with a
    forward of its own."""
    pool = getattr(model, "attn_pool", None)
    if model.config.global_pool != "map":
        yield
        return
    if type(pool).forward is not AttentionPool.forward:
        raise TypeError(f"attn_pool is a {type(pool).__name__}, whose forward is not that of AttentionPool")
    with diverted(pool, diversion):
        yield


def beside_prefix(model: VisionTransformer, patches: paddle.Tensor) -> paddle.Tensor:
    """[B, 1, N patches] with zeros for the prefix tokens before them."""
    return F.pad(patches, [model.num_prefix_tokens, 0], data_format="NCL") if model.num_prefix_tokens else patches


class LayerProduct:
    """The product of the layers' matrices [B, N, N], the last on the left."""

    def __init__(self) -> None:
        self.matrix: Any = None

    def multiply(self, index: int, matrix: paddle.Tensor) -> None:
        if self.matrix is not None and matrix.shape != self.matrix.shape:
            raise ValueError(
                f"block {index} attends to {matrix.shape[-1]} tokens and the one before to {self.matrix.shape[-1]}, so "
                "their attention cannot be multiplied"
            )
        self.matrix = matrix if self.matrix is None else paddle.matmul(matrix, self.matrix)


def batches(tensor: paddle.Tensor, size: int) -> Iterator[paddle.Tensor]:
    for start in range(0, max(1, tensor.shape[0]), size):
        yield tensor[start : start + size]
