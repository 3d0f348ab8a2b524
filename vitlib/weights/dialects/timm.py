"""timm: its names are vitlib's own; its config.json names an architecture of its registry.

timm_architectures.json holds every architecture of the registry: for the plain Vision Transformers the options in which
they differ from `ViTConfig`'s defaults, for the others the reason why they are not plain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from ...images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from ...layers.patch_embed import to_pair
from ...layers.resnet_stem import stem_stride
from ...models import ViTConfig
from .dialect import ZEROS, Dialect, Rows, SourceConfig, class_labels

# transformers' TimmWrapper; a timm model as the image tower of open_clip
_PREFIXES = ("timm_model.", "visual.trunk.")
_FOREIGN = (r"text\..*|logit_scale|logit_bias",)
TIMM = Dialect("timm", ("blocks.0.attn.qkv.weight",), timm_names=True, prefixes=_PREFIXES, foreign=_FOREIGN)

# timm's class Eva: EVA and, with rotary positions, DINOv3
_EVA: Rows = (
    ("blocks.{i}.attn.qkv.bias", ("blocks.{i}.attn.q_bias", ZEROS, "blocks.{i}.attn.v_bias")),
    ("blocks.{i}.ls1.gamma", "blocks.{i}.gamma_1"),
    ("blocks.{i}.ls2.gamma", "blocks.{i}.gamma_2"),
)
# "avg" is timm's own choice; DINOv3's authors take the class token
_DINOV3: dict[str, Any] = {
    "norm_eps": 1e-5,
    "pos_embed": "rotary",
    "global_pool": "avg",
    "fc_norm": False,
    "dynamic_img_size": True,
}
TIMM_EVA = Dialect(
    "timm", ("blocks.0.attn.q_bias", "pos_embed"), _EVA, timm_names=True, prefixes=_PREFIXES, foreign=_FOREIGN
)
TIMM_DINOV3 = replace(TIMM_EVA, signature=("blocks.0.gamma_1", "reg_token"), numerics=_DINOV3)
TIMM_DINOV3_GATED = replace(
    TIMM_DINOV3,
    signature=(*TIMM_DINOV3.signature, "blocks.0.mlp.fc1_g.weight"),
    rows=(*_EVA, ("blocks.{i}.mlp.fc1.*", ("blocks.{i}.mlp.fc1_g.*", "blocks.{i}.mlp.fc1_x.*"))),
)

# Arguments of timm's constructors that are options of `ViTConfig`, too
# fmt: off
_SHARED_ARGUMENTS = (
    "img_size", "patch_size", "in_chans", "num_classes", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias",
    "qk_norm", "class_token", "no_embed_class", "reg_tokens", "pre_norm", "fc_norm", "init_values", "drop_rate",
    "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate", "dynamic_img_size",
    "dynamic_img_pad",
)
# fmt: on
_WITHOUT_EFFECT = ("weight_init", "fix_init", "pretrained")  # on a model that is filled from a file
_ACTIVATIONS = {name: name for name in ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu")}
_POSITIONS = {"learn": "learned", "none": "none", "": "none"}
_CROPS = {"center": "short", "squash": "squash", "border": "border"}


@cache
def architectures() -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """timm's plain architectures, name -> options, and all others, name -> reason."""
    table = json.loads((files(__package__) / "timm_architectures.json").read_text(encoding="utf-8"))
    reasons = {name: reason for reason, names in table["other"].items() for name in names.split()}
    return table["plain"], reasons


def is_config(values: Mapping[str, Any]) -> bool:
    """Whether a config.json was written by timm."""
    return isinstance(values.get("architecture"), str)


def read_config(values: Mapping[str, Any]) -> SourceConfig:
    """The config.json that timm pushes to a hub: an architecture's name, model_args and pretrained_cfg.

    Raises ValueError for arguments that have no counterpart here, and for what cannot work.
    """
    name = values["architecture"]
    data = values.get("pretrained_cfg") or {}
    labels = class_labels(values.get("label_names") or data.get("label_names") or None)
    plain, others = architectures()
    if name not in plain:
        known = name in others
        refusal = (
            f"is of timm's {name}, which is no plain Vision Transformer: it has {others[name]}"
            if known and others[name] != "no Vision Transformer"
            else f"is of timm's {name}, which is no Vision Transformer"
            if known
            else f"is of timm's architecture {name[:80]!r}, which is not known here"
        )
        return SourceConfig("timm", labels=labels, refusal=refusal)
    options = {key: value for key, value in plain[name].items() if key != "parameters"}
    arguments = _arguments(values.get("model_args") or {})
    if "stem_blocks" in options and "patch_size" in arguments:  # timm's is in features of the ResNet
        stride = stem_stride(tuple(options["stem_blocks"]))
        arguments["patch_size"] = tuple(stride * side for side in to_pair(arguments["patch_size"], "patch_size"))
    options |= arguments
    if isinstance(values.get("global_pool"), str):
        options["global_pool"] = values["global_pool"] or "none"
    if values.get("num_classes") is not None:
        options["num_classes"] = values["num_classes"]
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    preprocess, assumed = _preprocess(name, data)
    config = ViTConfig(**options).replace(preprocess=preprocess.replace(size=None))
    complete = {key: getattr(config, key) for key in config.to_dict()}
    return SourceConfig("timm", complete, preprocess, labels, assumed=assumed)


def _arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    options = {}
    for name, value in arguments.items():
        if name in _SHARED_ARGUMENTS:
            options[name] = value
        elif name == "global_pool":
            options[name] = value or "none"
        elif name == "act_layer":
            options["activation"] = _lookup(_ACTIVATIONS, name, value)
        elif name == "pos_embed":
            options[name] = _lookup(_POSITIONS, name, value)
        elif name not in _WITHOUT_EFFECT:
            raise ValueError(f"model_args has {name}={value!r}, for which there is no option here")
    return options


def _lookup(table: Mapping[str, str], name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in table:
        raise ValueError(f"{name}={value!r} is not supported; there are {', '.join(map(repr, table))}")
    return table[value]


def _preprocess(name: str, data: Mapping[str, Any]) -> tuple[Preprocess, tuple[str, ...]]:
    """pretrained_cfg's record, and the parts of it that are missing."""
    imagenet = name.startswith("deit")
    usual = {
        "mean": IMAGENET_MEAN if imagenet else (0.5, 0.5, 0.5),
        "std": IMAGENET_STD if imagenet else (0.5, 0.5, 0.5),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
    }
    missing = [key for key in usual if key not in data]
    found = {**usual, **{key: data[key] for key in usual if key in data}}
    size = data.get("input_size")
    record = Preprocess(
        size=tuple(size[1:]) if size else None,
        crop_fraction=found["crop_pct"],
        resize=_CROPS[data.get("crop_mode", "center")],
        interpolation=found["interpolation"],
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
    )
    assumed = (f"preprocessing: {', '.join(f'{key}={usual[key]}' for key in missing)}",) if missing else ()
    return record, assumed
