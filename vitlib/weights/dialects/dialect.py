"""A dialect: how one codebase names, lays out, computes and describes a Vision Transformer."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

from ...images import Preprocess
from ...models import ViTConfig

Rows = tuple[tuple[str, "str | tuple[str, ...]"], ...]

# In place of one of their names: the parameter, or its part, is zero and the codebase has no tensor for it
ZEROS = "zeros"

_NUMBER = re.compile(r"(?<![0-9])[0-9]{1,4}(?![0-9])")
_SLICE = re.compile(r"(.*)\[(?:(\d)/(\d))?:(?:(\d)/(\d))?\]$")
# Beside the weights of an encoder, in files of any codebase: what pretraining alone uses, and counters and constants
# that a model computes by itself
_FOREIGN = (
    r"(.*\.)?mask_token",
    r"(.*\.)?position_ids",
    r"(.*\.)?num_batches_tracked",
    r"(.*\.)?total_(ops|params)",
    r"(rope|rope_embed|rope_embeddings)\..*",
    r"decoder(_embed|_pos_embed|_blocks|_norm|_pred)?(\..*)?",  # MAE
    r"(dino_|ibot_)?head\.(mlp|last_layer)\..*",  # DINO, DINOv2
)


class Target(NamedTuple):
    """Where a tensor goes: to vitlib's parameter `name`, as piece `place` of `count`; `start` and `stop` are the share
    of its first axis that goes there."""

    name: str
    place: int
    count: int
    start: Fraction = Fraction(0)
    stop: Fraction = Fraction(1)


@dataclass(frozen=True)
class Dialect:
    """A codebase's names, layout and numerics, readable beside its own state dict and used for loading and for saving.

    name: the value of `dialect=`; generations of one codebase share it.
    signature: names that a file of this dialect has, all of them; empty: recognised when asked for alone.
    rows: (vitlib's name, their name). `{i}` stands for the block, `{i+1}` on their side for one that is counted from 1.
        A name that ends in `*` is a module with a weight and a bias. Several names on their side are concatenated,
        as q, k and v are into qkv; ZEROS stands for a piece that has no tensor. A name that ends in `[:1/3]` or
        `[1/3:]` is that share of the tensor's first axis.
    timm_names: names without a row are timm's, which are also vitlib's.
    named_signature: names that suffice when the caller asks for this dialect by name.
    formats: file formats that this dialect is recognised in; empty: any.
    layout: of linear weights: "torch" [out, in], "paddle" [in, out], or "jax" (kernels [in, out], of attention by head
        [D, heads, d]; convolutions HWIO).
    layouts: vitlib's parameters whose tensors have another layout.
    prefixes: strings that may stand before every name.
    foreign: patterns of whole names, beside those of all codebases, that belong to other parts of a larger model (a
        text tower, a decoder): left out and reported.
    stacked: a prefix of names whose tensors hold all blocks, stacked on axis 0, and its form for a single block.
    numerics: options of `ViTConfig` as this codebase computes; empty where the names do not tell.
    usual: options of `ViTConfig` that nothing in a file tells, as most models of this codebase have them: taken, and
        reported as assumed, where a file alone tells the architecture.
    preprocess: (config, names of parameters in the file) -> its usual evaluation transform for such a model.
    rowless: position tables may lack rows for the prefix tokens.
    rows_without: prefix tokens that never have rows, while the others do.
    model_types: `model_type` of transformers' config.json for models with these names.
    config_options: the values of such a config.json -> options of `ViTConfig`; raises ValueError for what has no
        counterpart here.
    """

    name: str
    signature: tuple[str, ...]
    rows: Rows = ()
    timm_names: bool = False
    named_signature: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    layout: str = "torch"
    layouts: Mapping[str, str] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    stacked: tuple[str, str] | None = None
    numerics: Mapping[str, Any] = field(default_factory=dict)
    usual: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Callable[[ViTConfig, Container[str]], Preprocess] | None = None
    rowless: bool = False
    rows_without: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    config_options: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None

    def spellings(self) -> list[tuple[str, tuple[str, ...]]]:
        """(vitlib's parameter name, their names), with `{i}` for the block; empty when the names are timm's own."""
        found = []
        for ours, theirs in self.rows:
            for kind in ("weight", "bias") if ours.endswith("*") else ("",):
                spelled = self._kind(ours, kind)
                names = (theirs,) if isinstance(theirs, str) else theirs
                found.append((ours.replace("*", kind), tuple(name.replace("*", spelled) for name in names)))
        return found

    def find(self, name: str) -> list[Target]:
        """The parameters, or pieces of them, that a tensor of theirs makes; none for a name that is not known, or of
        another part of a larger model."""
        whole, name = name, self.unprefixed(name)
        if name in self._index:
            return self._index[name]
        for number in _NUMBER.finditer(name):
            for form, first in (("{i}", 0), ("{i+1}", 1)):
                template, block = f"{name[: number.start()]}{form}{name[number.end() :]}", int(number[0]) - first
                if template in self._index and block >= 0:
                    found = self._index[template]
                    return [target._replace(name=target.name.replace("{i}", str(block))) for target in found]
        return [Target(name, 0, 1)] if self.timm_names and not self.is_foreign(whole) else []

    def is_foreign(self, name: str) -> bool:
        """Whether a tensor belongs to another part of a larger model, or to pretraining alone."""
        return any(re.fullmatch(pattern, name) for pattern in (*self.foreign, *_FOREIGN))

    def unprefixed(self, name: str) -> str:
        """A name without this dialect's prefix."""
        return name.removeprefix(next((prefix for prefix in self.prefixes if name.startswith(prefix)), ""))

    @cached_property
    def signatures(self) -> list[tuple[str, ...]]:
        """The signature with each prefix, and for blocks that are stacked."""
        return self._signatures(self.signature)

    @cached_property
    def named_signatures(self) -> list[tuple[str, ...]]:
        """The same of the named signature."""
        return self._signatures(self.named_signature)

    def _signatures(self, names: tuple[str, ...]) -> list[tuple[str, ...]]:
        forms = [names] if names else []
        if self.stacked and names:
            stacked, single = self.stacked
            forms.append(tuple(name.replace(single.replace("{i}", "0"), stacked) for name in names))
        return [tuple(prefix + name for name in form) for prefix in ("", *self.prefixes) for form in forms]

    @cached_property
    def zeros(self) -> list[Target]:
        """The pieces that are zero, with `{i}` for the block."""
        return self._targets.get(ZEROS, [])

    @cached_property
    def _index(self) -> dict[str, list[Target]]:
        return {name: targets for name, targets in self._targets.items() if name != ZEROS}

    @cached_property
    def _targets(self) -> dict[str, list[Target]]:
        found: dict[str, list[Target]] = {}
        for ours, theirs in self.spellings():
            for place, name in enumerate(theirs):
                target = Target(ours, place, len(theirs))
                if cut := _SLICE.match(name):
                    start, stop = (
                        Fraction(int(a or d), int(b or 1)) for a, b, d in ((cut[2], cut[3], 0), (cut[4], cut[5], 1))
                    )
                    name, target = cut[1], target._replace(start=start, stop=stop)
                if target not in found.setdefault(name, []):
                    found[name].append(target)
        return found

    def _kind(self, ours: str, kind: str) -> str:
        if self.layout == "jax" and kind == "weight":
            return "scale" if "norm" in ours else "kernel"
        return kind


@dataclass(frozen=True)
class SourceConfig:
    """The content of the config files beside weights.

    kind: "vitlib", "huggingface" or "timm"; "" when there are none.
    options: of `ViTConfig`, as far as they are known; complete for "vitlib" and "timm".
    preprocess, labels: None when the files do not say.
    model_class: name of the class that was saved, where a file says it.
    refusal: why the model that the config names cannot be built, "" when it can.
    assumed: parts of the files that were not understood, and what is assumed instead.
    """

    kind: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None
    model_class: str = ""
    refusal: str = ""
    assumed: tuple[str, ...] = ()


def class_labels(names: Any) -> tuple[str, ...] | None:
    """Labels out of a config file. Raises ValueError for anything but a list of names or None."""
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("labels: expected a list of names")
    return tuple(names)
