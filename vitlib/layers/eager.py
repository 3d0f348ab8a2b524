"""Linear and LayerNorm whose gradients are quick in eager mode on a CPU.

There Paddle sums a bias' gradient over the tokens by a slow reduction and differentiates LayerNorm by a slow kernel.
Here the sums are products with a vector of ones, which the matrix library does quickly. Everywhere else (accelerators,
traced and static graphs, no gradients, half precision) the layers are Paddle's own.

Paddle's LayerNorm (3.0 to 3.3) on a CPU also leaves the weight out of the input's gradient where the weight is frozen.
Not so here.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.autograd import PyLayer, PyLayerContext
from paddle.base.dygraph.base import in_sot_simulation_mode


def eager_on_cpu() -> bool:
    """Whether operations run one by one here and are not traced (the default tracer calls that dynamic mode)."""
    return paddle.in_dynamic_mode() and not in_sot_simulation_mode() and paddle.get_device() == "cpu"


class Linear(nn.Linear):
    """`paddle.nn.Linear`, x·W + b, with a quicker gradient in eager mode on a CPU: [..., in] -> [..., out]."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.bias is None or self.bias.stop_gradient or not _records_on_cpu(x, self.weight, self.bias):
            return super().forward(x)
        rows = x.reshape([-1, x.shape[-1]])
        one = paddle.ones([rows.shape[0], 1], x.dtype)
        y = paddle.matmul(one, self.bias.unsqueeze(0)).add_(paddle.matmul(rows, self.weight))
        return y.reshape([*x.shape[:-1], y.shape[-1]])


class LayerNorm(nn.LayerNorm):
    """`paddle.nn.LayerNorm` with a quicker gradient in eager mode on a CPU: [..., D] -> [..., D]."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        own = self.weight is not None and self.bias is not None and list(x.shape[-1:]) == self._normalized_shape
        if not own or x.stop_gradient or not _records_on_cpu(x, self.weight, self.bias):
            return super().forward(x)
        return _normalise(x, self.weight, self.bias, self._epsilon)


def _records_on_cpu(x: paddle.Tensor, *parameters: paddle.Tensor) -> bool:
    """Whether this call records gradients in eager mode on a CPU, in one full precision."""
    if not paddle.is_grad_enabled() or not eager_on_cpu() or x.ndim < 2 or 0 in x.shape:
        return False
    return x.dtype in (paddle.float32, paddle.float64) and all(p.dtype == x.dtype for p in parameters)


@paddle.jit.not_to_static
def _normalise(x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor, epsilon: float) -> paddle.Tensor:
    # Not to be rewritten for graphs: Paddle 3.0 leaves that in layers which it has saved, and which then run eagerly
    # One list: of single inputs, paddle.grad refuses the gradients that it was not asked for
    return _Normalise.apply([x, weight, bias], epsilon)


class _Normalise(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, inputs: list[paddle.Tensor], epsilon: float) -> paddle.Tensor:
        """(x - mean)·r·weight + bias with r = 1/sqrt(variance + epsilon): [..., D] -> [..., D]"""
        x, weight, bias = inputs
        ctx.save_for_backward(x, weight)
        ctx.epsilon = epsilon
        return F.layer_norm(x, x.shape[-1:], weight, bias, epsilon)

    @staticmethod
    def backward(ctx: PyLayerContext, dy: paddle.Tensor) -> list[paddle.Tensor]:
        """With c = x - mean, g = dy·weight: dx = r·(g - mean(g) - c·r²·mean(g·c)), means over D."""
        x, weight = ctx.saved_tensor()
        shape, width = x.shape, x.shape[-1]
        x, dy = x.reshape([-1, width]), dy.reshape([-1, width])
        if paddle.is_grad_enabled():  # a graph of the gradients was asked for, which writing in place would break
            return _differentiable_gradients(x, weight, ctx.epsilon, dy, shape)
        mean_of = paddle.full([width, 1], 1 / width, x.dtype)
        row = paddle.ones([1, width], x.dtype)
        centred = paddle.addmm(x, paddle.matmul(x, mean_of), row, alpha=-1.0)
        r = paddle.rsqrt(paddle.matmul(centred * centred, mean_of) + ctx.epsilon)  # [M, 1]
        product = dy * centred
        d_weight = paddle.matmul(r, product, transpose_x=True).squeeze(0)
        d_bias = paddle.matmul(paddle.ones([1, dy.shape[0]], dy.dtype), dy).squeeze(0)
        mean_of = mean_of * weight.unsqueeze(1)  # of what is multiplied by the weight
        centred.multiply_(paddle.matmul(product, mean_of) * r * r)
        del product
        centred.addmm_(paddle.matmul(dy, mean_of), row)
        dx = (dy * weight).subtract_(centred).multiply_(r)
        return [dx.reshape(shape), d_weight, d_bias]


def _differentiable_gradients(
    x: paddle.Tensor, weight: paddle.Tensor, epsilon: float, dy: paddle.Tensor, shape: list[int]
) -> list[paddle.Tensor]:
    """What `_Normalise.backward` computes, as a formula that is differentiated in turn."""
    centred = x - x.mean(-1, keepdim=True)
    r = paddle.rsqrt((centred * centred).mean(-1, keepdim=True) + epsilon)
    normal, g = centred * r, dy * weight
    dx = r * (g - g.mean(-1, keepdim=True) - normal * (g * normal).mean(-1, keepdim=True))
    return [dx.reshape(shape), (dy * normal).sum(0), dy.sum(0)]
