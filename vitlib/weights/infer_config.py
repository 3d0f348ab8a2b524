"""The architecture of a checkpoint that comes without a config, read off its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..checkpoint.errors import WeightsError
from ..layers.encoder_block import hidden_width
from ..layers.resnet_stem import stem_stride
from ..models.preset_table import MLPS, SIZES
from .canonical import MAX_BLOCKS, Canonical
from .match import STEM_ROOTS
from .position_grid import Grid, config_grid, rows_for_patches_alone, table_grid

# Heads cannot be read off shapes; these published widths, depths and MLP widths have these heads.
_HEADS = {
    (
        width,
        depth,
        hidden_width(width, MLPS.get(size, {}).get("mlp_ratio", 4.0)),
        "gated_mlp" in MLPS.get(size, {}),
    ): heads
    for size, (width, depth, heads) in SIZES.items()
}
NUM_HEADS = "vitlib.num_heads"  # in the metadata of files that vitlib writes
_LARGEST_OPTION = 1_000_000  # of a config: sizes above overflow in Paddle
_GAP_WITH_OTHERS = (768, 12, 4 * 768)  # 12 heads as ViT-B's, or timm's vit_base_patch16_gap_224 with 16


@dataclass
class Inferred:
    """options: of `ViTConfig`, read off the tensors. assumed: those that the tensors leave open, in words. grid: of the
    position table."""

    options: dict[str, Any] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    grid: Grid | None = None


def infer_config(
    weights: Canonical,
    metadata: Mapping[str, str],
    given: Mapping[str, Any],
    *,
    told: Grid | None = None,
    source_grid: Grid | None = None,
) -> Inferred:
    """Options of `ViTConfig` for these tensors.

    metadata: of the file; vitlib notes the heads and the grid of tables that are not square there.
    given: options that the caller or a config fixes; `num_heads`, `img_size` and `pos_embed` among them need not be
        inferred. told: the patch grid by a config beside the file. source_grid: the same by the caller.

    Raises WeightsError when a tensor that the architecture rests on is missing or of an odd rank, and when heads, image
    size or positions cannot be told and are not given.
    """
    entries = weights.entries
    width, in_chans, patch, stem_blocks, conv_stem = _embedding(weights)
    depth = _depth(weights)
    if depth == 0:
        raise WeightsError("holds no encoder block")
    hidden = _shape(weights, "blocks.0.mlp.fc2.weight", 2)[0]
    gated = _shape(weights, "blocks.0.mlp.fc1.weight", 2)[1] == 2 * hidden
    found = Inferred()
    options = found.options
    options |= {
        "patch_size": patch[0] if patch[0] == patch[1] else patch,
        "in_chans": in_chans,
        "embed_dim": width,
        "depth": depth,
        "mlp_ratio": hidden / width,
        "gated_mlp": gated,
        "num_heads": _heads(weights, metadata, width, depth, hidden, gated, given, found.assumed),
        "qkv_bias": "blocks.0.attn.qkv.bias" in entries,
        "qk_norm": "blocks.0.attn.q_norm.weight" in entries,
        "patch_bias": "patch_embed.proj.bias" in entries,
        "stem_blocks": stem_blocks,
        "conv_stem": conv_stem,
        "pre_norm": "norm_pre.weight" in entries,
        "class_token": "cls_token" in entries,
        "distillation_token": "dist_token" in entries,
        "reg_tokens": _shape(weights, "reg_token", 3)[1] if "reg_token" in entries else 0,
        "pre_logits": _shape(weights, "pre_logits.fc.weight", 2)[1] if "pre_logits.fc.weight" in entries else None,
        "num_classes": _shape(weights, "head.weight", 2)[1] if "head.weight" in entries else 0,
    }
    if "blocks.0.ls1.gamma" in entries:
        options["init_values"] = 1e-4
    if gated:
        options["activation"] = "silu"
    for name, value in weights.dialect.usual.items():
        if name not in given:
            options[name] = value
            found.assumed.append(f"{name}={value!r}, usual in {weights.dialect.name}")
    if "attn_pool.latent" in entries:
        options["global_pool"] = "map"
    elif "fc_norm.weight" in entries:
        options |= {"fc_norm": True, "global_pool": "avg"}
    elif not options["class_token"]:
        options |= {"fc_norm": False, "global_pool": "avg"}
    if "head.weight" in entries and "global_pool" not in given:
        found.assumed.append(f"global_pool={options.get('global_pool', 'token')!r}")
    headless = "head.weight" not in entries and weights.dialect.name != "huggingface"
    if options["distillation_token"] and "head_dist.weight" not in entries and not headless:
        # transformers' DeiTModel and DeiTForImageClassification: the token is there, and nothing but the class head
        # reads. A register does exactly that.
        options |= {"distillation_token": False, "reg_tokens": options["reg_tokens"] + 1}
    _infer_positions(weights, found, patch, metadata, given, told, source_grid)
    return found


class _Embedding(NamedTuple):
    """Width of the tokens, channels of the images, patch in pixels, and what stands before the patches: the bottlenecks
    in each stage of a ResNet, or the channels of convolutions."""

    embed_dim: int
    in_chans: int
    patch_size: tuple[int, int]
    stem_blocks: tuple[int, ...] | None = None
    conv_stem: tuple[int, ...] = ()


def _embedding(weights: Canonical) -> _Embedding:
    width, in_chans, *patch = _shape(weights, "patch_embed.proj.weight", 4)
    conv_stem: list[int] = []
    while (name := f"patch_embed.stem.{len(conv_stem)}.conv.weight") in weights.entries:
        out_chans, seen = _shape(weights, name, 4)[:2]
        in_chans = in_chans if conv_stem else seen  # of the first
        conv_stem.append(out_chans)
    if conv_stem:
        return _Embedding(width, in_chans, (2 ** len(conv_stem),) * 2, conv_stem=tuple(conv_stem))
    root = next((name for name in STEM_ROOTS if name in weights.entries), None)
    if root is None or _shape(weights, root, 4)[::2] != (64, 7):  # a patch embedding of one's own
        return _Embedding(width, in_chans, (patch[0], patch[1]))
    found = [re.match(r"patch_embed\.backbone\.stages\.(\d)\.blocks\.(\d{1,3})\.", name) for name in weights.entries]
    units = {(int(match[1]), int(match[2])) for match in found if match}
    stem = tuple(sum(stage == other for other, _ in units) for stage in range(len({stage for stage, _ in units})))
    stride = stem_stride(stem)
    patch_size = (patch[0] * stride, patch[1] * stride)
    return _Embedding(width, _shape(weights, root, 4)[1], patch_size, stem_blocks=stem)


def check_config(weights: Canonical, options: Mapping[str, Any], heads: int | None = None) -> None:
    """Raise WeightsError when a config speaks of another model than the tensors beside it; before anything is built,
    since a config may ask for a billion blocks or a table of a terabyte. `heads`: that the file tells."""
    embedding = _embedding(weights)
    found = {"depth": _depth(weights), **embedding._asdict()}
    if "head.weight" in weights.entries:
        found["num_classes"] = _shape(weights, "head.weight", 2)[1]
    if "reg_token" in weights.entries:
        found["reg_tokens"] = _shape(weights, "reg_token", 3)[1]
    if heads is not None:
        found["num_heads"] = heads
    for name, value in found.items():
        said = options.get(name, value)
        if name == "patch_size" and isinstance(said, int):
            said = (said, said)
        if (tuple(said) if isinstance(said, list) else said) != value:
            raise WeightsError(
                f"has tensors of {name}={value}, and a config beside it that says {str(said)[:80]!r}",
                way_out="Give them the config that they were saved with",
            )
    for name, value in options.items():
        if isinstance(value, int) and value > _LARGEST_OPTION:
            raise WeightsError(f"has a config beside it that says {name}={value}, more than any model has")
    hidden = _shape(weights, "blocks.0.mlp.fc2.weight", 2)[0]
    ratio = options.get("mlp_ratio")
    if ratio is not None and not (isinstance(ratio, (int, float)) and abs(ratio * embedding.embed_dim - hidden) < 1):
        raise WeightsError(
            f"has an MLP of {hidden}, and a config beside it that says {str(ratio)[:80]} times the width"
        )
    if "pos_embed" in weights.entries:
        rows, grid = _shape(weights, "pos_embed", 3)[1], config_grid(options)
        if grid and rows < grid[0] * grid[1]:
            raise WeightsError(
                f"has a position table of {rows} rows, and a config beside it a grid of {grid[0]} x {grid[1]}"
            )
    elif options.get("pos_embed", "none") not in ("none", "rotary"):
        raise WeightsError("has no position table, and a config beside it that says there is one")


def _infer_positions(
    weights: Canonical,
    found: Inferred,
    patch: tuple[int, int],
    metadata: Mapping[str, str],
    given: Mapping[str, Any],
    told: Grid | None,
    source_grid: Grid | None,
) -> None:
    """img_size and no_embed_class; or pos_embed without a table."""
    options = found.options
    if "pos_embed" not in weights.entries:
        told_by = (given, {"pos_embed": metadata.get("vitlib.pos_embed")}, weights.dialect.numerics)
        positions = next((some["pos_embed"] for some in told_by if some.get("pos_embed")), "")
        if positions not in ("none", "rotary"):
            raise WeightsError(
                "has no position table: its positions are rotary, relative, or there are none",
                way_out='Give pos_embed="none" if the model has no positions; the others are not plain ViTs',
            )
        options["pos_embed"] = positions
        if positions == "rotary" and not {"img_size", "dynamic_img_size"} & set(given):
            options |= {"img_size": (16 * patch[0], 16 * patch[1]), "dynamic_img_size": True}
        if positions == "rotary" and "pos_embed" not in given:
            found.assumed.append("rotary positions, as in DINOv3 with base 100")
        return
    rows = _shape(weights, "pos_embed", 3)[1]
    prefix = options["class_token"] + options["distillation_token"]
    if "reg_token" not in weights.dialect.rows_without:
        prefix += options["reg_tokens"]
    own = config_grid({"patch_size": patch, **{k: v for k, v in given.items() if k == "img_size"}})
    table = table_grid(
        rows,
        prefix,
        metadata=metadata,
        source_grid=source_grid,
        told=told,
        model=own,
        rowless=rows_for_patches_alone(weights),
        resampling=True,
    )
    if table is None:
        raise WeightsError(
            f"has a position table of {rows} rows, no square after {prefix} prefix rows: its image size is not told",
            way_out="Give img_size=(height, width), the size that it was trained at, or source_grid=(rows, columns)",
        )
    grid = found.grid = table.grid
    if table.assumed:
        found.assumed.append(table.assumed)
    size = (grid[0] * patch[0], grid[1] * patch[1])
    options |= {
        "img_size": size[0] if size[0] == size[1] else size,
        "no_embed_class": (prefix > 0 and rows == grid[0] * grid[1])
        or any(name in weights.entries for name in weights.dialect.rows_without),
    }


def noted_heads(weights: Canonical, metadata: Mapping[str, str]) -> int | None:
    """The attention heads that the shapes of a file tell, or that vitlib noted in it."""
    qkv = weights.entries.get("blocks.0.attn.qkv.weight")
    if qkv is not None and qkv.heads:
        return qkv.heads
    noted = metadata.get(NUM_HEADS, "")
    return int(noted) if re.fullmatch(r"[1-9][0-9]{0,3}", noted) else None


def _heads(
    weights: Canonical,
    metadata: Mapping[str, str],
    width: int,
    depth: int,
    hidden: int,
    gated: bool,
    given: Mapping[str, Any],
    assumed: list[str],
) -> int:
    if "num_heads" in given:
        return given["num_heads"]
    if noted := noted_heads(weights, metadata):
        return noted
    if (width, depth, hidden) == _GAP_WITH_OTHERS and "cls_token" not in weights.entries:
        raise WeightsError(
            "is as wide and deep as ViT-B without a class token, of which there are two: 12 heads, and 16 in timm's "
            "vit_base_patch16_gap_224",
            way_out="Give num_heads=",
        )
    if heads := _HEADS.get((width, depth, hidden, gated)):
        assumed.append(f"num_heads={heads}, as published models of this size have")
        return heads
    raise WeightsError(
        f"does not tell how many attention heads its model has, and no published one is {width} wide with {depth} "
        f"blocks and an MLP of {hidden}",
        way_out="Give num_heads=",
    )


def _depth(weights: Canonical) -> int:
    """The number of blocks. Raises WeightsError unless they are numbered from 0 without a gap."""
    numbers = {int(match[1]) for name in weights.entries if (match := re.match(r"blocks\.(\d{1,4})\.", name))}
    if numbers != set(range(len(numbers))) or len(numbers) > MAX_BLOCKS:
        missing = next(n for n in range(len(numbers) + 1) if n not in numbers)
        raise WeightsError(
            f"has {len(numbers)} blocks up to number {max(numbers)}, and none with the number {missing}"
            if missing < max(numbers)
            else f"has {len(numbers)} blocks, expected at most {MAX_BLOCKS}"
        )
    return len(numbers)


def _shape(weights: Canonical, name: str, rank: int) -> tuple[int, ...]:
    entry = weights.entries.get(name)
    if entry is None:
        raise WeightsError(f"holds no {name}, so the architecture cannot be told")
    if len(entry.shape) != rank or 0 in entry.shape:
        raise WeightsError(f"has {name} with shape {list(entry.shape)}, expected {rank} dimensions, none of them 0")
    return entry.shape
