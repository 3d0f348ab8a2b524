"""What is quicker, or takes less memory, in eager mode on a CPU; everywhere else it is Paddle's own.

There Paddle adds a bias in a second pass and sums its gradient over the tokens by a slow reduction. Here a bias is part
of the product, and the sum a product with a vector of ones, which the matrix library does quickly.

In a block of `single_backward`, what takes little time to compute again is not kept for the gradient: the weights of
attention (FlashAttention's trade, arXiv 2205.14135), and outputs of `gelu` and `LayerNorm` that went into a `Linear`.

Paddle's LayerNorm (3.0 to 3.3) on a CPU leaves the weight out of the input's gradient where the weight is frozen. Not
so here, in eager mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.autograd import PyLayer, PyLayerContext
from paddle.base.dygraph.base import in_sot_simulation_mode

_PIECE = 1 << 18  # numbers that stay in the cache; 1 MiB of float32
_SINGLE_BACKWARD = ContextVar("vitlib_single_backward", default=False)


@contextmanager
def single_backward(enabled: bool = True) -> Iterator[None]:
    """What a model computes in this block will be differentiated once, so that on a CPU it can keep less for that.

    For a loop with one `loss.backward()`, or around a call of `TrainingStep`; the backward pass may come after the
    block. It takes a third less memory and some more time (README has figures), and makes `set_recompute` quicker.
    Paddle's PyLayer, which this rests on, does not survive a second pass: after `backward(retain_graph=True)` another
    backward ends the process. Values that are set past autograd between the two passes (`set_value`) go unnoticed.
    Accelerators, and graphs that are not run eagerly, are as without it. With enabled=False, a block within such a
    block is without it, too.
    """
    # Without views (FLAGS_use_stride_kernel=0) nothing can be written in pieces
    views = paddle.get_flags("FLAGS_use_stride_kernel")["FLAGS_use_stride_kernel"]
    token = _SINGLE_BACKWARD.set(bool(enabled and views))
    try:
        yield
    finally:
        _SINGLE_BACKWARD.reset(token)


def eager_on_cpu() -> bool:
    """Whether operations run one by one here and are not traced (the default tracer calls that dynamic mode)."""
    return paddle.in_dynamic_mode() and not in_sot_simulation_mode() and paddle.get_device() == "cpu"


def differentiated_once(first: paddle.Tensor, *others: paddle.Tensor) -> bool:
    """Whether a call with these is recorded eagerly on a CPU, in one full precision, in a block of `single_backward`.

    The first is the tokens, [B, N, D] or of more axes.
    """
    if not eager_on_cpu() or not _SINGLE_BACKWARD.get() or not paddle.is_grad_enabled():
        return False
    trained = not (first.stop_gradient and all(tensor.stop_gradient for tensor in others))
    return trained and first.ndim > 2 and _full_precision(first, *others)


def _full_precision(*tensors: paddle.Tensor) -> bool:
    # no closure over an argument, here and below: the default tracer of Paddle 3.0 gives such functions a cell for it
    dtypes = {tensor.dtype for tensor in tensors}
    return dtypes in ({paddle.float32}, {paddle.float64}) and 0 not in tensors[0].shape


class Linear(nn.Linear):
    """`paddle.nn.Linear`, x·W + b, quicker in eager mode on a CPU: [..., in] -> [..., out]."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        # eager_on_cpu before all else: the default tracer cannot trace what follows
        if self.bias is None or not eager_on_cpu() or x.ndim < 2 or not _full_precision(x, self.weight, self.bias):
            return super().forward(x)
        if differentiated_once(x, self.weight, self.bias):
            return _affine(x, self.weight, self.bias)
        if not paddle.is_grad_enabled():
            return _product_with_bias(x, self.weight, self.bias)
        if self.bias.stop_gradient:
            return super().forward(x)
        rows = x.reshape([-1, x.shape[-1]])
        one = paddle.ones([rows.shape[0], 1], x.dtype)
        y = paddle.matmul(one, self.bias.unsqueeze(0)).add_(paddle.matmul(rows, self.weight))
        return y.reshape([*x.shape[:-1], y.shape[-1]])


