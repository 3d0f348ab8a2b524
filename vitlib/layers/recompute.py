"""Activation recomputation (arXiv 1604.06174): a block keeps its input alone and runs again for its gradient."""

from __future__ import annotations

import paddle
from paddle import nn


def recompute(block: nn.Layer, tokens: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
    """block(tokens, mask=mask), or block(tokens) without a mask, with the same random numbers in both of its runs.

    It is `paddle.distributed.fleet.utils.recompute(..., use_reentrant=False)`, where something needs a gradient. That
    makes some 24 tensors for each block and step by their constructor, and the constructor of Paddle 3.3 never frees a
    list of keywords: 1.7 KB a block and step (none on Paddle 3.0).
    """
    options = {} if mask is None else {"mask": mask}
    trained = [tensor for tensor in (tokens, *options.values(), *block.parameters()) if not tensor.stop_gradient]
    if not trained:
        return block(tokens, **options)
    from paddle.distributed.fleet.utils import recompute as paddle_recompute

    # Paddle logs a warning at each call in which no argument needs a gradient, even if parameters do
    def run(tokens: paddle.Tensor, trained: paddle.Tensor, **options: paddle.Tensor) -> paddle.Tensor:
        return block(tokens, **options)

    return paddle_recompute(run, tokens, trained[0], use_reentrant=False, **options)
