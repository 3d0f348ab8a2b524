"""Activation recomputation (arXiv 1604.06174): a block keeps its input alone and runs again for its gradient."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.autograd import PyLayer, PyLayerContext

from .eager import eager_on_cpu


def recompute(block: nn.Layer, tokens: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
    """block(tokens, mask=mask), or block(tokens) without a mask, with the same random numbers in both of its runs.

    In eager mode on a CPU, a block that is made of vitlib's and Paddle's layers alone runs without recording anything,
    which takes less memory and time than `paddle.distributed.fleet.utils.recompute`. That one is used everywhere else:
    on accelerators, where mixed precision has to be as it was, and for blocks with parts of unknown making, which may
    use tensors that are not theirs. Gradients of gradients raise an error, as with that one.
    """
    options = {} if mask is None else {"mask": mask}
    known = all(type(layer).__module__.startswith(("vitlib.", "paddle.")) for layer in block.sublayers(True))
    if not known or not eager_on_cpu() or not (mask is None or mask.stop_gradient):
        from paddle.distributed.fleet.utils import recompute as paddles

        return paddles(block, tokens, use_reentrant=False, **options)
    trained = [tensor for tensor in (tokens, *block.parameters()) if not tensor.stop_gradient]
    return _Recomputed.apply(trained, _Call(block, tokens, options)) if trained else block(tokens, **options)


class _Call:
    """A call of a block, and the state that random numbers are drawn from in it."""

    def __init__(self, block: nn.Layer, tokens: paddle.Tensor, options: dict[str, paddle.Tensor]) -> None:
        self.block, self.tokens, self.options, self.random = block, tokens, options, paddle.get_rng_state()


class _Recomputed(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, trained: list[paddle.Tensor], call: _Call) -> paddle.Tensor:
        ctx.call, ctx.trained = call, trained
        return call.block(call.tokens, **call.options)

    @staticmethod
    def backward(ctx: PyLayerContext, dy: paddle.Tensor) -> list[paddle.Tensor]:
        if paddle.is_grad_enabled():
            raise RuntimeError("gradients of gradients need what set_recompute() does not keep: set_recompute(False)")
        call = ctx.call
        # The gradients are this function's to return: in the second run, others stand for those that are trained
        deputies = {id(tensor): _deputy(tensor) for tensor in ctx.trained}
        layers = call.block.sublayers(include_self=True)
        own, now = [dict(layer._parameters) for layer in layers], paddle.get_rng_state()
        try:
            for layer in layers:
                for name, parameter in layer._parameters.items():
                    layer._parameters[name] = deputies.get(id(parameter), parameter)
            paddle.set_rng_state(call.random)
            with paddle.enable_grad():
                y = call.block(deputies.get(id(call.tokens), call.tokens), **call.options)
        finally:
            paddle.set_rng_state(now)
            for layer, parameters in zip(layers, own, strict=True):
                layer._parameters.update(parameters)
        paddle.autograd.backward([y], [dy])
        return [deputy.grad for deputy in deputies.values()]


def _deputy(tensor: paddle.Tensor) -> paddle.Tensor:
    """The same numbers, with a gradient of their own."""
    deputy = tensor.detach()
    deputy.stop_gradient = False
    return deputy
