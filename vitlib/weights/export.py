"""A model's weights under another codebase's names and layout. Nothing is written here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from ..checkpoint import BFloat16
from ..checkpoint.errors import WeightsError
from ..layers.patch_embed import to_pair
from ..models import DeiT, VisionTransformer
from ..models.structure import structure_conflicts
from .config_files import model_labels
from .dialects import FACEBOOK, GOOGLE, HUGGINGFACE, PADDLECLAS, TIMM, TORCHVISION, Dialect, huggingface
from .dialects.dialect import ZEROS
from .dialects.google import GOOGLE_HYBRID, GOOGLE_ROOT
from .dialects.timm import TIMM_DINOV3, TIMM_DINOV3_GATED
from .infer_config import NUM_HEADS
from .layouts import from_vitlib
from .position_grid import by

Array = np.ndarray | BFloat16
Arrays = dict[str, Callable[[], Array]]


@dataclass(frozen=True)
class Format:
    """A format that `save_weights` writes.

    container: "safetensors", "npz" or "pdparams". directory: config files stand beside the weights.
    dialect: whose names, and layout. whose: in messages. numerics: that readers of this format compute with.
    beyond: options beyond a plain ViT's that it can express; None: all. "grid" for sizes that are not square.
    """

    container: str
    dialect: Dialect
    whose: str = ""
    numerics: Mapping[str, Any] = field(default_factory=dict)
    beyond: tuple[str, ...] | None = None
    directory: bool = False


FORMATS: dict[str, Format] = {
    # timm reads its defaults with a bare file: eps 1e-6 and exact GELU, as facebook's code
    "timm": Format("safetensors", TIMM, "timm", {**FACEBOOK.numerics, "stem_norms": "timm"}),
    "huggingface": Format(
        "safetensors",
        HUGGINGFACE,
        "transformers' ViT and DeiT",
        beyond=("distillation_token", "qkv_bias", "pre_logits", "grid"),
        directory=True,
    ),
    "torchvision": Format(
        "safetensors", TORCHVISION, "torchvision's VisionTransformer", TORCHVISION.numerics, ("pre_logits",)
    ),
    "google": Format("npz", GOOGLE, "Google's .npz", GOOGLE_HYBRID.numerics, ("pre_logits", "stem_blocks")),
    "paddleclas": Format("pdparams", PADDLECLAS, "PaddleClas", FACEBOOK.numerics),
}

# The options of a plain ViT; the formats of other codebases know little else.
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
    "stem_blocks": None,
    "conv_stem": (),
    "gated_mlp": False,
}


@dataclass(frozen=True)
class Export:
    """Weights ready to be written. arrays: made when their turn comes. configs: JSON files beside them, by name."""

    container: str
    arrays: Arrays
    metadata: dict[str, str] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)


def export_weights(model: VisionTransformer, format: str, *, quietly: bool = False) -> Export:
    """The weights of a model in a format of `FORMATS`. `quietly`: a config of ours beside them says how to compute.

    Raises ValueError for an unknown format, WeightsError for what a format cannot express and for a model that its
    config does not describe, and RuntimeError for a model without values. Warns where readers compute otherwise.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(map(repr, FORMATS))}")
    empty = [name for name, p in model.named_parameters() if not p._is_initialized()]
    if empty:
        raise RuntimeError(f"{len(empty)} parameters have no values yet ({empty[0]} first); load weights first")
    conflicts = structure_conflicts(model)
    if conflicts:
        raise WeightsError(
            "this model is not what its config says and could not be opened again: " + "; ".join(conflicts)
        )
    row = FORMATS[format]
    if row.directory:
        return _export_huggingface(model, row)
    if row.beyond is not None:
        _refuse(model, row, row.beyond)
    if not quietly and format != "timm":
        _warn_numerics(model, row)
    if row.container == "pdparams" and _odd_grid(model):
        raise WeightsError(f"PaddleClas's .pdparams cannot express {_odd_grid(model)}", way_out='format="timm" can')
    metadata, dialect = {"format": "pt"} if row.container == "safetensors" else {}, row.dialect
    if dialect is GOOGLE and model.config.stem_blocks is not None:
        dialect = GOOGLE_HYBRID if model.config.stem_blocks else GOOGLE_ROOT
    if format == "timm":
        metadata |= _notes(model)
        # timm's class of DINOv3 has names of its own; beside a config of ours, ours are plainer
        dialect = dialect if quietly else _timm_names(model)
        if dialect is TIMM and not quietly:  # the others are of architectures that compute as these models do
            _warn_numerics(model, row)
    return Export(row.container, _renamed(model, dialect), metadata)


def _timm_names(model: VisionTransformer) -> Dialect:
    """timm's names of a model: those of its class Eva for rotary positions."""
    config = model.config
    if config.pos_embed != "rotary":
        return TIMM
    keys = slice(config.embed_dim, 2 * config.embed_dim)
    if config.qkv_bias and any(block.attn.qkv.bias[keys].any() for block in model.blocks):
        raise WeightsError(
            "timm's class for rotary positions has no bias of the keys, and this model's is not zero",
            way_out="model.save_pretrained(directory) keeps it",
        )
    return TIMM_DINOV3_GATED if config.gated_mlp else TIMM_DINOV3


def format_for(ending: str, format: str | None) -> str:
    """The format to write to a path with this ending; None stands for the ending's own. Raises ValueError where the two
    contradict each other."""
    told = ending.removeprefix(".") if ending in (".pdparams", ".npz", ".safetensors") else None
    if format is None:
        return {"pdparams": "paddleclas", "npz": "google"}.get(told or "", "timm")
    row = FORMATS.get(format)
    if row is not None and not row.directory and told not in (None, row.container):
        raise ValueError(
            f"format={format!r} writes .{row.container}, and the path ends in {ending}; change one of them"
        )
    return format


