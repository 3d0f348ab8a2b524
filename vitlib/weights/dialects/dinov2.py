"""DINO (arXiv 2104.14294), DINOv2 (arXiv 2304.07193) and MAE (arXiv 2111.06377), by their authors and in transformers.

Their authors' names are timm's, but for a few. An encoder of DINO or MAE alone has timm's names and nothing else, so
that only `dialect=` tells it from timm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from .dialect import Dialect, Rows
from .huggingface import headless_options

_SHORT = Preprocess(crop_fraction=224 / 256, mean=IMAGENET_MEAN, std=IMAGENET_STD)
_NUMERICS = {"norm_eps": 1e-6, "activation": "gelu"}
_BLOCK = "blocks.0.attn.qkv.weight"

DINO = Dialect(
    "dino",
    (_BLOCK, "head.last_layer.weight_v"),
    timm_names=True,
    named_signature=(_BLOCK,),
    numerics={**_NUMERICS, "position_resize": "dino"},
    preprocess=lambda config, names: _SHORT,
)
MAE = Dialect(
    "mae",
    (_BLOCK, "decoder_pos_embed"),
    timm_names=True,
    named_signature=(_BLOCK,),
    numerics={**_NUMERICS, "position_resize": "deit"},
    preprocess=lambda config, names: _SHORT,
)


def _dinov2(signature: tuple[str, ...], position_resize: str) -> Dialect:
    return Dialect(
        "dinov2",
        ("mask_token", "blocks.0.ls1.gamma", *signature),
        (
            ("reg_token", "register_tokens"),
            ("blocks.{i}.mlp.fc1.*", "blocks.{i}.mlp.w12.*"),
            ("blocks.{i}.mlp.fc2.*", "blocks.{i}.mlp.w3.*"),
        ),
        timm_names=True,
        named_signature=("blocks.0.ls1.gamma", *signature),
        # activation: of its gated MLPs SiLU, which their shapes tell
        numerics={"norm_eps": 1e-6, "position_resize": position_resize},
        preprocess=lambda config, names: _SHORT,
        rows_without=("reg_token",),
    )


DINOV2_REGISTERS = _dinov2(("register_tokens",), "dinov2_registers")
DINOV2 = _dinov2((), "dino")


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' `Dinov2Config` and `Dinov2WithRegistersConfig`."""
    registers = values.get("model_type") == "dinov2_with_registers"
    options = headless_options(values, layer_norm_eps=1e-6, patch_size=16 if registers else 14)
    width = options["embed_dim"]
    hidden, gated = int(width * values.get("mlp_ratio", 4)), values.get("use_swiglu_ffn", False)
    if gated:  # two thirds, rounded up to a multiple of 8
        hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
        options["activation"] = "silu"
    options |= {
        "mlp_ratio": hidden / width,
        "gated_mlp": gated,
        "init_values": values.get("layerscale_value", 1.0),
        "dynamic_img_size": True,
    }
    if registers:
        options |= {
            "reg_tokens": values.get("num_register_tokens", 4),
            "no_embed_class": True,
            "position_resize": "dinov2_registers",
        }
    return options


def _huggingface(attention: str, names: tuple[str, str, str], out: str, registers: bool) -> Dialect:
    block = "encoder.layer.{i}"
    rows: Rows = (
        ("cls_token", "embeddings.cls_token"),
        ("reg_token", "embeddings.register_tokens"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj.*", "embeddings.patch_embeddings.projection.*"),
        ("blocks.{i}.norm1.*", f"{block}.norm1.*"),
        ("blocks.{i}.attn.qkv.*", tuple(f"{block}.{attention}.{name}.*" for name in names)),
        ("blocks.{i}.attn.proj.*", f"{block}.{out}.*"),
        ("blocks.{i}.ls1.gamma", f"{block}.layer_scale1.lambda1"),
        ("blocks.{i}.norm2.*", f"{block}.norm2.*"),
        ("blocks.{i}.mlp.fc1.*", f"{block}.mlp.fc1.*"),
        ("blocks.{i}.mlp.fc1.*", f"{block}.mlp.weights_in.*"),
        ("blocks.{i}.mlp.fc1.*", (f"{block}.mlp.gate_proj.*", f"{block}.mlp.up_proj.*")),
        ("blocks.{i}.mlp.fc2.*", f"{block}.mlp.fc2.*"),
        ("blocks.{i}.mlp.fc2.*", f"{block}.mlp.weights_out.*"),
        ("blocks.{i}.mlp.fc2.*", f"{block}.mlp.down_proj.*"),
        ("blocks.{i}.ls2.gamma", f"{block}.layer_scale2.lambda1"),
        ("norm.*", "layernorm.*"),
    )
    signature = (f"encoder.layer.0.{attention}.{names[0]}.weight", "encoder.layer.0.layer_scale1.lambda1")
    return Dialect(
        "huggingface",
        (*signature, "embeddings.register_tokens") if registers else signature,
        rows,
        prefixes=("dinov2.", "dinov2_with_registers."),
        numerics={"norm_eps": 1e-6, "position_resize": "dinov2_registers" if registers else "deit"},
        preprocess=lambda config, names: _SHORT,
        rows_without=("reg_token",),
        model_types=("dinov2_with_registers",) if registers else ("dinov2",),
        config_options=_options,
    )


# On the disk, and in the memory of transformers 5
HUGGINGFACE_DINOV2 = tuple(
    _huggingface(*spelling, registers)
    for registers in (True, False)
    for spelling in (
        ("attention.attention", ("query", "key", "value"), "attention.output.dense"),
        ("attention", ("q_proj", "k_proj", "v_proj"), "attention.o_proj"),
    )
)
