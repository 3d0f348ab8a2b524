"""The architecture of a checkpoint that comes without a config, read off its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..checkpoint.errors import WeightsError
from ..layers.patch_embed import grid_of, to_pair
from ..models.presets import SIZES
from .canonical import Canonical

# Heads cannot be read off shapes; these published widths, depths and MLP widths have these heads.
_HEADS = {(width, depth, 4 * width): heads for width, depth, heads in SIZES.values()}
_GAP_WITH_OTHERS = (768, 12, 4 * 768)  # 12 heads as ViT-B's, or timm's vit_base_patch16_gap_224 with 16


def infer_options(
    weights: Canonical,
    metadata: Mapping[str, str],
    overrides: Mapping[str, Any],
    told: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Options of `ViTConfig` for these tensors.

    metadata: of the file; vitlib writes the grid of tables that are not square there.
    overrides: what the caller fixes; `num_heads` and `img_size` among them need not be inferred.
    told: the patch grid that a config beside the file tells.

    Raises WeightsError when a tensor that the architecture rests on is missing or of an odd rank, and when heads or
    image size cannot be told and are not given.
    """
    entries = weights.entries
    kernel = _shape(weights, "patch_embed.proj.weight", 4)
    width, in_chans, patch = kernel[0], kernel[1], (kernel[2], kernel[3])
    depth = _depth(weights)
    if depth == 0:
        raise WeightsError("holds no encoder block")
    hidden = _shape(weights, "blocks.0.mlp.fc1.weight", 2)[1]
    options: dict[str, Any] = {
        "patch_size": patch[0] if patch[0] == patch[1] else patch,
        "in_chans": in_chans,
        "embed_dim": width,
        "depth": depth,
        "mlp_ratio": hidden / width,
        "num_heads": _heads(weights, width, depth, hidden, overrides),
        "qkv_bias": "blocks.0.attn.qkv.bias" in entries,
        "qk_norm": "blocks.0.attn.q_norm.weight" in entries,
        "patch_bias": "patch_embed.proj.bias" in entries,
        "pre_norm": "norm_pre.weight" in entries,
        "class_token": "cls_token" in entries,
        "distillation_token": "dist_token" in entries,
        "reg_tokens": _shape(weights, "reg_token", 3)[1] if "reg_token" in entries else 0,
        "pre_logits": _shape(weights, "pre_logits.fc.weight", 2)[1] if "pre_logits.fc.weight" in entries else None,
        "num_classes": _shape(weights, "head.weight", 2)[1] if "head.weight" in entries else 0,
    }
    if "blocks.0.ls1.gamma" in entries:
        options["init_values"] = 1e-4
    if "fc_norm.weight" in entries:
        options |= {"fc_norm": True, "global_pool": "avg"}
    elif not options["class_token"]:
        options |= {"fc_norm": False, "global_pool": "avg"}
    headless = "head.weight" not in entries and weights.dialect.name != "huggingface"
    if options["distillation_token"] and "head_dist.weight" not in entries and not headless:
        # transformers' DeiTModel and DeiTForImageClassification: the token is there, and nothing but the class head
        # reads. A register does exactly that.
        options |= {"distillation_token": False, "reg_tokens": options["reg_tokens"] + 1}
    return options | _positions(weights, options, patch, metadata, overrides, told)


def check_config(weights: Canonical, options: Mapping[str, Any]) -> None:
    """Raise WeightsError when a config speaks of another model than the tensors beside it; before anything is built,
    since a config may ask for a billion blocks or a table of a terabyte."""
    found = {"depth": _depth(weights), "embed_dim": _shape(weights, "patch_embed.proj.weight", 4)[0]}
    if "head.weight" in weights.entries:
        found["num_classes"] = _shape(weights, "head.weight", 2)[1]
    for name, value in found.items():
        if name in options and options[name] != value:
            raise WeightsError(f"has tensors of {name}={value}, and a config beside it that says {options[name]}")
    hidden = _shape(weights, "blocks.0.mlp.fc1.weight", 2)[1]
    ratio = options.get("mlp_ratio")
    if ratio is not None and not (isinstance(ratio, (int, float)) and abs(ratio * found["embed_dim"] - hidden) < 1):
        raise WeightsError(f"has an MLP of {hidden}, and a config beside it that says {ratio} times the width")
    if "pos_embed" in weights.entries:
        rows, grid = _shape(weights, "pos_embed", 3)[1], told_grid(options)
        if grid and rows < grid[0] * grid[1]:
            raise WeightsError(
                f"has a position table of {rows} rows, and a config beside it a grid of {grid[0]} x {grid[1]}"
            )
    elif options.get("pos_embed", "none") != "none":
        raise WeightsError("has no position table, and a config beside it that says there is one")


