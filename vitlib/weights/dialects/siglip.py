"""SigLIP (arXiv 2303.15343) and SigLIP 2 (arXiv 2502.14786) in transformers. (big_vision has a file of its own.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...images import Preprocess
from .clip import HUGGINGFACE_CLIP
from .huggingface import architecture, common_options


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' `SiglipVisionConfig`, and `SiglipConfig` with one in it."""
    vision = values.get("vision_config", values)
    vision = {} if vision is None else vision
    if architecture(values).endswith("ForImageClassification") or not vision.get("vision_use_head", True):
        raise ValueError(f"{architecture(values)}: it does not read its attention pooling")
    options = common_options(vision, layer_norm_eps=1e-6, hidden_act="gelu_pytorch_tanh")
    return options | {"class_token": False, "global_pool": "map", "num_classes": 0}


_ATTENTION = "head.attention"
_WITHOUT = ("cls_token", "norm_pre.*", "head.weight", "head.bias")  # what CLIP has and SigLIP has not
HUGGINGFACE_SIGLIP = replace(
    HUGGINGFACE_CLIP,
    signature=("encoder.layers.0.self_attn.q_proj.weight", "head.probe"),
    rows=(
        *(row for row in HUGGINGFACE_CLIP.rows if row[0] not in _WITHOUT),
        ("attn_pool.latent", "head.probe"),
        ("attn_pool.q.*", f"{_ATTENTION}.in_proj_*[:1/3]"),
        ("attn_pool.kv.*", f"{_ATTENTION}.in_proj_*[1/3:]"),
        ("attn_pool.proj.*", f"{_ATTENTION}.out_proj.*"),
        ("attn_pool.norm.*", "head.layernorm.*"),
        ("attn_pool.mlp.fc1.*", "head.mlp.fc1.*"),
        ("attn_pool.mlp.fc2.*", "head.mlp.fc2.*"),
    ),
    numerics={"norm_eps": 1e-6, "activation": "gelu_tanh", "position_resize": "deit"},
    usual={},
    preprocess=lambda config, names: Preprocess(resize="squash", crop_fraction=1.0),
    model_types=("siglip", "siglip_vision_model"),
    config_options=_options,
)
