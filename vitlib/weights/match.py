"""Fitting weights to a model: what goes where, what must change on the way, and what nobody allowed.

Nothing is assigned here. A `Plan` says for each parameter of the model how its value is made, and lists every problem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import paddle

from ..layers import resample_positions
from ..models import VisionTransformer
from .canonical import Canonical, Entry, Tensors
from .infer_config import may_be_rowless, table_grid
from .patch_kernel import convert_channels, resize_patches

ALLOWANCES = {
    "head": "another number of classes: the model gets a new head",
    "position": "another patch grid: the position table is resampled",
    "patch": "another patch size: the patch kernel is resized by pseudo-inverse",
    "channels": "another number of input channels: the patch kernel is summed or repeated",
    "class_row": "position rows of the prefix tokens are folded into the tokens, or added as zeros",
    "distillation": "the distillation token and its head are left out, or start at random",
}
_HEADS = tuple(f"{name}.{kind}" for name in ("head", "head_dist", "pre_logits.fc") for kind in ("weight", "bias"))
_RESHAPED = ("patch_embed.proj.weight", "pos_embed")  # whose changes end in the model's shape

Change = Callable[[np.ndarray], np.ndarray]


@dataclass
class Plan:
    """How each parameter is made.

    entries: from which entry of the file. changes: what is done to the array, in order.
    resized: parameter -> what was done, in words. reset: parameters that keep or get initial values. left_out: names of
    the file that the model has no use for. needed: allowances that the plan rests on, with a reason for each.
    missing, unexpected: names, misshapen: name -> what is wrong with its shape; problems, all three.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    changes: dict[str, list[Change]] = field(default_factory=dict)
    resized: dict[str, str] = field(default_factory=dict)
    reset: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    needed: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: dict[str, str] = field(default_factory=dict)

    def value(self, name: str, file: Tensors) -> np.ndarray:
        """The array of a parameter, read and changed."""
        array = self.entries[name].read(file)
        for change in self.changes.get(name, ()):
            array = change(array)
        return array

    def change(self, name: str, change: Change, words: str) -> None:
        self.changes.setdefault(name, []).append(change)
        self.resized[name] = f"{self.resized[name]}; {words}" if name in self.resized else words


def make_plan(
    model: VisionTransformer,
    weights: Canonical,
    file: Tensors,
    *,
    position_resize: str,
    metadata: Mapping[str, str],
    source_grid: tuple[int, int] | None,
) -> Plan:
    """Fit the weights to the model. Nothing is changed and, but for small tables, nothing is read.

    position_resize: method for another grid. source_grid: of the file's position table, where a config tells it.
    """
    plan = Plan(unexpected=list(weights.unexpected))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    entries = dict(weights.entries)
    _fit_distillation(plan, entries, shapes)
    _fit_heads(plan, entries, shapes)
    _fit_patches(plan, entries, shapes)
    _fit_positions(plan, model, weights, entries, file, position_resize, metadata, source_grid)

    for name, shape in shapes.items():
        entry = entries.get(name)
        if name in plan.reset:
            continue
        if entry is None:
            plan.missing.append(name)
            continue
        if entry.shape != shape and not (name in plan.changes and name in _RESHAPED):
            plan.misshapen[name] = _misshapen(entry, shape)
        plan.entries[name] = entry
    plan.unexpected += [name for name in entries if name not in shapes]
    return plan


def _misshapen(entry: Entry, shape: tuple[int, ...]) -> str:
    text = f"file {list(entry.shape)}, model {list(shape)}"
    if len(shape) == 2 and entry.shape == shape[::-1]:
        layout = "in, out" if entry.layout == "paddle" else "out, in"
        text += f" (transposed: its linear weights are not [{layout}], as those of its kind are)"
    return text