class LayerNorm(nn.LayerNorm):
    """`paddle.nn.LayerNorm`, [..., D] -> [..., D], whose output a `Linear` need not keep: see `single_backward`."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not eager_on_cpu() or not paddle.is_grad_enabled() or x.stop_gradient or self.weight is None:
            return super().forward(x)
        last = list(x.shape[-1:]) == self._normalized_shape
        if last and self.bias is not None and differentiated_once(x, self.weight, self.bias):
            return _normalise(x, self.weight, self.bias, self._epsilon)
        if self.weight.stop_gradient:
            y = F.layer_norm(x, self._normalized_shape, None, None, self._epsilon) * self.weight
            return y if self.bias is None else y + self.bias
        return super().forward(x)


def gelu(x: paddle.Tensor) -> paddle.Tensor:
    """`paddle.nn.functional.gelu`, x·Φ(x), of any shape, which a `Linear` need not keep: see `single_backward`."""
    return _gelu(x) if differentiated_once(x) else F.gelu(x)


# Paddle 3.0 leaves functions that it has rewritten for a graph behind, in layers which then run eagerly: not these. And
# it drops what a hook on the output of a PyLayer returns, so that each is followed by an operation of Paddle's.


@paddle.jit.not_to_static
def attention(q: paddle.Tensor, k: paddle.Tensor, v: paddle.Tensor) -> paddle.Tensor:
    """softmax(q·kᵀ/√d)·v, whose weights are computed again for the gradient: each [B, H, N, d] -> [B, H, N, d].

    To be called where `differentiated_once(q, k, v)`, with a q that takes part in the gradient, and followed by an
    operation of Paddle's.
    """
    return _Attention.apply([q, k, v])


@paddle.jit.not_to_static
def _affine(x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    inputs = _Inputs(x, weight, bias)
    y = _Affine.apply([tensor for tensor in inputs.tensors if not tensor.stop_gradient], inputs, _Origin.of(x))
    return y.reshape([*x.shape[:-1], y.shape[-1]])


@paddle.jit.not_to_static
def _normalise(x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor, epsilon: float) -> paddle.Tensor:
    again = partial(_layer_norm, epsilon=epsilon)
    y = _Normalise.apply([x, weight, bias], epsilon).reshape(x.shape)
    # clones, since an optimizer may change the parameters before the gradient is asked for
    return _Origin(again, x, weight.clone(), bias.clone()).mark(y)


def _layer_norm(x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor, epsilon: float) -> paddle.Tensor:
    return F.layer_norm(x, x.shape[-1:], weight, bias, epsilon)


@paddle.jit.not_to_static
def _gelu(x: paddle.Tensor) -> paddle.Tensor:
    return _Origin(F.gelu, x).mark(_Gelu.apply(x).reshape(x.shape))


class _Inputs:
    """Tensors that a PyLayer is given beside those which it is differentiated for."""

    def __init__(self, *tensors: paddle.Tensor) -> None:
        self.tensors = tensors


class _Origin:
    """How a tensor can be computed again: function(*inputs). It hangs on the tensor, as an attribute."""

    def __init__(self, function: Callable[..., paddle.Tensor], *inputs: paddle.Tensor) -> None:
        self.function, self.inputs = function, inputs
        self.versions: list[int] = []

    def mark(self, y: paddle.Tensor) -> paddle.Tensor:
        with paddle.no_grad():  # what Paddle 3.0's default tracer does not follow: it would fail at the attribute
            self.versions = [tensor.inplace_version for tensor in (y, *self.inputs)]
            y._vitlib_origin = self
        return y

    @classmethod
    def of(cls, x: paddle.Tensor) -> _Origin:
        """x's origin; x itself where it has none, or one of them was changed in place since."""
        origin = getattr(x, "_vitlib_origin", None)
        if origin is None or origin.versions != [tensor.inplace_version for tensor in (x, *origin.inputs)]:
            return cls(_same, x)
        return origin


def _same(x: paddle.Tensor) -> paddle.Tensor:
    return x


def versions(*tensors: paddle.Tensor) -> list[tuple[int, int]]:
    """Which tensors these are, and how often they were changed in place so far."""
    return [(id(tensor), tensor.inplace_version) for tensor in tensors]


