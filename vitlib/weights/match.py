"""Matching weights with a model: what goes where, what must change on the way, and what nobody allowed.

Nothing is assigned here. A `Match` says for each parameter of the model how its value is made, and lists every problem.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..checkpoint.errors import quoted
from ..models import VisionTransformer
from .canonical import Canonical, Entry, Tensors
from .patch_kernel import convert_channels, resize_patches
from .position_grid import by

ALLOWANCES = {
    "head": "another number of classes: the model gets a new head",
    "position": "another patch grid: the position table is resampled",
    "patch": "another patch size: the patch kernel is resized by pseudo-inverse",
    "channels": "another number of input channels: the patch kernel is summed or repeated",
    "class_row": "position rows of the prefix tokens are folded into the tokens, or added as zeros",
    "distillation": "the distillation token and its head are left out, or start at random",
    "extra": "tensors of no use to the model are left out",
    "missing": "parameters that the file lacks keep their initial values",
    "architecture": "a config that names another architecture or class does not count, the tensors decide",
}
_HEADS = tuple(f"{name}.{kind}" for name in ("head", "head_dist", "pre_logits.fc") for kind in ("weight", "bias"))
_FIRST_CONVOLUTIONS = ("patch_embed.proj.weight", "patch_embed.stem.0.conv.weight")
_RESHAPED = (*_FIRST_CONVOLUTIONS, "pos_embed")  # whose changes end in the model's shape
_MOST_NAMES = 20

Change = Callable[[np.ndarray], np.ndarray]
Shapes = dict[str, tuple[int, ...]]


@dataclass
class Match:
    """How each parameter is made.

    entries: from which entry of the file. changes: what is done to the array, in order.
    resized: parameter -> what was done, in words. reset: parameters that keep or get initial values. left_out: names of
    the file that the model has no use for. needed: allowances that the match rests on, with a reason for each.
    assumed: what neither the file nor the caller tells.
    missing, unexpected: names, misshapen: name -> what is wrong with its shape; problems, all three.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    changes: dict[str, list[Change]] = field(default_factory=dict)
    resized: dict[str, str] = field(default_factory=dict)
    reset: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    needed: dict[str, str] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
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


def match_weights(
    model: VisionTransformer, weights: Canonical, fit_positions: Callable[[Match, dict[str, Entry]], None]
) -> Match:
    """Match a file's entries with a model's parameters. Nothing is changed and nothing is read.

    fit_positions: (match, entries) -> None, fits the position table when heads and tokens are settled.
    """
    match = Match(unexpected=list(weights.unexpected), left_out=list(weights.foreign))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    entries = dict(weights.entries)
    _fit_distillation(match, entries, shapes)
    _fit_heads(match, entries, shapes)
    _fit_patches(match, entries, shapes)
    fit_positions(match, entries)
    for name, shape in shapes.items():
        entry = entries.get(name)
        if name in match.reset:
            continue
        if entry is None:
            match.missing.append(name)
            continue
        if entry.shape != shape and not (name in match.changes and name in _RESHAPED):
            match.misshapen[name] = _misshapen(entry, shape)
        match.entries[name] = entry
    match.unexpected += [name for name in entries if name not in shapes]
    return match


def _misshapen(entry: Entry, shape: tuple[int, ...]) -> str:
    text = f"file {list(entry.shape)}, model {list(shape)}"
    if len(shape) == 2 and entry.shape == shape[::-1]:
        layout = "in, out" if entry.layout == "paddle" else "out, in"
        text += f" (transposed: its linear weights are not [{layout}], as those of its kind are)"
    return text


