"""torchvision's VisionTransformer."""

from __future__ import annotations

from collections.abc import Container

from ...images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from ...layers.patch_embed import to_pair
from ...models import ViTConfig
from .dialect import Dialect


def _usual_preprocess(config: ViTConfig, names: Container[str]) -> Preprocess:
    """The IMAGENET1K_V1 weights': 256 -> 224, for ViT-L/16 242 -> 224."""
    full = 242 if config.embed_dim == 1024 and to_pair(config.patch_size) == (16, 16) else 256
    return Preprocess(crop_fraction=224 / full, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _torchvision(fc1: str, fc2: str) -> Dialect:
    return Dialect(
        "torchvision",
        (f"encoder.layers.encoder_layer_0.mlp.{fc1}.weight",),
        (
            ("cls_token", "class_token"),
            ("pos_embed", "encoder.pos_embedding"),
            ("patch_embed.proj.*", "conv_proj.*"),
            ("blocks.{i}.norm1.*", "encoder.layers.encoder_layer_{i}.ln_1.*"),
            ("blocks.{i}.attn.qkv.*", "encoder.layers.encoder_layer_{i}.self_attention.in_proj_*"),
            ("blocks.{i}.attn.proj.*", "encoder.layers.encoder_layer_{i}.self_attention.out_proj.*"),
            ("blocks.{i}.norm2.*", "encoder.layers.encoder_layer_{i}.ln_2.*"),
            ("blocks.{i}.mlp.fc1.*", f"encoder.layers.encoder_layer_{{i}}.mlp.{fc1}.*"),
            ("blocks.{i}.mlp.fc2.*", f"encoder.layers.encoder_layer_{{i}}.mlp.{fc2}.*"),
            ("norm.*", "encoder.ln.*"),
            ("pre_logits.fc.*", "heads.pre_logits.*"),
            ("head.*", "heads.head.*"),
        ),
        numerics={"norm_eps": 1e-6, "activation": "gelu", "position_resize": "torchvision"},
        preprocess=_usual_preprocess,
    )


TORCHVISION = _torchvision("0", "3")
TORCHVISION_OLD = _torchvision("linear_1", "linear_2")  # before 0.13's release
