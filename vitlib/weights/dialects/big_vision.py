"""Google's big_vision, with blocks one by one or scanned, and prefix tokens without rows in the position table."""

from __future__ import annotations

from ...images import Preprocess
from .google import flax_dialect

_POOL = "MAPHead_0/MultiHeadDotProductAttention_0"
BIG_VISION = flax_dialect(
    "big_vision",
    "MultiHeadDotProductAttention_0",
    "LayerNorm_1",
    "MlpBlock_0",
    "pos_embedding",
    ("params/img/", "params/", "opt/target/", "img/"),
    Preprocess(crop_fraction=224 / 256, interpolation="bilinear"),
    rowless=True,
    pooling=(
        ("attn_pool.latent", "MAPHead_0/probe"),
        ("attn_pool.q.*", f"{_POOL}/query/*"),
        ("attn_pool.kv.*", (f"{_POOL}/key/*", f"{_POOL}/value/*")),
        ("attn_pool.proj.*", f"{_POOL}/out/*"),
        ("attn_pool.norm.*", "MAPHead_0/LayerNorm_0/*"),
        ("attn_pool.mlp.fc1.*", "MAPHead_0/MlpBlock_0/Dense_0/*"),
        ("attn_pool.mlp.fc2.*", "MAPHead_0/MlpBlock_0/Dense_1/*"),
    ),
    foreign=(r"(params/)?(txt/.*|t|b)",),  # SigLIP's text tower, temperature and bias
)
