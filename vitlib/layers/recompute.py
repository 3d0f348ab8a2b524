"""Activation recomputation (arXiv 1604.06174): a block keeps its input alone and runs again for its gradient."""

from __future__ import annotations

import paddle
from paddle import nn


def recompute(block: nn.Layer, tokens: paddle.Tensor, **options: paddle.Tensor) -> paddle.Tensor:
    """block(tokens, **options), such as a mask, with the same random numbers in both of its runs.

    It is `paddle.distributed.fleet.utils.recompute(..., use_reentrant=False)` where something needs a gradient, and a
    plain call elsewhere. Paddle's function calls `paddle.Tensor(...)` some 24 times a block and step. On Paddle 3.3
    each call leaks an empty list when it is given a dict of keywords, as it is there: 1.7 KB a block and step.
    """
    trained = [tensor for tensor in (tokens, *options.values(), *block.parameters()) if not tensor.stop_gradient]
    if not trained:
        return block(tokens, **options)

    # Paddle logs a warning at each call in which no argument needs a gradient, even if parameters do
    def run(tokens: paddle.Tensor, trained: paddle.Tensor, **options: paddle.Tensor) -> paddle.Tensor:
        return block(tokens, **options)

    return paddle.distributed.fleet.utils.recompute(run, tokens, trained[0], use_reentrant=False, **options)
