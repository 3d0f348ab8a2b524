"""Google's big_vision, with blocks one by one or scanned, and prefix tokens without rows in the position table."""

from __future__ import annotations

from ...images import Preprocess
from .google import flax_dialect

BIG_VISION = flax_dialect(
    "big_vision",
    "MultiHeadDotProductAttention_0",
    "LayerNorm_1",
    "MlpBlock_0",
    "pos_embedding",
    ("params/img/", "params/", "opt/target/", "img/"),
    Preprocess(crop_fraction=224 / 256, interpolation="bilinear"),
    rowless=True,
)
