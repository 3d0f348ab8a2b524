"""PaddleClas and ppim, and what paddle.save makes of any vitlib model: timm's names in Paddle's layout."""

from __future__ import annotations

from .dialect import Dialect

PADDLECLAS = Dialect(
    "paddleclas",
    ("blocks.0.attn.qkv.weight",),
    timm_names=True,
    formats=("pdparams", "paddle tensors"),
    layout="paddle",
)
