"""The MLP of a transformer block (ViT paper, §3.1: two layers with a GELU non-linearity)."""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle import nn

from .initialization import linear


def gelu_tanh(x: paddle.Tensor) -> paddle.Tensor:
    """GELU by its tanh approximation, the default of JAX (Google's ViT, big_vision)."""
    return F.gelu(x, approximate=True)


def quick_gelu(x: paddle.Tensor) -> paddle.Tensor:
    """x · σ(1.702 x), the activation of OpenAI's CLIP."""
    return x * F.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[paddle.Tensor], paddle.Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "silu": F.silu,
}


class MLP(nn.Layer):
    """fc2(drop(activation(fc1(x)))) with dropout after each layer: [B, N, D] -> [B, N, D].

    Args:
        embed_dim: width D of the tokens.
        hidden_dim: width of the hidden layer; 4·D by default.
        activation: a name of `ACTIVATIONS` ("gelu" exact, "gelu_tanh", "quick_gelu", "relu", "silu") or a function.
        drop: dropout probability after each of the two layers, in [0, 1).
        weight_init: a scheme of `vitlib.layers.initialization.SCHEMES`.

    Raises ValueError for an unknown activation or scheme, and for a hidden_dim below 1.
    """

    fc1_products = 1  # of width hidden_dim

    def __init__(
        self,
        embed_dim: int,
        hidden_dim: int | None = None,
        *,
        activation: str | Callable[[paddle.Tensor], paddle.Tensor] = "gelu",
        drop: float = 0.0,
        weight_init: str = "timm",
    ) -> None:
        super().__init__()
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}; there are {', '.join(map(repr, ACTIVATIONS))}")
        hidden_dim = 4 * embed_dim if hidden_dim is None else hidden_dim
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim={hidden_dim}: expected at least 1 (in a block, mlp_ratio times embed_dim)")
        if not 0 <= drop < 1:
            raise ValueError(f"drop={drop}: expected a probability in [0, 1)")
        self.fc1 = linear(embed_dim, self.fc1_products * hidden_dim, weight_init, bias_kind="mlp_bias")
        self.activation = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        self.drop1 = nn.Dropout(drop)
        self.fc2 = linear(hidden_dim, embed_dim, weight_init, bias_kind="mlp_bias")
        self.drop2 = nn.Dropout(drop)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x: [B, N, D] -> [B, N, D]"""
        x = self.drop1(self.activation(self.fc1(x)))  # [B, N, hidden_dim]
        return self.drop2(self.fc2(x))
