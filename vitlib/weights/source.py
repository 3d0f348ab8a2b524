"""Where weights come from: a file, a directory with configs, a hub, a URL, or a dict; and what the configs say."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..images import Preprocess
from ..models import ViTConfig, get_config
from .download import DownloadError, download
from .errors import WeightsError, quoted
from .formats import open_weights
from .published import Published, published

# What a directory's weights are called, in the order of preference.
_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.pdparams",
)
_ENDINGS = (".safetensors", ".pdparams", ".npz", ".pth", ".pt", ".bin")
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


@dataclass
class WeightSource:
    """An open source of weights: names with shapes and dtypes, arrays on demand, and its config."""

    path: str
    format: str
    tensors: Any
    config: SourceConfig
    metadata: Mapping[str, str] = field(default_factory=dict)
    wrapper: str = ""
    notes: tuple[str, ...] = ()


class _Arrays(Mapping[str, tuple[tuple[int, ...], str]]):
    """A dict of arrays or tensors, read as a weight file is. Raises WeightsError for what are no named real numbers."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.arrays = {}
        for name, value in arrays.items():
            if not isinstance(name, str):
                raise WeightsError(f"the given dict has the key {name!r}, expected names of parameters")
            self.arrays[name] = array = _to_array(value)
            if array.dtype.kind not in "fiub":
                raise WeightsError(f"the given dict has {quoted(name)} of type {array.dtype}, expected real numbers")

    def __getitem__(self, name: str) -> tuple[tuple[int, ...], str]:
        return self.arrays[name].shape, str(self.arrays[name].dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name]


def _to_array(value: Any) -> np.ndarray:
    """A NumPy array of what an array or a tensor of Paddle or PyTorch holds; bfloat16, which NumPy lacks, widened."""
    if hasattr(value, "detach"):
        value = value.detach()
        if "bfloat16" in str(value.dtype):
            value = value.astype("float32") if hasattr(value, "astype") else value.float()
        value = value.cpu().numpy()
    return np.asarray(value)


def open_source(source: Any) -> WeightSource:
    """Open weights without reading them.

    source: a file; a directory with weights and configs; "hf:org/repo" or "hf:org/repo@revision"; an http(s) URL; or
        {name: array}, whose linear weights are [out, in] as in PyTorch.

    Raises WeightsError for what holds no weights, FileNotFoundError for a path that is not there, DownloadError.
    """
    if isinstance(source, Mapping):
        return WeightSource("the given dict", "dict", _Arrays(source), SourceConfig())
    if isinstance(source, str) and source.startswith("hf:"):
        from .hub import fetch_hub

        repo_id, _, revision = source[3:].partition("@")
        source = fetch_hub(repo_id, revision=revision or None)
    elif isinstance(source, str) and source.startswith(("http://", "https://")):
        source = download(source)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"expected a path, 'hf:org/repo', a URL or a dict of arrays as the source of weights, found "
            f"{type(source).__name__}"
        )
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no file or directory {str(path)!r}; a preset's own weights come with pretrained=True, those "
            "of a Hugging Face repository with 'hf:org/repo'"
        )
    notes: tuple[str, ...] = ()
    config = SourceConfig()
    if path.is_dir():
        directory, path = path, _weights_in(path)
        config = _read_configs(directory)
    elif path.name in _FILES:
        try:
            config = _read_configs(path.parent)
        except WeightsError as error:  # the file was asked for; what lies beside it may belong to something else
            notes = (f"not used: {error}",)
    file = open_weights(path)
    return WeightSource(str(path), file.format, file, config, file.metadata, file.wrapper, notes)


def open_published(name: str) -> tuple[Published, WeightSource, list[str]]:
    """A preset's published weights from the first source that answers: the hub, the original's site, PaddleClas.

    Returns their record, the source, and what is worth a note. Raises ValueError for a preset without published
    weights, DownloadError when no source answers, and ImportError when only the hub has them and its extra is missing.
    """
    row, failures = published(name), []
    for source in row.sources:
        try:
            opened = open_source(f"hf:{source.location}" if source.on_hub else source.location)
        except (DownloadError, ImportError) as error:
            failures.append(error)
            continue
        # Its record says what the published accuracy was measured with, and so do we
        opened.config = SourceConfig(opened.config.kind, {}, row.preprocess, opened.config.labels)
        place = f"{row.name}, licence {row.licence}, from {source.location}"
        top1 = f"; published top-1 {row.top1} % ({row.top1_source})" if row.top1 is not None else ""
        return row, opened, [place + top1, *(f"not available: {error}" for error in failures)]
    if len(failures) == 1:
        raise failures[0]
    raise DownloadError("no source of these weights answered:\n" + "\n".join(f"  {error}" for error in failures))


def _weights_in(directory: Path) -> Path:
    for name in _FILES:
        if (directory / name).is_file():
            return directory / name
    others = sorted(p for p in directory.iterdir() if p.suffix in _ENDINGS and p.is_file())
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(p.name for p in others[:6])
        raise WeightsError(f"holds several weight files ({names})", path=directory, way_out="Give one of them")
    raise WeightsError(
        "holds no weights", path=directory, way_out=f"Expected {_FILES[0]} or another of {', '.join(_ENDINGS)}"
    )


def _read_configs(directory: Path) -> SourceConfig:
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
