"""The config files beside weights, as options of `ViTConfig`: vitlib's own, Hugging Face's and timm's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..checkpoint.errors import WeightsError, quoted
from ..models import VisionTransformer, ViTConfig
from .dialects import DIALECTS, SourceConfig, huggingface, timm
from .dialects.dialect import class_labels


def understand_config(values: Mapping[str, Any] | None, processor: Mapping[str, Any] | None = None) -> SourceConfig:
    """The content of config.json and of Hugging Face's preprocessor_config.json; None for files that are not there.

    Raises WeightsError for a config of no Vision Transformer, and for one that cannot work.
    """
    if values is None and processor is None:
        return SourceConfig()
    try:
        if values is None:
            return huggingface.read_processor(processor)
        if "vitlib_version" in values:
            return _read_own(values)
        if timm.is_config(values):
            return timm.read_config(values)
        for dialect in DIALECTS:
            if values.get("model_type") in dialect.model_types:
                return huggingface.read_config(values, processor, dialect)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise WeightsError(f"is no config that can work ({type(error).__name__}: {str(error)[:300]})") from None
    kind = values.get("model_type", "unknown")
    raise WeightsError(
        f"describes a model of type {quoted(str(kind))}, which is neither a ViT nor a DeiT",
        way_out="Give the weight file itself to have it judged by its names",
    )


def own_config(model: VisionTransformer, version: str) -> dict[str, Any]:
    """vitlib's config.json: architecture, preprocessing, labels. Raises ValueError for labels that do not fit."""
    labels = model_labels(model)
    kind = type(model).__name__
    return {"vitlib_version": version, "class": kind, "config": model.config.to_dict(), "labels": labels}


def model_labels(model: VisionTransformer) -> list[str] | None:
    """The names of the classes, or None. Raises ValueError for what are no names, or not as many as classes."""
    if model.labels is None:
        return None
    labels = list(model.labels)
    if isinstance(model.labels, Mapping) or not all(isinstance(name, str) for name in labels):
        raise ValueError("model.labels: expected a list of names, one for each class, or None")
    if len(labels) != model.config.num_classes:
        raise ValueError(f"model.labels has {len(labels)} names for {model.config.num_classes} classes")
    return labels


def _read_own(values: Mapping[str, Any]) -> SourceConfig:
    kind = values.get("class", "VisionTransformer")
    if not isinstance(kind, str):
        raise ValueError(f"class={kind!r}: expected the name of a class")
    told = values["config"]
    own: dict[str, Any] = {}  # options that a subclass's config_class adds
    if kind not in ("VisionTransformer", "DeiT") and isinstance(told, dict):
        names = {option.name for option in fields(ViTConfig)}
        own = {name: value for name, value in told.items() if name not in names}
        told = {name: value for name, value in told.items() if name in names}
    config = ViTConfig.from_dict(told)
    options = {**{name: getattr(config, name) for name in config.to_dict()}, **own}
    labels = class_labels(values.get("labels"))
    return SourceConfig("vitlib", options, config.preprocess, labels, model_class=kind)