def _fit_distillation(plan: Plan, entries: dict[str, Entry], shapes: dict[str, tuple[int, ...]]) -> None:
    """A distilled file into a plain model, or the reverse."""
    in_file, in_model = "dist_token" in entries, "dist_token" in shapes
    if in_file and "head_dist.weight" not in entries and shapes.get("reg_token") == entries["dist_token"].shape:
        entries["reg_token"] = entries.pop("dist_token")  # nothing but the class head reads: a register
        return
    if in_file and in_model and "head_dist.weight" not in entries and "head.weight" in entries:
        plan.needed["distillation"] = "the file has no head for its distillation token"
        plan.reset += [name for name in ("head_dist.weight", "head_dist.bias") if name in shapes]
    elif in_file and not in_model:
        plan.needed["distillation"] = "the file has a distillation token and the model has none"
        for name in ("dist_token", "head_dist.weight", "head_dist.bias"):
            if entries.pop(name, None) is not None:
                plan.left_out.append(name)
    elif in_model and not in_file:
        plan.needed["distillation"] = "the model has a distillation token and the file has none"
        plan.reset += [name for name in ("dist_token", "head_dist.weight", "head_dist.bias") if name in shapes]


def _fit_heads(plan: Plan, entries: dict[str, Entry], shapes: dict[str, tuple[int, ...]]) -> None:
    """Another number of classes, or a head on one side only: the model's heads start anew."""
    reasons = []
    for name in ("head.weight", "head_dist.weight", "pre_logits.fc.weight"):
        if name in plan.reset or (name not in entries and name not in shapes):
            continue
        there, here = entries.get(name), shapes.get(name)
        if there is None and here is not None:
            reasons.append(f"the file has no {name.removesuffix('.weight')}")
        elif here is None and there is not None:
            reasons.append(f"the model has no {name.removesuffix('.weight')}")
        elif there is not None and here is not None and there.shape != here and _classes_differ(there.shape, here):
            reasons.append(
                f"{name.removesuffix('.weight')} has {there.shape[-1]} classes in the file, {here[-1]} in the model"
            )
    if not reasons:
        return
    plan.needed["head"] = "; ".join(reasons)
    for name in _HEADS:
        entry, shape = entries.get(name), shapes.get(name)
        if name.startswith("pre_logits") and entry is not None and entry.shape == shape:
            continue
        if entries.pop(name, None) is not None:
            plan.left_out.append(name)
        if shape is not None and name not in plan.reset:
            plan.reset.append(name)


def _classes_differ(there: tuple[int, ...], here: tuple[int, ...]) -> bool:
    """Whether two head weights [in, classes] differ in their classes alone (a transposed one is another problem)."""
    return len(there) == 2 and there[0] == here[0]


def _fit_patches(plan: Plan, entries: dict[str, Entry], shapes: dict[str, tuple[int, ...]]) -> None:
    name = "patch_embed.proj.weight"
    entry, shape = entries.get(name), shapes.get(name)
    if entry is None or shape is None or len(entry.shape) != 4 or entry.shape == shape or entry.shape[0] != shape[0]:
        return
    _, old_chans, *old_patch = entry.shape
    _, new_chans, *new_patch = shape
    if old_chans != new_chans:
        plan.needed["channels"] = f"the file takes images of {old_chans} channels, the model of {new_chans}"
        plan.change(name, lambda array: convert_channels(array, new_chans), f"{old_chans} -> {new_chans} channels")
    if old_patch != new_patch:
        plan.needed["patch"] = f"the file's patches are {_by(old_patch)}, the model's {_by(new_patch)}"
        plan.change(
            name,
            lambda array: resize_patches(array, (new_patch[0], new_patch[1])),
            f"patch {_by(old_patch)} -> {_by(new_patch)}, pseudo-inverse of bicubic",
        )


