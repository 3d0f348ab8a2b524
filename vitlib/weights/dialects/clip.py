"""CLIP's image tower (arXiv 2103.00020) out of the whole model: OpenAI's, open_clip's and transformers'.

The projection to the common space of images and texts is the model's head; it has no bias, so that of the head is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...images import CLIP_MEAN, CLIP_STD, Preprocess
from .dialect import ZEROS, Dialect, Rows
from .huggingface import architecture, common_options

_PREPROCESS = Preprocess(crop_fraction=1.0, mean=CLIP_MEAN, std=CLIP_STD)


def _tower(prefix: str) -> Rows:
    block = f"{prefix}transformer.resblocks.{{i}}"
    return (
        ("cls_token", f"{prefix}class_embedding"),
        ("pos_embed", f"{prefix}positional_embedding"),
        ("patch_embed.proj.*", f"{prefix}conv1.*"),
        ("norm_pre.*", f"{prefix}ln_pre.*"),
        ("blocks.{i}.norm1.*", f"{block}.ln_1.*"),
        ("blocks.{i}.attn.qkv.*", f"{block}.attn.in_proj_*"),
        ("blocks.{i}.attn.proj.*", f"{block}.attn.out_proj.*"),
        ("blocks.{i}.norm2.*", f"{block}.ln_2.*"),
        ("blocks.{i}.mlp.fc1.*", f"{block}.mlp.c_fc.*"),
        ("blocks.{i}.mlp.fc2.*", f"{block}.mlp.c_proj.*"),
        ("norm.*", f"{prefix}ln_post.*"),
        ("head.weight", f"{prefix}proj"),
        ("head.bias", ZEROS),
    )


# Of the whole model: the image tower under `visual.`, and the text tower beside it
OPEN_CLIP = Dialect(
    "open_clip",
    ("visual.conv1.weight", "visual.class_embedding", "visual.transformer.resblocks.0.attn.in_proj_weight"),
    _tower("visual."),
    layouts={"head.weight": "paddle"},  # it is multiplied from the right: [width, out]
    foreign=(
        r"(transformer|token_embedding|ln_final|text|text_projection)\..*",
        r"positional_embedding|text_projection|logit_scale|logit_bias|attn_mask|input_resolution|context_length"
        r"|vocab_size",
    ),
    numerics={"norm_eps": 1e-5, "position_resize": "timm"},
    usual={"activation": "quick_gelu"},  # OpenAI's; many of open_clip's have "gelu"
    preprocess=lambda config, names: _PREPROCESS,
)
# OpenAI's own files have these numbers beside the weights
OPENAI = replace(
    OPEN_CLIP,
    name="openai",
    signature=(*OPEN_CLIP.signature, "input_resolution"),
    named_signature=OPEN_CLIP.signature,
    numerics={**OPEN_CLIP.numerics, "activation": "quick_gelu"},
    usual={},
)
# The image tower alone
OPEN_CLIP_TOWER = replace(
    OPEN_CLIP,
    signature=tuple(name.removeprefix("visual.") for name in OPEN_CLIP.signature),
    rows=_tower(""),
    foreign=(),
)
OPENAI_TOWER = replace(
    OPEN_CLIP_TOWER, name="openai", signature=(), named_signature=OPEN_CLIP_TOWER.signature, numerics=OPENAI.numerics
)


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' `CLIPVisionConfig`, and `CLIPConfig` with one in it."""
    vision = values.get("vision_config", values)
    vision = {} if vision is None else vision
    options = common_options(vision, patch_size=32, layer_norm_eps=1e-5, hidden_act="quick_gelu")
    projected = architecture(values) != "CLIPVisionModel"
    if architecture(values).endswith("ForImageClassification"):
        raise ValueError(f"{architecture(values)}: its classifier reads the patches without the last norm")
    options |= {
        "pre_norm": True,
        "patch_bias": False,
        "num_classes": values.get("projection_dim", 512) if projected else 0,
    }
    return options


HUGGINGFACE_CLIP = Dialect(
    "huggingface",
    ("encoder.layers.0.self_attn.q_proj.weight", "pre_layrnorm.weight"),
    (
        ("cls_token", "embeddings.class_embedding"),
        ("pos_embed", "embeddings.position_embedding.weight"),
        ("patch_embed.proj.*", "embeddings.patch_embedding.*"),
        ("norm_pre.*", "pre_layrnorm.*"),
        ("blocks.{i}.norm1.*", "encoder.layers.{i}.layer_norm1.*"),
        (
            "blocks.{i}.attn.qkv.*",
            tuple(f"encoder.layers.{{i}}.self_attn.{name}_proj.*" for name in "qkv"),
        ),
        ("blocks.{i}.attn.proj.*", "encoder.layers.{i}.self_attn.out_proj.*"),
        ("blocks.{i}.norm2.*", "encoder.layers.{i}.layer_norm2.*"),
        ("blocks.{i}.mlp.fc1.*", "encoder.layers.{i}.mlp.fc1.*"),
        ("blocks.{i}.mlp.fc2.*", "encoder.layers.{i}.mlp.fc2.*"),
        ("norm.*", "post_layernorm.*"),
        ("head.weight", "visual_projection.weight"),
        ("head.bias", ZEROS),
    ),
    prefixes=("vision_model.",),
    foreign=(r"text_model\..*|text_projection\..*|logit_scale|logit_bias",),
    numerics={"norm_eps": 1e-5, "position_resize": "deit"},
    usual={"activation": "quick_gelu"},
    preprocess=lambda config, names: _PREPROCESS,
    model_types=("clip", "clip_vision_model"),
    config_options=_options,
)