def check_unchanged(tensors: Sequence[paddle.Tensor], before: list[tuple[int, int]]) -> None:
    """Raises RuntimeError when one of the tensors was changed in place since `versions`."""
    for tensor, (identity, version) in zip(tensors, before, strict=True):
        # hooks on saved tensors give others back, whose versions say nothing
        if id(tensor) == identity and tensor.inplace_version > version:
            raise RuntimeError(
                f"a tensor of shape {list(tensor.shape)} that this gradient needs was changed in place after it was "
                "used; call backward before, or change a copy"
            )


def _keep(ctx: PyLayerContext, *tensors: paddle.Tensor) -> None:
    ctx.save_for_backward(*tensors)
    ctx.versions = versions(*tensors)


def _kept(ctx: PyLayerContext) -> tuple[paddle.Tensor, ...]:
    tensors = ctx.saved_tensor()
    check_unchanged(tensors, ctx.versions)
    return tensors


# Each is differentiated for the tensors of one list: of single ones, paddle.grad refuses the gradients that it was not
# asked for. The first of the list has to need a gradient. In `backward`, gradients are on when a graph of the gradients
# was asked for, which writing in place would break.


class _Affine(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, trained: list[paddle.Tensor], inputs: _Inputs, origin: _Origin) -> paddle.Tensor:
        """x·W + b: [..., in] -> [M, out], M tokens in all"""
        x, weight, bias = inputs.tensors
        ctx.shape = x.shape
        ctx.function, ctx.trained = origin.function, [not tensor.stop_gradient for tensor in inputs.tensors]
        _keep(ctx, weight, *origin.inputs)
        return paddle.addmm(bias.unsqueeze(0), x.reshape([-1, x.shape[-1]]), weight)

    @staticmethod
    def backward(ctx: PyLayerContext, dy: paddle.Tensor) -> list[paddle.Tensor]:
        """dx = dy·Wᵀ, dW = xᵀ·dy, db = 1ᵀ·dy"""
        weight, *inputs = _kept(ctx)
        gradients = []
        for_x, for_weight, for_bias = ctx.trained
        if for_x:
            gradients.append(paddle.matmul(dy, weight, transpose_y=True).reshape(ctx.shape))
        if for_weight:
            x = ctx.function(*inputs).reshape([-1, weight.shape[0]])
            gradients.append(paddle.matmul(x, dy, transpose_x=True))
        if for_bias:
            gradients.append(paddle.matmul(paddle.ones([1, dy.shape[0]], dy.dtype), dy).squeeze(0))
        return gradients


