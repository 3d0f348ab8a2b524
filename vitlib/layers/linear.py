"""A linear layer and a swap of axes, both faster than Paddle's in eager mode on a CPU, and Paddle's own elsewhere."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.base.dygraph.base import in_sot_simulation_mode


def eager_on_cpu() -> bool:
    """Whether operations run one by one on a CPU, and are not traced into a graph."""
    # The default tracer of to_static says that it is in dynamic mode
    return paddle.in_dynamic_mode() and not in_sot_simulation_mode() and paddle.get_device() == "cpu"


class Linear(nn.Linear):
    """`paddle.nn.Linear`, x·W + b: [..., in] -> [..., out].

    In eager mode on a CPU the bias is part of the matrix product. Paddle adds it in a second pass and sums its gradient
    over the tokens by a slow reduction; a training step of DeiT-S is 13 to 20 % faster without.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        # eager_on_cpu() comes first, since the default tracer cannot follow the rest
        if not eager_on_cpu() or self.bias is None or 0 in x.shape:
            return super().forward(x)
        rows, bias = x.reshape([-1, x.shape[-1]]), self.bias.unsqueeze(0)
        if paddle.is_grad_enabled() and not bias.stop_gradient:
            ones = paddle.ones([rows.shape[0], 1], x.dtype)  # makes the gradient of the bias a product, too: 1ᵀ·dy
            y = paddle.matmul(ones, bias).add_(paddle.matmul(rows, self.weight))
        else:
            y = paddle.addmm(bias, rows, self.weight)
        return y.reshape([*x.shape[:-1], y.shape[-1]])


def swap_axes(x: paddle.Tensor) -> paddle.Tensor:
    """[B, N, H, d] -> [B, H, N, d], and back."""
    if not eager_on_cpu():
        return x.transpose([0, 2, 1, 3])
    # An eager transpose is a view, which the operation after it copies element by element, forwards and backwards. This
    # kernel moves the same numbers ten times faster.
    b, n, h, d = x.shape
    return F.channel_shuffle(x.reshape([b, n * h, d, 1]), n).reshape([b, h, n, d])
