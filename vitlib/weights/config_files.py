"""The config files beside weights, of vitlib, Hugging Face and timm, as options of `ViTConfig`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoint.errors import WeightsError, quoted
from ..images import Preprocess
from ..models import ViTConfig, get_config

_MAX_CONFIG_BYTES = 16 << 20


@dataclass(frozen=True)
class SourceConfig:
    """What the config files beside weights say.

    kind: "vitlib", "huggingface" or "timm"; "" when there are none.
    options: of `ViTConfig`, as far as they are known; complete for "vitlib" and "timm" presets.
    preprocess, labels: None when the files do not say.
    """

    kind: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None


def read_configs(directory: Path) -> SourceConfig:
    """What config.json and, beside Hugging Face's, preprocessor_config.json say; an empty record without them.

    Raises WeightsError for a file that is no JSON object, no ViT's or DeiT's, or cannot work.
    """
    values = _read_json(directory / "config.json")
    if values is None:
        return SourceConfig()
    try:
        if "vitlib_version" in values:
            return _vitlib_config(values)
        if values.get("model_type") in ("vit", "deit"):
            return _huggingface_config(values, _read_json(directory / "preprocessor_config.json"))
        if isinstance(values.get("architecture"), str):
            return _timm_config(values)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = f"is no config that can work ({type(error).__name__}: {str(error)[:300]})"
        raise WeightsError(reason, path=directory / "config.json") from None
    kind = values.get("model_type", "unknown")
    raise WeightsError(
        f"describes a model of type {quoted(str(kind))}, which is neither a ViT nor a DeiT",
        path=directory / "config.json",
        way_out="Give the weight file itself to have it judged by its names",
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file, None without one. Raises WeightsError for anything else."""
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise WeightsError(f"is larger than {_MAX_CONFIG_BYTES >> 20} MiB, which no config is", path=path)
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"is no JSON ({type(error).__name__}: {str(error)[:100]})", path=path) from None
    if not isinstance(values, dict):
        raise WeightsError("is no JSON object", path=path)
    return values


def _vitlib_config(values: dict[str, Any]) -> SourceConfig:
    config = ViTConfig.from_dict(values["config"])
    labels = values.get("labels")
    if labels is not None:
        labels = _labels(labels)
    options = {name: getattr(config, name) for name in config.to_dict()}
    return SourceConfig("vitlib", options, config.preprocess, labels)


def _huggingface_config(values: dict[str, Any], processor: dict[str, Any] | None) -> SourceConfig:
    """transformers' `ViTConfig` / `DeiTConfig` and image processors; keys left out take transformers' defaults."""
    activation = values.get("hidden_act", "gelu")
    names = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}
    names |= {"relu": "relu", "silu": "silu"}
    if activation not in names:
        raise ValueError(f"hidden_act={activation!r} is not supported; there are {', '.join(names)}")
    width = values.get("hidden_size", 768)
    architecture = (values.get("architectures") or [""])[0]
    labels = values.get("id2label")
    if labels is not None:
        labels = _labels([labels[key] for key in sorted(labels, key=int)])
    size = values.get("image_size", 224)
    options: dict[str, Any] = {
        "img_size": tuple(size) if isinstance(size, list) else size,
        "patch_size": values.get("patch_size", 16),
        "in_chans": values.get("num_channels", 3),
        "embed_dim": width,
        "depth": values.get("num_hidden_layers", 12),
        "num_heads": values.get("num_attention_heads", 12),
        "mlp_ratio": values.get("intermediate_size", 3072) / width,
        "activation": names[activation],
        "norm_eps": values.get("layer_norm_eps", 1e-12),
        "qkv_bias": values.get("qkv_bias", True),
        "position_resize": "deit",
    }
    if architecture.endswith("Model"):  # no classifier
        options["num_classes"] = 0
    if values.get("pooler_act", "tanh") != "tanh" and architecture.endswith("Model"):
        raise ValueError(f"pooler_act={values['pooler_act']!r} is not supported; tanh is")
    labels = None if labels is not None and all(name.startswith("LABEL_") for name in labels) else labels
    return SourceConfig("huggingface", options, _huggingface_preprocess(processor), labels)


def _huggingface_preprocess(values: dict[str, Any] | None) -> Preprocess | None:
    """`ViTImageProcessor`, `DeiTImageProcessor`, and what their older names were. None where there is no file."""
    if values is None:
        return None
    names = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
    size, crop = _hf_size(values.get("size", 224)), None
    if values.get("do_center_crop"):
        crop = _hf_size(values.get("crop_size", size))
    target = crop or size
    fraction = min(1.0, target[0] / size[0])
    short = isinstance(values.get("size"), dict) and "shortest_edge" in values["size"]
    normalise = values.get("do_normalize", True)
    return Preprocess(
        size=target,
        resize="short" if short else "squash",
        crop_fraction=fraction,
        interpolation=names[values.get("resample", 2)],
        mean=tuple(values.get("image_mean", (0.5,) * 3)) if normalise else (0.0,) * 3,
        std=tuple(values.get("image_std", (0.5,) * 3)) if normalise else (1.0,) * 3,
    )


def _hf_size(size: Any) -> tuple[int, int]:
    if isinstance(size, dict):
        if "height" in size:
            return int(size["height"]), int(size["width"])
        return (int(size["shortest_edge"]),) * 2
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _timm_config(values: dict[str, Any]) -> SourceConfig:
    """The config.json that timm pushes to the hub: an architecture's name, model_args, pretrained_cfg."""
    labels = values.get("label_names") or (values.get("pretrained_cfg") or {}).get("label_names")
    labels = _labels(labels) if isinstance(labels, list) else None
    try:
        config = get_config(values["architecture"])
    except ValueError:  # no preset of ours: the tensors tell what it is
        return SourceConfig(labels=labels)
    known = set(config.to_dict())
    changes = {name: value for name, value in (values.get("model_args") or {}).items() if name in known}
    if values.get("num_classes") is not None:
        changes["num_classes"] = values["num_classes"]
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    data = values.get("pretrained_cfg") or {}
    rules = {"center": "short", "squash": "squash", "border": "border"}
    size = data.get("input_size")
    preprocess = Preprocess(
        size=tuple(size[1:]) if size else None,
        crop_fraction=data.get("crop_pct", 0.875),
        resize=rules[data.get("crop_mode", "center")],
        interpolation=data.get("interpolation", "bicubic"),
        mean=tuple(data.get("mean", config.preprocess.mean)),
        std=tuple(data.get("std", config.preprocess.std)),
    )
    config = config.replace(**changes, preprocess=preprocess.replace(size=None))
    options = {name: getattr(config, name) for name in known}
    return SourceConfig("timm", options, preprocess, labels)


def _labels(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("labels: expected a list of names")
    return tuple(names)
