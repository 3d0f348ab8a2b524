"""Writing a model's weights so that others can read them. Import of an export gives the same bits."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.atomic import write_atomically
from ..checkpoint.errors import WeightsError
from ..checkpoint.writers import write_npz, write_pdparams, write_safetensors
from ..images import Preprocess
from ..layers.encoder_block import hidden_width
from ..layers.patch_embed import to_pair
from ..models import DeiT, VisionTransformer
from .canonical import from_vitlib
from .dialects import FACEBOOK, GOOGLE, HUGGINGFACE, TORCHVISION, Dialect

Arrays = dict[str, Callable[[], np.ndarray]]


def save_weights(model: VisionTransformer, path: str | os.PathLike[str], *, format: str = "timm") -> None:
    """Write a model's weights in the way of another codebase; the file appears whole or not at all.

    format: "timm" (safetensors, which `timm.create_model(..., checkpoint_path=path)` opens), "huggingface" (a directory
        that `transformers` opens with `from_pretrained`), "torchvision" (safetensors with its names), "google" (.npz
        as vit_jax writes it), "paddleclas" (.pdparams that `paddle.load` reads).

    Raises ValueError for an unknown format, WeightsError, before anything is written, for what a format cannot express,
    RuntimeError for a model without values, and OSError when the disk does.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(map(repr, FORMATS))}")
    empty = [name for name, p in model.named_parameters() if not p._is_initialized()]
    if empty:
        raise RuntimeError(f"{len(empty)} parameters have no values yet ({empty[0]} first); load weights first")
    FORMATS[format](model, Path(path))


def save_pretrained(model: VisionTransformer, directory: str | os.PathLike[str]) -> None:
    """What `model.save_pretrained(directory)` does: config.json (architecture, preprocessing, labels) and
    model.safetensors (timm's names and layout). Raises as `save_weights` does."""
    from .. import __version__

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_weights(model, directory / "model.safetensors", format="timm")
    values = {
        "vitlib_version": __version__,
        "class": type(model).__name__,
        "config": model.config.to_dict(),
        "labels": _labels(model),
    }
    _write_json(directory / "config.json", values)


def _labels(model: VisionTransformer) -> list[str] | None:
    """The names of the classes, or None. Raises ValueError for what are no names, or not as many as classes."""
    if model.labels is None:
        return None
    labels = list(model.labels)
    if isinstance(model.labels, Mapping) or not all(isinstance(name, str) for name in labels):
        raise ValueError("model.labels: expected a list of names, one for each class, or None")
    if len(labels) != model.config.num_classes:
        raise ValueError(f"model.labels has {len(labels)} names for {model.config.num_classes} classes")
    return labels


def _save_timm(model: VisionTransformer, path: Path) -> None:
    _make_parent(path)
    write_safetensors(path, _arrays(model, "torch"), {"format": "pt", **_grid_note(model)})


def _save_paddleclas(model: VisionTransformer, path: Path) -> None:
    """PaddleClas's names are timm's; the layout is Paddle's own, and nothing says what grid a table is for."""
    if _not_square(model):
        raise WeightsError(f"PaddleClas's .pdparams cannot express {_not_square(model)}", way_out='format="timm" can')
    _warn_numerics(model, "PaddleClas", FACEBOOK.numerics)
    _make_parent(path)
    write_pdparams(path, _arrays(model, "paddle"))


def _save_torchvision(model: VisionTransformer, path: Path) -> None:
    _refuse(model, "torchvision's VisionTransformer", also=("pre_logits",))
    _warn_numerics(model, "torchvision", TORCHVISION.numerics)
    _make_parent(path)
    write_safetensors(path, _renamed(model, TORCHVISION), {"format": "pt"})


def _save_google(model: VisionTransformer, path: Path) -> None:
    _refuse(model, "Google's .npz", also=("pre_logits",))
    _warn_numerics(model, "Google", GOOGLE.numerics)
    _make_parent(path)
    write_npz(path, _renamed(model, GOOGLE))