def _product_with_bias(x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    """x·W + b in one product, where Paddle adds the bias afterwards: [..., in] -> [..., out]"""
    with paddle.no_grad():  # not to be followed by Paddle 3.0's default tracer, which takes shapes for unknown
        y = paddle.addmm(bias.unsqueeze(0), x.reshape([-1, x.shape[-1]]), weight)
        return y.reshape([*x.shape[:-1], y.shape[-1]])


class _Normalise(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, inputs: list[paddle.Tensor], epsilon: float) -> paddle.Tensor:
        """(x - mean)·r·weight + bias with r = 1/sqrt(variance + epsilon): [..., D] -> [M, D]"""
        x, weight, bias = inputs
        _keep(ctx, x, weight)
        ctx.epsilon = epsilon
        return _layer_norm(x, weight, bias, epsilon).reshape([-1, x.shape[-1]])

    @staticmethod
    def backward(ctx: PyLayerContext, dy: paddle.Tensor) -> list[paddle.Tensor]:
        """With c = x - mean, g = dy·weight: dx = r·(g - mean(g) - c·r²·mean(g·c)), means over D."""
        x, weight = _kept(ctx)
        shape, width = x.shape, x.shape[-1]
        x = x.reshape([-1, width])
        if paddle.is_grad_enabled():
            centred = x - x.mean(-1, keepdim=True)
            r = paddle.rsqrt((centred * centred).mean(-1, keepdim=True) + ctx.epsilon)
            normal, g = centred * r, dy * weight
            dx = r * (g - g.mean(-1, keepdim=True) - normal * (g * normal).mean(-1, keepdim=True))
            return [dx.reshape(shape), (dy * normal).sum(0), dy.sum(0)]
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


class _Gelu(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, x: paddle.Tensor) -> paddle.Tensor:
        """x·Φ(x): [..., D] -> [M, D]"""
        _keep(ctx, x)
        return F.gelu(x).reshape([-1, x.shape[-1]])

    @staticmethod
    def backward(ctx: PyLayerContext, dy: paddle.Tensor) -> paddle.Tensor:
        """dx = dy·(Φ(x) + x·φ(x)), with the normal distribution's Φ(x) = (1 + erf(x/√2))/2 and its density φ"""
        (x,) = _kept(ctx)
        dy = dy.reshape(x.shape)
        root, peak = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
        if paddle.is_grad_enabled():
            return dy * (0.5 + 0.5 * paddle.erf(root * x) + x * paddle.exp(-0.5 * x * x) * peak)
        dx = dy * x
        for x_, dy_, dx_ in zip(_pieces(x), _pieces(dy), _pieces(dx), strict=True):
            dx_.multiply_((x_ * x_).scale_(-0.5).exp_().scale_(peak))
            dx_.add_(paddle.erf(x_ * root).scale_(0.5, 0.5).multiply_(dy_))
        return dx


def _pieces(x: paddle.Tensor) -> list[paddle.Tensor]:
    """Views of all of a tensor's numbers."""
    flat = x.reshape([-1])
    return [flat[start : start + _PIECE] for start in range(0, flat.shape[0], _PIECE)]


class _Attention(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, inputs: list[paddle.Tensor]) -> paddle.Tensor:
        """P·v with P = softmax(q·kᵀ/√d)"""
        q, k, v = inputs
        _keep(ctx, q, k, v)
        return paddle.concat([paddle.matmul(_attention_weights(q_, k_), v_) for q_, k_, v_ in _samples(q, k, v)])

    @staticmethod
    def backward(ctx: PyLayerContext, dy: paddle.Tensor) -> list[paddle.Tensor]:
        """dv = Pᵀ·dy; with dP = dy·vᵀ: dS = P∘(dP - rowsum(P∘dP))/√d, dq = dS·k, dk = dSᵀ·q"""
        q, k, v = _kept(ctx)
        scale = 1 / math.sqrt(q.shape[-1])
        if paddle.is_grad_enabled():
            weights = F.softmax(paddle.matmul(q, k, transpose_y=True) * scale)
            d_weights = paddle.matmul(dy, v, transpose_y=True)
            d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True)) * scale
            dv = paddle.matmul(weights, dy, transpose_x=True)
            return [paddle.matmul(d_scores, k), paddle.matmul(d_scores, q, transpose_x=True), dv]
        one = paddle.ones([k.shape[2], 1], k.dtype)
        gradients = []
        for q_, k_, v_, dy_ in _samples(q, k, v, dy):
            weights = _attention_weights(q_, k_)
            dv = paddle.matmul(weights, dy_, transpose_x=True)
            d_scores = paddle.matmul(dy_, v_, transpose_y=True).multiply_(weights)
            d_scores.subtract_(weights.multiply_(paddle.matmul(d_scores, one))).scale_(scale)
            gradients.append([paddle.matmul(d_scores, k_), paddle.matmul(d_scores, q_, transpose_x=True), dv])
        return [paddle.concat(pieces) for pieces in zip(*gradients, strict=True)]


def _samples(*tensors: paddle.Tensor) -> list[tuple[paddle.Tensor, ...]]:
    """Views of a few samples at a time of tensors [B, H, N, d], whose attention weights stay in the cache."""
    batch, heads, tokens, _ = tensors[0].shape
    count = max(1, _PIECE // (heads * tokens**2))
    return [tuple(tensor[start : start + count] for tensor in tensors) for start in range(0, batch, count)]


def _attention_weights(q: paddle.Tensor, k: paddle.Tensor) -> paddle.Tensor:
    """softmax(q·kᵀ/√d), without a second matrix: [B, H, N, d] twice -> [B, H, N, N]."""
    return F.softmax_(paddle.matmul(q, k, transpose_y=True).scale_(1 / math.sqrt(q.shape[-1])))
