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

    On a CPU, Paddle's (3.0 to 3.3) leaves the weight out of the input's gradient when the weight is frozen. Here it is
    in it, in eager mode and in graphs traced for training.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        # `self.weight is None` would break the graph of the default tracer
        if self._weight_attr is False or not self.weight.stop_gradient:
            return super().forward(x)
        # A traced graph of evaluation has no gradient
        differentiated = not x.stop_gradient if eager_on_cpu() else self.training and paddle.get_device() == "cpu"
        if not differentiated:
            return super().forward(x)
        y = F.layer_norm(x, self._normalized_shape, None, None, self._epsilon) * self.weight
        return y if self._bias_attr is False else y + self.bias