def _save_huggingface(model: VisionTransformer, directory: Path) -> None:
    config, distilled = model.config, isinstance(model, DeiT)
    one_head = not distilled and config.reg_tokens == 1  # DeiTForImageClassification: a token that no head reads
    known = ("distillation_token", "qkv_bias", "pre_logits", "grid", *(("reg_tokens",) if one_head else ()))
    _refuse(model, "transformers' ViT and DeiT", also=known)
    if config.pre_logits and (config.num_classes or config.pre_logits != config.embed_dim):
        raise WeightsError(
            f"transformers cannot express pre_logits={config.pre_logits} with {config.num_classes} classes: there "
            "it is the pooler of a model without classes, as wide as the tokens"
        )
    if model.config.preprocess.resize == "border":
        raise WeightsError("transformers' image processors cannot express resize='border'")
    family = "DeiT" if distilled or one_head else "ViT"
    if distilled:
        architecture = "DeiTForImageClassificationWithTeacher" if config.num_classes else "DeiTModel"
    else:
        architecture = f"{family}ForImageClassification" if config.num_classes else f"{family}Model"
    prefix = f"{family.lower()}." if config.num_classes else ""
    heads = ("classifier.", "cls_classifier.", "distillation_classifier.")
    wrong_head = "classifier." if distilled else "cls_classifier."
    arrays = {
        name if name.startswith(heads) else prefix + name: value
        for name, value in _renamed(model, HUGGINGFACE, skip=wrong_head, register="dist_token").items()
    }
    labels = _labels(model) or [f"LABEL_{index}" for index in range(config.num_classes)]
    activation = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu"}
    patch = to_pair(config.patch_size)
    values: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": family.lower(),
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": hidden_width(config.embed_dim, config.mlp_ratio),
        "hidden_act": activation.get(config.activation, config.activation),
        "hidden_dropout_prob": config.proj_drop_rate,
        "attention_probs_dropout_prob": config.attn_drop_rate,
        "layer_norm_eps": config.norm_eps,
        "image_size": list(size) if (size := to_pair(config.img_size))[0] != size[1] else size[0],
        "patch_size": list(patch) if patch[0] != patch[1] else patch[0],
        "num_channels": config.in_chans,
        "qkv_bias": config.qkv_bias,
        "pooler_act": "tanh",
        "pooler_output_size": config.embed_dim,
    }
    if config.num_classes:
        values["id2label"] = {str(index): name for index, name in enumerate(labels)}
        values["label2id"] = {name: index for index, name in enumerate(labels)}
    directory.mkdir(parents=True, exist_ok=True)
    write_safetensors(directory / "model.safetensors", arrays, {"format": "pt"})
    _write_json(directory / "config.json", values)
    _write_json(directory / "preprocessor_config.json", _huggingface_processor(model.preprocess, distilled))


FORMATS: dict[str, Callable[[VisionTransformer, Path], None]] = {
    "timm": _save_timm,
    "huggingface": _save_huggingface,
    "torchvision": _save_torchvision,
    "google": _save_google,
    "paddleclas": _save_paddleclas,
}


# What a plain ViT is; the formats of other codebases know little else.
_PLAIN: dict[str, Any] = {
    "class_token": True,
    "distillation_token": False,
    "reg_tokens": 0,
    "no_embed_class": False,
    "global_pool": "token",
    "fc_norm": None,
    "pre_logits": None,
    "init_values": None,
    "qkv_bias": True,
    "qk_norm": False,
    "pre_norm": False,
    "patch_bias": True,
}


def _refuse(model: VisionTransformer, whose: str, *, also: tuple[str, ...]) -> None:
    """Raise WeightsError with everything about a model that a format cannot express.

    also: options that it does know beyond a plain ViT; "grid" for images and patches that are not square.
    """
    config = model.config
    found = [
        f"{name}={getattr(config, name)!r}"
        for name, usual in _PLAIN.items()
        if name not in also and getattr(config, name) not in (usual, False if usual is None else usual)
    ]
    if config.pos_embed == "none":
        found.append("pos_embed='none'")
    if "grid" not in also and _not_square(model):
        found.append(_not_square(model))
    if found:
        raise WeightsError(f"{whose} cannot express {', '.join(found)}", way_out='format="timm" can')


