"""facebook's DeiT III: timm's names, but for LayerScale. (The first DeiT's names are timm's.)"""

from __future__ import annotations

from ...images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from .dialect import Dialect

FACEBOOK = Dialect(
    "facebook",
    # gamma_1 alone is also in BEiT's, CaiT's and EVA's files, which compute in another way
    ("blocks.0.gamma_1", "blocks.0.gamma_2", "blocks.0.attn.qkv.bias", "pos_embed", "cls_token"),
    (("blocks.{i}.ls1.gamma", "blocks.{i}.gamma_1"), ("blocks.{i}.ls2.gamma", "blocks.{i}.gamma_2")),
    timm_names=True,
    named_signature=("blocks.0.attn.qkv.weight",),
    numerics={"norm_eps": 1e-6, "activation": "gelu", "position_resize": "deit"},
    preprocess=lambda config, names: Preprocess(crop_fraction=224 / 256, mean=IMAGENET_MEAN, std=IMAGENET_STD),
)