def _fit_distillation(match: Match, entries: dict[str, Entry], shapes: Shapes) -> None:
    """A distilled file into a plain model, or the reverse."""
    in_file, in_model = "dist_token" in entries, "dist_token" in shapes
    if in_file and "head_dist.weight" not in entries and shapes.get("reg_token") == entries["dist_token"].shape:
        entries["reg_token"] = entries.pop("dist_token")  # no head reads it: a register
        return
    if in_file and in_model and "head_dist.weight" not in entries and "head.weight" in entries:
        match.needed["distillation"] = "the file has no head for its distillation token"
        match.reset += [name for name in ("head_dist.weight", "head_dist.bias") if name in shapes]
    elif in_file and not in_model:
        match.needed["distillation"] = "the file has a distillation token and the model has none"
        for name in ("dist_token", "head_dist.weight", "head_dist.bias"):
            if entries.pop(name, None) is not None:
                match.left_out.append(name)
    elif in_model and not in_file:
        match.needed["distillation"] = "the model has a distillation token and the file has none"
        match.reset += [name for name in ("dist_token", "head_dist.weight", "head_dist.bias") if name in shapes]


def _fit_heads(match: Match, entries: dict[str, Entry], shapes: Shapes) -> None:
    """Another number of classes, or a head on one side only: the model's heads start anew."""
    reasons = []
    for name in ("head.weight", "head_dist.weight", "pre_logits.fc.weight"):
        if name in match.reset or (name not in entries and name not in shapes):
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
    match.needed["head"] = "; ".join(reasons)
    for name in _HEADS:
        entry, shape = entries.get(name), shapes.get(name)
        if name.startswith("pre_logits") and entry is not None and entry.shape == shape:
            continue
        if entries.pop(name, None) is not None:
            match.left_out.append(name)
        if shape is not None and name not in match.reset:
            match.reset.append(name)


def _classes_differ(there: tuple[int, ...], here: tuple[int, ...]) -> bool:
    """Whether two head weights [in, classes] differ in their classes alone (a transposed one is another problem)."""
    return len(there) == 2 and there[0] == here[0]


def _fit_patches(match: Match, entries: dict[str, Entry], shapes: Shapes) -> None:
    plain, stem = _FIRST_CONVOLUTIONS
    if (stem in entries) != (stem in shapes):
        return
    name = stem if stem in shapes else plain
    entry, shape = entries.get(name), shapes.get(name)
    if entry is None or shape is None or len(entry.shape) != 4 or entry.shape == shape or entry.shape[0] != shape[0]:
        return
    _, old_chans, *old_patch = entry.shape
    _, new_chans, *new_patch = shape
    if old_chans != new_chans:
        match.needed["channels"] = f"the file takes images of {old_chans} channels, the model of {new_chans}"
        match.change(name, lambda array: convert_channels(array, new_chans), f"{old_chans} -> {new_chans} channels")
    if old_patch != new_patch:
        match.needed["patch"] = f"the file's patches are {by(old_patch)}, the model's {by(new_patch)}"
        match.change(
            name,
            lambda array: resize_patches(array, (new_patch[0], new_patch[1])),
            f"patch {by(old_patch)} -> {by(new_patch)}, pseudo-inverse of bicubic",
        )


def fold_blocks(names: list[str]) -> list[str]:
    """Names with their block numbers gathered, as in `blocks.{0-11}.ls1.gamma`; quoted where odd, and not too many."""
    gathered: dict[str, list[int]] = {}
    for name in names:
        match = re.match(r"^(blocks\.)(\d{1,4})(\..*)$", name, re.DOTALL)
        key, number = (f"{match[1]}#{match[3]}", int(match[2])) if match else (name, -1)
        gathered.setdefault(key, []).append(number)
    folded = [
        key if numbers == [-1] else key.replace("#", f"{{{_ranges(numbers)}}}", 1) for key, numbers in gathered.items()
    ]
    shown = [name if name.isprintable() and len(name) <= 80 else quoted(name) for name in folded[:_MOST_NAMES]]
    return shown + ([f"and {len(folded) - _MOST_NAMES} more"] if len(folded) > _MOST_NAMES else [])


def _ranges(numbers: list[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
