"""The transformer encoder block (ViT paper, §3.1, equations 2 and 3) and its two small parts."""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle import nn

from .attention import MultiHeadAttention
from .gated_mlp import GatedMLP
from .mlp import MLP
from .norm import LayerNorm


class DropPath(nn.Layer):
    """Stochastic depth (arXiv 1603.09382): in training each sample's branch is dropped with probability `drop_prob`,
    and the survivors are divided by 1 - drop_prob, so that the expectation stays. Any [B, ...] -> the same shape.

    Raises ValueError when drop_prob is outside [0, 1).
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f"drop_prob={drop_prob}: expected a probability in [0, 1)")
        self.drop_prob = drop_prob

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        keep = 1 - self.drop_prob
        survivors = paddle.rand([x.shape[0]] + [1] * (x.ndim - 1)) < keep
        return x * (survivors.astype(x.dtype) / keep)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob}"


class LayerScale(nn.Layer):
    """x · diag(gamma), a learnt factor for each channel (CaiT, arXiv 2103.17239, eq. 4): [..., D] -> [..., D]."""

    def __init__(self, embed_dim: int, init_value: float = 1e-4) -> None:
        super().__init__()
        self.gamma = self.create_parameter([embed_dim], default_initializer=nn.initializer.Constant(init_value))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * self.gamma


def hidden_width(embed_dim: int, mlp_ratio: float) -> int:
    """Width of the MLP's hidden layer: embed_dim · mlp_ratio, rounded down as in timm; a ratio that was itself computed
    from two widths gives them back."""
    return int(embed_dim * mlp_ratio + 1e-6)


class EncoderBlock(nn.Layer):
    """z' = MSA(LN(z)) + z (eq. 2); z = MLP(LN(z')) + z' (eq. 3): [B, N, D] -> [B, N, D].

    Parts are swapped in a subclass by the class attributes `attention_class`, `mlp_class` and `norm_class`. They are
    called with all arguments of `MultiHeadAttention`, as `mlp_class(embed_dim, hidden_dim, activation=, drop=,
    weight_init=)`, and as `norm_class(embed_dim, epsilon=)`; a class takes `**options` for what it does not need.

    Args:
        embed_dim, num_heads: width D and number of heads.
        mlp_ratio: hidden width of the MLP divided by D.
        qkv_bias, qk_norm, attn_drop: as in `MultiHeadAttention`.
        proj_drop: dropout after the attention's projection and after both layers of the MLP.
        init_values: start of the two LayerScales; None leaves them out.
        drop_path: probability of dropping a branch, as in `DropPath`.
        activation: as in `MLP`.
        gated_mlp: a `GatedMLP` in place of `MLP`; a subclass's own `mlp_class` stays.
        norm_eps: epsilon of the norms.
        fused_attn: as `fused` in `MultiHeadAttention`.
        weight_init: a scheme of `vitlib.layers.initialization.SCHEMES`.
    """

    attention_class: type[nn.Layer] = MultiHeadAttention
    mlp_class: type[nn.Layer] = MLP
    norm_class: type[nn.Layer] = LayerNorm

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        *,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        init_values: float | None = None,
        drop_path: float = 0.0,
        activation: str | Callable[[paddle.Tensor], paddle.Tensor] = "gelu",
        gated_mlp: bool = False,
        norm_eps: float = 1e-6,
        fused_attn: bool = True,
        weight_init: str = "timm",
    ) -> None:
        super().__init__()
        self.norm1 = self.norm_class(embed_dim, epsilon=norm_eps)
        self.attn = self.attention_class(
            embed_dim,
            num_heads,
            qkv_bias=qkv_bias,
            qk_norm=qk_norm,
            attn_drop=attn_drop,
            proj_drop=proj_drop,
            norm_class=self.norm_class,
            norm_eps=norm_eps,
            fused=fused_attn,
            weight_init=weight_init,
        )
        self.ls1 = nn.Identity() if init_values is None else LayerScale(embed_dim, init_values)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = self.norm_class(embed_dim, epsilon=norm_eps)
        hidden_dim = hidden_width(embed_dim, mlp_ratio)
        mlp_class = GatedMLP if gated_mlp and self.mlp_class is MLP else self.mlp_class
        self.mlp = mlp_class(embed_dim, hidden_dim, activation=activation, drop=proj_drop, weight_init=weight_init)
        self.ls2 = nn.Identity() if init_values is None else LayerScale(embed_dim, init_values)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """x: [B, N, D] -> [B, N, D]; mask as in `MultiHeadAttention.attend`."""
        y = self.norm1(x)
        x = x + self.drop_path1(self.ls1(self.attn(y) if mask is None else self.attn(y, mask=mask)))
        x = x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
        return x
