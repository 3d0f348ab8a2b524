"""Layer normalisation whose gradient is right when its weight is frozen, and the statistics of batch norms."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from .linear import eager_on_cpu


def is_running_statistic(name: str) -> bool:
    """Whether a parameter of this name is a statistic of a batch norm: Paddle has them among the parameters, but they
    do not train, and PyTorch and the papers do not count them."""
    return name.rpartition(".")[2] in ("_mean", "_variance")


class LayerNorm(nn.LayerNorm):
    """`paddle.nn.LayerNorm`: [..., D] -> [..., D].

    The gradient is right when the weight is frozen, too (see `layer_norm_in_steps`), in eager mode and in graphs traced
    for training.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        # `self.weight is None` would break the graph of the default tracer
        if self._weight_attr is False or not self.weight.stop_gradient:
            return super().forward(x)
        # A traced graph of evaluation has no gradient
        differentiated = not x.stop_gradient if eager_on_cpu() else self.training and paddle.get_device() == "cpu"
        if not differentiated:
            return super().forward(x)
        return layer_norm_in_steps(self, x)


def layer_norm_in_steps(layer: nn.LayerNorm, x: paddle.Tensor) -> paddle.Tensor:
    """What a LayerNorm with a weight computes. Its input's gradient has the weight in it, which Paddle's (3.0 to 3.3)
    leaves out on a CPU where no gradient of the weight itself is asked for."""
    y = F.layer_norm(x, layer._normalized_shape, None, None, layer._epsilon) * layer.weight
    return y if layer._bias_attr is False else y + layer.bias