def _fit_positions(
    plan: Plan,
    model: VisionTransformer,
    weights: Canonical,
    entries: dict[str, Entry],
    file: Tensors,
    method: str,
    metadata: Mapping[str, str],
    source_grid: tuple[int, int] | None,
) -> None:
    """The position table: prefix rows folded, added or dropped; the grid resampled. Grids are compared as (h, w)."""
    entry, config = entries.get("pos_embed"), model.config
    if entry is None or config.pos_embed == "none" or len(entry.shape) != 3 or entry.shape[2] != config.embed_dim:
        return
    tokens = [name for name in ("cls_token", "dist_token", "reg_token") if name in entries or name in plan.left_out]
    counts = {name: _rows(entries.get(name)) for name in tokens}  # what stands before the patches in the file
    rows, here = entry.shape[1], model.patch_embed.grid_size
    prefix = sum(counts.values())
    grid = table_grid(rows, prefix, metadata, told=source_grid, likely=here, rowless=may_be_rowless(weights))
    if grid is None:
        plan.misshapen["pos_embed"] = (
            f"{rows} rows are no square grid with or without {prefix} prefix rows; build the model at the "
            "file's own image size, load, then call set_image_size"
        )
        plan.changes.setdefault("pos_embed", [])
        return
    file_rows = counts if rows - grid[0] * grid[1] == prefix else {}
    model_rows = {name: getattr(model, name).shape[1] for name in model._prefix_names}
    if config.no_embed_class:
        model_rows = {}
    if bool(file_rows) != bool(model_rows) and (prefix or model_rows):
        _fold_rows(plan, entries, entry, file_rows, model_rows, file)
    if list(file_rows.items()) != list(model_rows.items()):
        where = np.cumsum([0, *file_rows.values()])
        starts = dict(zip(file_rows, where.tolist(), strict=False))

        def arrange(table: np.ndarray) -> np.ndarray:
            new = []
            for name, count in model_rows.items():
                kept = file_rows.get(name) == count
                zeros = np.zeros((1, count, table.shape[-1]))
                new.append(table[:, starts[name] : starts[name] + count] if kept else zeros)
            return np.concatenate([*new, table[:, int(where[-1]) :]], axis=1).astype(table.dtype)

        plan.change("pos_embed", arrange, f"prefix rows {sum(file_rows.values())} -> {sum(model_rows.values())}")
    if grid != here:
        plan.needed["position"] = f"the file's position table is for a grid of {_by(grid)}, the model's for {_by(here)}"

        def resample(table: np.ndarray) -> np.ndarray:
            return resample_positions(paddle.to_tensor(table.astype("float32")), grid, here, method).numpy()

        plan.change("pos_embed", resample, f"grid {_by(grid)} -> {_by(here)}, method {method!r}")


def _fold_rows(
    plan: Plan,
    entries: dict[str, Entry],
    table: Entry,
    file_rows: dict[str, int],
    model_rows: dict[str, int],
    file: Tensors,
) -> None:
    """Rows that only one side has: the file's are added to its tokens (the sum is all that a model sees of them), the
    model's own start at zero."""
    if model_rows:
        plan.needed["class_row"] = "the model's position table has rows for the prefix tokens, the file's has none"
        return
    plan.needed["class_row"] = "the file's position table has rows for the prefix tokens, the model's has none"
    start = 0
    for name, count in file_rows.items():
        begin, start = start, start + count
        if name in entries:
            plan.change(
                name,
                lambda token, begin=begin, count=count: token + table.read(file)[:, begin : begin + count],
                "position row added",
            )


def _rows(entry: Entry | None) -> int:
    return entry.shape[1] if entry is not None and len(entry.shape) == 3 else 1


def _by(size: tuple[int, int] | list[int]) -> str:
    return f"{size[0]} x {size[1]}"


def fold_blocks(names: list[str]) -> list[str]:
    """Names with their block numbers gathered: `blocks.{0-11}.ls1.gamma`."""
    gathered: dict[str, list[int]] = {}
    for name in names:
        match = re.match(r"^(blocks\.)(\d+)(\..*)$", name)
        key, number = (f"{match[1]}#{match[3]}", int(match[2])) if match else (name, -1)
        gathered.setdefault(key, []).append(number)
    return [
        key if numbers == [-1] else key.replace("#", f"{{{_ranges(numbers)}}}", 1) for key, numbers in gathered.items()
    ]


def _ranges(numbers: list[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