def _not_square(model: VisionTransformer) -> str:
    size, patch = to_pair(model.config.img_size), to_pair(model.config.patch_size)
    square = size[0] == size[1] and patch[0] == patch[1]
    return "" if square else f"images of {size[0]} x {size[1]} in patches of {patch[0]} x {patch[1]}"


def _warn_numerics(model: VisionTransformer, whose: str, numerics: Mapping[str, Any]) -> None:
    """Say where a codebase computes with the same weights in another way; its files have no place to note it."""
    different = [
        f"{name}={numerics[name]!r}, this model with {getattr(model.config, name)!r}"
        for name in ("norm_eps", "activation")
        if numerics[name] != getattr(model.config, name)
    ]
    if different:
        text = f"{whose}'s code computes with {'; '.join(different)}: its logits will differ a little"
        warnings.warn(text, UserWarning, stacklevel=4)


def _arrays(model: VisionTransformer, layout: str) -> Arrays:
    """Every parameter under its own name, made when it is written."""
    return {
        name: lambda p=parameter, name=name: from_vitlib(name, layout, p.numpy(), 1, model.config.num_heads)[0]
        for name, parameter in model.named_parameters()
    }


def _renamed(model: VisionTransformer, dialect: Dialect, skip: str = "", register: str = "") -> Arrays:
    """Every parameter under a dialect's names and in its layout.

    skip: start of a spelling that is not wanted. register: the token as which a register is spelled.
    """
    table = {
        ours: theirs for ours, theirs in dialect.pairs(model.config.depth) if not (skip and theirs[0].startswith(skip))
    }
    arrays: Arrays = {}
    if register:
        table["reg_token"] = table[register]
    for name, parameter in model.named_parameters():
        if name not in table:
            raise WeightsError(f"{dialect.name} has no name for the parameter {name!r}", way_out='format="timm" has')
        names = table[name]
        for index, theirs in enumerate(names):

            def make(p: Any = parameter, name: str = name, index: int = index, count: int = len(names)) -> np.ndarray:
                return from_vitlib(name, dialect.layout, p.numpy(), count, model.config.num_heads)[index]

            arrays[theirs] = make
    return arrays


def _grid_note(model: VisionTransformer) -> dict[str, str]:
    """The grid of a position table that is not square, which its number of rows does not tell."""
    rows, columns = model.patch_embed.grid_size
    return {} if rows == columns else {"vitlib.grid": f"{rows}x{columns}"}


def _huggingface_processor(record: Preprocess, distilled: bool) -> dict[str, Any]:
    """preprocessor_config.json of `ViTImageProcessor`, or of `DeiTImageProcessor`, which crops."""
    codes = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
    height, width = to_pair(record.size)
    values: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": codes[record.interpolation],
        "image_mean": list(record.mean),
        "image_std": list(record.std),
        "size": {"height": height, "width": width},
        "image_processor_type": "ViTImageProcessor",
    }
    if record.resize == "squash" and record.crop_fraction == 1.0:
        return values
    full = (int(height / record.crop_fraction), int(width / record.crop_fraction))
    values["do_center_crop"] = True
    values["crop_size"] = {"height": height, "width": width}
    # transformers' DeiT processor resizes both sides to `size`; the one that keeps the aspect is CLIP's
    if record.resize == "squash":
        return values | {"size": {"height": full[0], "width": full[1]}, "image_processor_type": "DeiTImageProcessor"}
    return values | {"size": {"shortest_edge": min(full)}, "image_processor_type": "CLIPImageProcessor"}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with write_atomically(path) as file:
        file.write((json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())


def _make_parent(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