def _export_huggingface(model: VisionTransformer, row: Format) -> Export:
    config, distilled = model.config, isinstance(model, DeiT)
    one_head = not distilled and config.reg_tokens == 1  # DeiTForImageClassification: a token that no head reads
    _refuse(model, row, (*(row.beyond or ()), *(("reg_tokens",) if one_head else ())))
    if config.pre_logits and (config.num_classes or config.pre_logits != config.embed_dim):
        raise WeightsError(
            f"transformers cannot express pre_logits={config.pre_logits} with {config.num_classes} classes: there "
            "it is the pooler of a model without classes, as wide as the tokens"
        )
    family = "DeiT" if distilled or one_head else "ViT"
    architecture = f"{family}ForImageClassification" if config.num_classes else f"{family}Model"
    if distilled and config.num_classes:
        architecture += "WithTeacher"
    prefix = f"{family.lower()}." if config.num_classes else ""
    heads = ("classifier.", "cls_classifier.", "distillation_classifier.")
    wrong_head = "classifier." if distilled else "cls_classifier."
    arrays = {
        name if name.startswith(heads) else prefix + name: value
        for name, value in _renamed(model, HUGGINGFACE, skip=wrong_head, register="dist_token").items()
    }
    try:
        processor = huggingface.write_processor(model.preprocess)
    except ValueError as error:
        raise WeightsError(str(error)) from None
    configs = {
        "preprocessor_config.json": processor,
        "config.json": huggingface.write_config(config, model_labels(model), architecture),
    }
    return Export(row.container, arrays, {"format": "pt"}, configs)


def _refuse(model: VisionTransformer, row: Format, beyond: tuple[str, ...]) -> None:
    """Raise WeightsError with everything about a model that a format cannot express."""
    config = model.config
    found = [
        f"{name}={getattr(config, name)!r}"
        for name, usual in _PLAIN.items()
        if name not in beyond and getattr(config, name) not in (usual, False if usual is None else usual)
    ]
    if not config.has_position_table:
        found.append(f"pos_embed={config.pos_embed!r}")
    if "grid" not in beyond and _odd_grid(model):
        found.append(_odd_grid(model))
    if found:
        raise WeightsError(f"{row.whose} cannot express {', '.join(found)}", way_out='format="timm" can')


def _odd_grid(model: VisionTransformer) -> str:
    """Image and patch size in words, where they are not square."""
    size, patch = to_pair(model.config.img_size), to_pair(model.config.patch_size)
    square = size[0] == size[1] and patch[0] == patch[1]
    return "" if square else f"images of {by(size)} in patches of {by(patch)}"


def _warn_numerics(model: VisionTransformer, row: Format) -> None:
    """Say where readers compute with the same weights in another way; these files have no place to note it."""
    different = [
        f"{name}={row.numerics[name]!r}, this model with {getattr(model.config, name)!r}"
        for name in ("norm_eps", "activation", *(("stem_norms",) if model.config.stem_blocks is not None else ()))
        if name in row.numerics and row.numerics[name] != getattr(model.config, name)
    ]
    if different:
        text = f"{row.whose} computes with {'; '.join(different)}: its logits will differ a little"
        warnings.warn(text, UserWarning, stacklevel=4)


def _renamed(model: VisionTransformer, dialect: Dialect, skip: str = "", register: str = "") -> Arrays:
    """Every parameter under a dialect's names and in its layout.

    skip: start of a spelling that is not wanted. register: the token as which a register is spelled.
    """
    table = {ours: theirs for ours, theirs in dialect.spellings() if not (skip and theirs[0].startswith(skip))}
    if register:
        table["reg_token"] = table[register]
    arrays: Arrays = {}
    for name, parameter in model.named_parameters():
        ours, number = _template(name)
        if ours in table:
            names = tuple(t.replace("{i}", f"{number}").replace("{i+1}", f"{number + 1}") for t in table[ours])
        elif dialect.timm_names:
            names = (name,)
        else:
            raise WeightsError(f"{dialect.name} has no name for the parameter {name!r}", way_out='format="timm" has')
        for index, theirs in enumerate(names):
            if theirs == ZEROS:
                continue

            def make(p: Any = parameter, name: str = name, index: int = index, count: int = len(names)) -> Array:
                array = from_vitlib(name, dialect.layout, p.numpy(), count, model.config.num_heads)[index]
                return BFloat16(np.ascontiguousarray(array)) if p.dtype == paddle.bfloat16 else array

            arrays[theirs] = make
    return arrays


def _template(name: str) -> tuple[str, int]:
    """blocks.3.norm1.weight -> (blocks.{i}.norm1.weight, 3)"""
    found = re.search(r"(?<![^.])blocks\.(\d+)\.", name)
    return (f"{name[: found.start(1)]}{{i}}{name[found.end(1) :]}", int(found[1])) if found else (name, 0)


def _notes(model: VisionTransformer) -> dict[str, str]:
    """Facts that no name or shape tells: the heads, the grid of a table that is not square, that there is no table."""
    notes = {NUM_HEADS: str(model.config.num_heads)}
    rows, columns = model.patch_embed.grid_size
    if not model.config.has_position_table:
        notes["vitlib.pos_embed"] = model.config.pos_embed
    elif rows != columns:
        notes["vitlib.grid"] = f"{rows}x{columns}"
    return notes