def _positions(
    weights: Canonical,
    options: Mapping[str, Any],
    patch: tuple[int, int],
    metadata: Mapping[str, str],
    overrides: Mapping[str, Any],
    told: tuple[int, int] | None,
) -> dict[str, Any]:
    """img_size and no_embed_class."""
    if "pos_embed" not in weights.entries:
        return {"pos_embed": "none"}
    rows = _shape(weights, "pos_embed", 3)[1]
    prefix = options["class_token"] + options["distillation_token"] + options["reg_tokens"]
    likely = told_grid({"patch_size": patch, **{k: v for k, v in overrides.items() if k == "img_size"}})
    grid = table_grid(rows, prefix, metadata, told=told, likely=likely, rowless=may_be_rowless(weights))
    if grid is None:
        raise WeightsError(
            f"has a position table of {rows} rows, no square after {prefix} prefix rows: its image size is not told",
            way_out="Give img_size=(height, width), the size that it was trained at",
        )
    size = (grid[0] * patch[0], grid[1] * patch[1])
    return {
        "img_size": size[0] if size[0] == size[1] else size,
        "no_embed_class": prefix > 0 and rows == grid[0] * grid[1],
    }


def told_grid(options: Mapping[str, Any]) -> tuple[int, int] | None:
    """The grid that a config's image and patch size make, if it says both and they fit."""
    if "img_size" not in options or "patch_size" not in options:
        return None
    try:
        return grid_of(
            to_pair(options["img_size"]), to_pair(options["patch_size"]), options.get("dynamic_img_pad", False)
        )
    except ValueError:
        return None


def may_be_rowless(weights: Canonical) -> bool:
    """Whether prefix tokens may have no rows in the position table: DeiT III, DINOv2 with registers, big_vision."""
    entries = weights.entries
    return weights.dialect.name == "big_vision" or any(
        name in entries for name in ("blocks.0.ls1.gamma", "reg_token", "norm_pre.weight")
    )


def table_grid(
    rows: int,
    prefix: int,
    metadata: Mapping[str, str],
    *,
    told: tuple[int, int] | None = None,
    likely: tuple[int, int] | None = None,
    rowless: bool = True,
) -> tuple[int, int] | None:
    """The grid (rows, columns) of a position table with so many rows, `prefix` of them for prefix tokens, or none.

    In this order: what the file's metadata say, what its config told, a square after the prefix rows, the `likely` grid
    (of the model it goes to), and, where the model may be `rowless`, a square without prefix rows.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", metadata.get("vitlib.grid", ""))
    noted = (int(match[1]), int(match[2])) if match else None
    for grid in (noted, told, _square(rows - prefix), likely, _square(rows) if rowless else None):
        if grid and rows - grid[0] * grid[1] in (0, prefix):
            return grid
    return None


def _square(count: int) -> tuple[int, int] | None:
    side = math.isqrt(max(count, 0))
    return (side, side) if side and side * side == count else None


def _heads(weights: Canonical, width: int, depth: int, hidden: int, overrides: Mapping[str, Any]) -> int:
    if "num_heads" in overrides:
        return overrides["num_heads"]
    qkv = weights.entries.get("blocks.0.attn.qkv.weight")
    if qkv is not None and qkv.heads:
        return qkv.heads
    if (width, depth, hidden) == _GAP_WITH_OTHERS and "cls_token" not in weights.entries:
        raise WeightsError(
            "is as wide and deep as ViT-B without a class token, of which there are two: 12 heads, and 16 in timm's "
            "vit_base_patch16_gap_224",
            way_out="Give num_heads=",
        )
    if (width, depth, hidden) in _HEADS:
        return _HEADS[width, depth, hidden]
    raise WeightsError(
        f"does not tell how many attention heads its model has, and no published one is {width} wide with {depth} "
        f"blocks and an MLP of {hidden}",
        way_out="Give num_heads=",
    )


def _depth(weights: Canonical) -> int:
    return 1 + max((int(n) for name in weights.entries for n in re.findall(r"^blocks\.(\d+)\.", name)), default=-1)


def _shape(weights: Canonical, name: str, rank: int) -> tuple[int, ...]:
    entry = weights.entries.get(name)
    if entry is None:
        raise WeightsError(f"holds no {name}, so the architecture cannot be told")
    if len(entry.shape) != rank or 0 in entry.shape:
        raise WeightsError(f"has {name} with shape {list(entry.shape)}, expected {rank} dimensions, none of them 0")
    return entry.shape
