"""Attention pooling (Set Transformer's PMA, arXiv 1810.00825; big_vision's `MAPHead`), which SigLIP pools with."""

from __future__ import annotations

import math
from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle import nn

from .initialization import linear, truncated_normal
from .linear import swap_axes
from .mlp import MLP
from .norm import LayerNorm
from .patch_embed import is_positive_int


class AttentionPool(nn.Layer):
    """One learnt query attends to all tokens, followed by an MLP with a residual: [B, N, D] -> [B, D].

    y = MSA(latent, tokens); y + MLP(LN(y)), with names as in timm's `AttentionPoolLatent`.

    Args:
        embed_dim, num_heads: width D and number of heads.
        hidden_dim: width of the MLP's hidden layer.
        qkv_bias: whether the projections to q, k, v have a bias.
        activation, weight_init: as in `MLP`.
        norm_class, norm_eps: the norm before the MLP, called as `norm_class(D, epsilon=norm_eps)`.

    Raises ValueError when num_heads does not divide embed_dim.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        hidden_dim: int,
        *,
        qkv_bias: bool = True,
        activation: str | Callable[[paddle.Tensor], paddle.Tensor] = "gelu",
        norm_class: type[nn.Layer] = LayerNorm,
        norm_eps: float = 1e-6,
        weight_init: str = "timm",
    ) -> None:
        super().__init__()
        if not is_positive_int(embed_dim) or not is_positive_int(num_heads) or embed_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide embed_dim={embed_dim}; choose a divisor")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        attribute = paddle.ParamAttr(initializer=truncated_normal(1 / math.sqrt(embed_dim)))
        self.latent = self.create_parameter([1, 1, embed_dim], attr=attribute)
        self.q = linear(embed_dim, embed_dim, weight_init, bias=qkv_bias)
        self.kv = linear(embed_dim, 2 * embed_dim, weight_init, bias=qkv_bias)
        self.proj = linear(embed_dim, embed_dim, weight_init)
        self.norm = norm_class(embed_dim, epsilon=norm_eps)
        self.mlp = MLP(embed_dim, hidden_dim, activation=activation, weight_init=weight_init)

    def macs(self, num_tokens: int) -> int:
        """Multiply-accumulates for one image of so many tokens: the linear layers, q·kᵀ and A·v for one query."""
        width, hidden = self.embed_dim, self.mlp.fc2.weight.shape[0]
        return 2 * num_tokens * width * (width + 1) + 2 * width * (width + hidden)

    def project(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """x: [B, N, D] -> q [1, H, 1, d] and k, v, each [B, H, N, d]"""
        q = self.q(self.latent).reshape([1, self.num_heads, 1, self.head_dim])
        k, v = self.kv(x).reshape([0, 0, 2, self.num_heads, self.head_dim]).unbind(axis=2)
        return q, swap_axes(k), swap_axes(v)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x: [B, N, D] -> [B, D]"""
        return self.pooled_with_weights(x)[0]

    def pooled_with_weights(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """x: [B, N, D] -> what `forward` gives [B, D], and the weights [B, H, 1, N] with which the query reads x."""
        q, k, v = self.project(x)
        weights = F.softmax(paddle.matmul(q / math.sqrt(self.head_dim), k, transpose_y=True), axis=-1)
        y = self.proj((weights @ v).flatten(1))  # [B, D]
        return y + self.mlp(self.norm(y)), weights
