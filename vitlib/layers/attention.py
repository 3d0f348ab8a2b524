"""Multi-head self-attention (ViT paper, appendix A, equations 5 to 8)."""

from __future__ import annotations

import copy
import math

import paddle
import paddle.nn.functional as F
from paddle import nn

from .initialization import linear
from .linear import eager_on_cpu, swap_axes
from .norm import LayerNorm
from .patch_embed import is_positive_int


class MultiHeadAttention(nn.Layer):
    """[q, k, v] = x·U_qkv (eq. 5); A = softmax(q·kᵀ/√d) (eq. 6); heads A·v (eq. 7), concatenated and projected (eq. 8).

    Research code overrides one of the steps: `project_qkv`, `attend`, `merge`.

    Args:
        embed_dim: width D of the tokens.
        num_heads: heads H; each is d = D / H wide.
        qkv_bias: whether the projection to q, k, v has a bias.
        qk_norm: whether q and k are normalised over d before the product (ViT-22B, arXiv 2302.05442).
        attn_drop: dropout probability on the attention weights.
        proj_drop: dropout probability after the output projection.
        norm_class, norm_eps: the norm of `qk_norm`, called as `norm_class(d, epsilon=norm_eps)`.
        fused: use `paddle.nn.functional.scaled_dot_product_attention`, except in eager mode on a CPU, where it fuses
            nothing and is slower. Otherwise the weights are computed explicitly, with the same results.
        weight_init: a scheme of `vitlib.layers.initialization.SCHEMES`.

    Raises ValueError when num_heads does not divide embed_dim, and when a dropout is outside [0, 1).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        norm_class: type[nn.Layer] = LayerNorm,
        norm_eps: float = 1e-6,
        fused: bool = True,
        weight_init: str = "timm",
    ) -> None:
        super().__init__()
        if not is_positive_int(embed_dim) or not is_positive_int(num_heads) or embed_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide embed_dim={embed_dim}; choose a divisor")
        for name, rate in (("attn_drop", attn_drop), ("proj_drop", proj_drop)):
            if not 0 <= rate < 1:
                raise ValueError(f"{name}={rate}: expected a probability in [0, 1)")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.attn_drop, self.fused = attn_drop, fused
        self.qkv = linear(embed_dim, 3 * embed_dim, weight_init, kind="qkv", bias=qkv_bias)
        self.q_norm = norm_class(self.head_dim, epsilon=norm_eps) if qk_norm else nn.Identity()
        self.k_norm = norm_class(self.head_dim, epsilon=norm_eps) if qk_norm else nn.Identity()
        self.proj = linear(embed_dim, embed_dim, weight_init)
        self.proj_drop = nn.Dropout(proj_drop)

    def project_qkv(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """x: [B, N, D] -> q, k, v, each [B, N, H, d]; q and k normalised when `qk_norm`."""
        qkv = self.qkv(x).reshape([0, 0, 3, self.num_heads, self.head_dim])
        q, k, v = qkv.unbind(axis=2)
        return self.q_norm(q), self.k_norm(k), v

    def attend(
        self, q: paddle.Tensor, k: paddle.Tensor, v: paddle.Tensor, mask: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """softmax(q·kᵀ/√d + mask)·v: q, k, v [B, N, H, d] -> [B, N, H, d].

        mask: boolean (True takes part) or added to the logits; [N, N], or four axes that broadcast to [B, H, N, N].

        Raises TypeError for a mask of another type, and ValueError for one of three axes.
        """
        drop = self.attn_drop if self.training else 0.0
        if self.fused and not eager_on_cpu():
            mask = None if mask is None else _additive(mask, q)
            return F.scaled_dot_product_attention(
                query=q, key=k, value=v, attn_mask=mask, dropout_p=drop, training=self.training
            )
        weights = F.dropout(self._softmax(q, k, mask), drop, training=self.training)
        return swap_axes(weights @ swap_axes(v))

    def merge(self, heads: paddle.Tensor) -> paddle.Tensor:
        """Concatenate the heads and project: [B, N, H, d] -> [B, N, D]."""
        return self.proj_drop(self.proj(heads.flatten(2)))

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """x: [B, N, D] -> [B, N, D]; mask as in `attend`."""
        q, k, v = self.project_qkv(x)
        return self.merge(self.attend(q, k, v, mask=mask))

    def attention_weights(self, x: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """The attention weights of `forward` for x [B, N, D], without dropout: [B, H, N, N], rows are queries.

        For a subclass that overrides `attend`, it is called with an identity matrix as values, which gives the weights
        if `attend` is linear in the values.
        """
        q, k, _ = self.project_qkv(x)
        return self.weights_of(q, k, mask)

    def weights_of(self, q: paddle.Tensor, k: paddle.Tensor, mask: paddle.Tensor | None) -> paddle.Tensor:
        """The weights with which `attend` reads the values, without dropout: q, k [B, N, H, d] -> [B, H, N, N]."""
        if getattr(self.attend, "__func__", None) is MultiHeadAttention.attend:
            return self._softmax(q, k, mask)
        without_dropout = copy.copy(self)  # other threads may be using self
        without_dropout.training = False
        return without_dropout._probe(q, k, mask)

    def _softmax(self, q: paddle.Tensor, k: paddle.Tensor, mask: paddle.Tensor | None) -> paddle.Tensor:
        """softmax(q·kᵀ/√d + mask): [B, N, H, d] twice -> [B, H, N, N]."""
        logits = paddle.matmul(swap_axes(q) * (1 / math.sqrt(self.head_dim)), swap_axes(k), transpose_y=True)
        return F.softmax(logits if mask is None else logits + _additive(mask, q), axis=-1)

    def _probe(self, q: paddle.Tensor, k: paddle.Tensor, mask: paddle.Tensor | None) -> paddle.Tensor:
        """The matrix of an overridden `attend`, d columns at a time, so that v keeps the shape it expects."""
        b, n, h, d = q.shape
        identity = paddle.eye(n, -(-n // d) * d, dtype=q.dtype)
        columns = []
        for start in range(0, n, d):
            values = identity[:, start : start + d].reshape([1, n, 1, d]).expand([b, n, h, d])
            columns.append(self.attend(q, k, values, mask=mask)[..., : n - start])
        return paddle.concat(columns, axis=-1).transpose([0, 2, 1, 3])


def _additive(mask: paddle.Tensor, q: paddle.Tensor) -> paddle.Tensor:
    """A mask as numbers of q's type to add to the logits: Paddle 3.0 refuses booleans on the CPU.

    Raises TypeError for anything but a boolean or floating-point tensor, and ValueError for a mask of three axes.
    """
    kind = str(getattr(mask, "dtype", type(mask).__name__)).rpartition(".")[2]
    if not hasattr(mask, "stop_gradient") or not (kind == "bool" or "float" in kind):
        raise TypeError(
            f"expected a mask that is boolean (True takes part) or floating-point (added to the logits), found {kind}: "
            "convert 0 and 1 with mask.astype('bool'); for labels, give paddle.Model its inputs=[InputSpec(...)]"
        )
    if mask.ndim == 3:  # would broadcast as [H, N, N]
        raise ValueError(
            f"found a mask of three axes, {list(mask.shape)}, expected two or four: for one mask per image make it "
            "[B, 1, N, N] with mask.unsqueeze(1), for one per head [1, H, N, N] with mask.unsqueeze(0)"
        )
    if kind != "bool":
        return mask.astype(q.dtype)
    return paddle.where(mask, paddle.zeros([], q.dtype), paddle.full([], -1e30, q.dtype))
