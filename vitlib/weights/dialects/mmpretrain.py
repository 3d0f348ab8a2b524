"""OpenMMLab's mmpretrain (and mmcls before it)."""

from __future__ import annotations

from ...images import Preprocess
from .dialect import Dialect

MMPRETRAIN = Dialect(
    "mmpretrain",
    ("layers.0.attn.qkv.weight", "layers.0.ffn.layers.0.0.weight"),
    (
        ("cls_token", "cls_token"),
        ("dist_token", "dist_token"),
        ("pos_embed", "pos_embed"),
        ("patch_embed.proj.*", "patch_embed.projection.*"),
        ("norm_pre.*", "pre_norm.*"),
        ("blocks.{i}.norm1.*", "layers.{i}.ln1.*"),
        ("blocks.{i}.attn.qkv.*", "layers.{i}.attn.qkv.*"),
        ("blocks.{i}.attn.proj.*", "layers.{i}.attn.proj.*"),
        ("blocks.{i}.ls1.gamma", "layers.{i}.attn.gamma1.weight"),
        ("blocks.{i}.norm2.*", "layers.{i}.ln2.*"),
        ("blocks.{i}.mlp.fc1.*", "layers.{i}.ffn.layers.0.0.*"),
        ("blocks.{i}.mlp.fc2.*", "layers.{i}.ffn.layers.1.*"),
        ("blocks.{i}.ls2.gamma", "layers.{i}.ffn.gamma2.weight"),
        ("norm.*", "ln1.*"),
        ("fc_norm.*", "ln2.*"),
        ("pre_logits.fc.*", "head.layers.pre_logits.*"),
        ("head.*", "head.layers.head.*"),
        ("head_dist.*", "head.layers.head_dist.*"),
    ),
    prefixes=("backbone.",),
    foreign=(r"(data_preprocessor|neck)\..*",),
    numerics={"norm_eps": 1e-6, "activation": "gelu", "position_resize": "deit"},
    preprocess=lambda config, names: Preprocess(crop_fraction=224 / 256),
)
