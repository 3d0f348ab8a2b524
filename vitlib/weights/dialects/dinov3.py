"""DINOv3 (arXiv 2508.10104), by its authors and in transformers. (timm's names of it are in timm.py.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from .dialect import ZEROS, Dialect, Rows
from .huggingface import headless_options

_NUMERICS: dict[str, Any] = {"norm_eps": 1e-5, "pos_embed": "rotary", "dynamic_img_size": True}
_PREPROCESS = Preprocess(resize="squash", crop_fraction=1.0, mean=IMAGENET_MEAN, std=IMAGENET_STD)
_BIAS = "blocks.{i}.attn.qkv.bias"
_ROWS: Rows = (
    ("reg_token", "storage_tokens"),
    ("blocks.{i}.mlp.fc1.*", ("blocks.{i}.mlp.w1.*", "blocks.{i}.mlp.w2.*")),
    ("blocks.{i}.mlp.fc2.*", "blocks.{i}.mlp.w3.*"),
)


def _dinov3(signature: tuple[str, ...], rows: Rows) -> Dialect:
    return Dialect(
        "dinov3",
        ("storage_tokens", "blocks.0.attn.qkv.weight", *signature),
        (*_ROWS, *rows),
        timm_names=True,
        foreign=(r"blocks\.\d+\.attn\.qkv\.bias_mask", r"local_cls_norm\..*"),
        numerics=_NUMERICS,
        preprocess=lambda config, names: _PREPROCESS,
    )


# The bias of the keys is masked: whatever its tensor holds, zero counts
DINOV3_MASKED = _dinov3(("blocks.0.attn.qkv.bias_mask",), ((_BIAS, (f"{_BIAS}[:1/3]", ZEROS, f"{_BIAS}[2/3:]")),))
DINOV3 = _dinov3((), ())


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' `DINOv3ViTConfig`."""
    usual = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6, "layer_norm_eps": 1e-5}
    options = headless_options(values, **usual)
    theta = (values.get("rope_parameters") or {}).get("rope_theta", 100.0)
    return options | {
        "qkv_bias": values.get("query_bias", True) or values.get("value_bias", True),
        "gated_mlp": values.get("use_gated_mlp", False),
        "init_values": values.get("layerscale_value", 1.0),
        "reg_tokens": values.get("num_register_tokens", 0),
        "pos_embed": "rotary",
        "rotary_base": float(values.get("rope_theta", theta)),
        "dynamic_img_size": True,
    }


def _huggingface(gated: bool) -> Dialect:
    block = "layer.{i}"
    attention = f"{block}.attention"
    hidden = (f"{block}.mlp.gate_proj.*", f"{block}.mlp.up_proj.*") if gated else f"{block}.mlp.up_proj.*"
    rows: Rows = (
        ("cls_token", "embeddings.cls_token"),
        ("reg_token", "embeddings.register_tokens"),
        ("patch_embed.proj.*", "embeddings.patch_embeddings.*"),
        ("blocks.{i}.norm1.*", f"{block}.norm1.*"),
        ("blocks.{i}.attn.qkv.*", (f"{attention}.q_proj.*", f"{attention}.k_proj.*", f"{attention}.v_proj.*")),
        (_BIAS, (f"{attention}.q_proj.bias", ZEROS, f"{attention}.v_proj.bias")),
        ("blocks.{i}.attn.proj.*", f"{attention}.o_proj.*"),
        ("blocks.{i}.ls1.gamma", f"{block}.layer_scale1.lambda1"),
        ("blocks.{i}.norm2.*", f"{block}.norm2.*"),
        ("blocks.{i}.mlp.fc1.*", hidden),
        ("blocks.{i}.mlp.fc2.*", f"{block}.mlp.down_proj.*"),
        ("blocks.{i}.ls2.gamma", f"{block}.layer_scale2.lambda1"),
        ("norm.*", "norm.*"),
    )
    signature = ("layer.0.attention.q_proj.weight", "layer.0.layer_scale1.lambda1")
    return Dialect(
        "huggingface",
        (*signature, "layer.0.mlp.gate_proj.weight") if gated else signature,
        rows,
        prefixes=("model.",),
        numerics=_NUMERICS,
        preprocess=lambda config, names: _PREPROCESS,
        model_types=("dinov3_vit",),
        config_options=_options,
    )


HUGGINGFACE_DINOV3 = (_huggingface(True), _huggingface(False))
