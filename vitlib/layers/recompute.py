"""Activation recomputation (arXiv 1604.06174): a block keeps its input alone and runs again for its gradient."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.autograd import PyLayer, PyLayerContext

from .eager import check_unchanged, differentiated_once, single_backward, versions
from .mlp import ACTIVATIONS


def recompute(block: nn.Layer, tokens: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
    """block(tokens, mask=mask), or block(tokens) without a mask, with the same random numbers in both of its runs.

    `paddle.distributed.fleet.utils.recompute`, but in a block of `single_backward` (eager mode on a CPU) one that takes
    less memory and time, since its first run records nothing. That is for blocks made of vitlib's and Paddle's parts
    alone: hooks and parts of unknown making may use tensors that are not theirs. Gradients of gradients raise an error
    in both.
    """
    options = {} if mask is None else {"mask": mask}
    trained = [tensor for tensor in (tokens, *block.parameters()) if not tensor.stop_gradient]
    own = differentiated_once(tokens, *trained) and (mask is None or mask.stop_gradient)
    if own and all(map(_known, block.sublayers(include_self=True))):
        # followed by an operation of Paddle's, as all of `eager`
        return _Recomputed.apply(trained, _Call(block, tokens, options)).reshape(tokens.shape)
    from paddle.distributed.fleet.utils import recompute as paddles

    def run(tokens: paddle.Tensor, **options: paddle.Tensor) -> paddle.Tensor:
        with single_backward(False):  # the second run comes after its block, and has to be as the first
            return block(tokens, **options)

    return paddles(run, tokens, use_reentrant=False, **options)


def _known(layer: nn.Layer) -> bool:
    """Whether a layer uses no tensors but its parameters and its input."""
    own = type(layer).__module__.startswith(("vitlib.", "paddle.")) and "forward" not in vars(layer)
    activation = getattr(layer, "activation", None)
    plain = activation is None or isinstance(activation, nn.Layer) or activation in ACTIVATIONS.values()
    return own and plain and not layer._forward_pre_hooks and not layer._forward_post_hooks


class _Call:
    """A call of a block, the tensors that it depends on, and the state that random numbers are drawn from in it."""

    def __init__(self, block: nn.Layer, tokens: paddle.Tensor, options: dict[str, paddle.Tensor]) -> None:
        self.block, self.tokens, self.options, self.random = block, tokens, options, paddle.get_rng_state()
        self.tensors = (tokens, *block.parameters(), *options.values())
        self.versions = versions(*self.tensors)


class _Recomputed(PyLayer):
    @staticmethod
    def forward(ctx: PyLayerContext, trained: list[paddle.Tensor], call: _Call) -> paddle.Tensor:
        """[B, N, D] -> [B * N, D]"""
        ctx.call, ctx.trained = call, trained
        return call.block(call.tokens, **call.options).flatten(0, 1)

    @staticmethod
    def backward(ctx: PyLayerContext, dy: paddle.Tensor) -> list[paddle.Tensor]:
        if paddle.is_grad_enabled():
            raise RuntimeError("gradients of gradients need what set_recompute() does not keep: set_recompute(False)")
        call = ctx.call
        check_unchanged(call.tensors, call.versions)
        # The gradients are this function's to return: in the second run, others stand for those that are trained
        deputies = {id(tensor): _deputy(tensor) for tensor in ctx.trained}
        layers = call.block.sublayers(include_self=True)
        own, now = [dict(layer._parameters) for layer in layers], paddle.get_rng_state()
        try:
            for layer in layers:
                for name, parameter in layer._parameters.items():
                    layer._parameters[name] = deputies.get(id(parameter), parameter)
            paddle.set_rng_state(call.random)
            with paddle.enable_grad(), single_backward():
                y = call.block(deputies.get(id(call.tokens), call.tokens), **call.options).flatten(0, 1)
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
