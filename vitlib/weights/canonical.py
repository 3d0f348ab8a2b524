"""From a codebase's names to vitlib's. Nothing is read: entries know their shape and how to read themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import numpy as np

from ..checkpoint.errors import WeightsError, listed, quoted
from .dialects import NAMES, SIGNATURES, Dialect, recognise
from .dialects.dialect import ZEROS, Target
from .layouts import heads_in_shape, shape_in_vitlib, to_vitlib

MAX_BLOCKS = 1000
_LORA = re.compile(r"(^|\.)lora_[AB](\.|$)")
# DINOv2's training code keeps blocks in chunks, and counts them through: blocks.{chunk}.{i}.
_CHUNK = re.compile(r"^(blocks\.)\d{1,4}\.(\d{1,4}\.)")


class Readable(Protocol):
    """Arrays by name, on demand."""

    def read(self, name: str) -> np.ndarray: ...


class Tensors(Readable, Protocol):
    """An open file, or arrays in memory: names with shapes, and arrays on demand."""

    format: str

    def __iter__(self) -> Iterator[str]: ...
    def spec(self, name: str) -> tuple[tuple[int, ...], str]: ...


@dataclass(frozen=True)
class Part:
    """A tensor of a file, a part of it, or zeros that no file has.

    shape: of what `read` gives. block: the one to take, where the blocks are stacked. rows: the first and the last but
    one to take of the first axis.
    """

    name: str
    shape: tuple[int, ...]
    block: int | None = None
    rows: tuple[int, int] | None = None

    def read(self, file: Readable) -> np.ndarray:
        if self.name == ZEROS:
            return np.zeros(self.shape, np.float32)
        array = file.read(self.name)
        if self.block is not None:
            array = array[self.block]
        return array if self.rows is None else array[slice(*self.rows)]


@dataclass(frozen=True)
class Entry:
    """A parameter under vitlib's name, made of one or several tensors of a file, not read yet.

    shape: in vitlib's layout. heads: attention heads, where the file's shape tells them.
    """

    parts: tuple[Part, ...]
    shape: tuple[int, ...]
    layout: str
    name: str
    heads: int | None = None

    @property
    def tensors(self) -> tuple[Part, ...]:
        """The parts that are in the file."""
        return tuple(part for part in self.parts if part.name != ZEROS)

    def read(self, file: Readable) -> np.ndarray:
        """The array in vitlib's layout; a view on the file where that is possible."""
        return to_vitlib(self.name, self.layout, [part.read(file) for part in self.parts])


@dataclass(frozen=True)
class Canonical:
    """The content of a weight file under vitlib's names.

    unexpected: names in the file that the dialect does not know. foreign: those of other parts of a larger model.
    prefix: before every name that the dialect knows.
    """

    dialect: Dialect
    entries: dict[str, Entry]
    unexpected: tuple[str, ...]
    foreign: tuple[str, ...] = ()
    prefix: str = ""


def canonical(file: Tensors, dialect: str = "auto") -> Canonical:
    """Recognise whose names these are and give each tensor vitlib's name.

    Raises WeightsError when the names are of no known dialect, or one parameter is spelled twice or incompletely.
    """
    names = _names_without_chunks(file)
    if any(_LORA.search(name) for name in names):
        raise WeightsError(
            "holds LoRA pairs (lora_A, lora_B) beside the weights that they change",
            way_out="Merge them where the file was made (peft: model.merge_and_unload()), and save the result",
        )
    found, prefix = _recognise_under_prefix(list(names), file.format, dialect)
    gathered: dict[str, dict[int, Part]] = {}
    counts: dict[str, int] = {}
    unexpected, foreign = [], []
    for name in names:
        if not name.startswith(prefix):
            (foreign if found.is_foreign(name) else unexpected).append(name)
    names = {name.removeprefix(prefix): stored for name, stored in names.items() if name.startswith(prefix)}
    for name, part in _single_blocks(file, names, found):
        targets = found.find(name)
        if not targets:
            (foreign if found.is_foreign(name) else unexpected).append(prefix + name)
        for target in targets:
            ours, counts[target.name] = target.name, target.count
            if target.place in gathered.setdefault(ours, {}):
                other = gathered[ours][target.place].name
                raise WeightsError(
                    f"spells the parameter {quoted(ours)} twice, as {quoted(other)} and as {quoted(name)}"
                )
            gathered[ours][target.place] = _share(part, target)
    _add_zeros(found, gathered)
    entries = {}
    for ours, pieces in gathered.items():
        if len(pieces) != counts.get(ours, 1):
            have = ", ".join(quoted(part.name) for part in pieces.values())
            raise WeightsError(f"holds only a part of {quoted(ours)}: {have}")
        layout = found.layouts.get(ours, found.layout)
        entries[ours] = _entry(ours, layout, [pieces[index] for index in sorted(pieces)])
    return Canonical(found, entries, tuple(unexpected), tuple(foreign), prefix)


def _share(part: Part, target: Target) -> Part:
    """The rows of a tensor that go to one of several parameters."""
    if target.stop - target.start == 1:
        return part
    rows = tuple(part.shape[0] * end if part.shape else Fraction(1, 2) for end in (target.start, target.stop))
    if any(row.denominator > 1 for row in rows):
        raise WeightsError(f"has {quoted(part.name)} with shape {list(part.shape)}, which does not divide into parts")
    start, stop = (int(row) for row in rows)
    return replace(part, shape=(stop - start, *part.shape[1:]), rows=(start, stop))


def _add_zeros(dialect: Dialect, gathered: dict[str, dict[int, Part]]) -> None:
    """The pieces that are zero: as their neighbours, and a bias without any as wide as its weight."""
    blocks = [name.split(".")[1] for name in gathered if name.startswith("blocks.") and name.endswith(".norm1.weight")]
    for target in dialect.zeros:
        for name in {target.name.replace("{i}", block) for block in blocks or ["0"]}:
            if others := gathered.get(name):
                others.setdefault(target.place, Part(ZEROS, next(iter(others.values())).shape))
            elif target.count == 1 and (weight := gathered.get(name.replace(".bias", ".weight"))):
                layout = dialect.layouts.get(name.replace(".bias", ".weight"), dialect.layout)
                shape = weight[0].shape
                gathered[name] = {0: Part(ZEROS, (shape[0 if layout == "torch" else -1],) if shape else ())}


def _names_without_chunks(file: Tensors) -> dict[str, str]:
    """Names without the chunks that DINOv2's training code keeps blocks in -> names in the file."""
    names: dict[str, str] = {}
    for stored in file:
        name = _CHUNK.sub(r"\1\2", stored)
        if name in names:
            raise WeightsError(f"spells {quoted(name)} twice, as {quoted(names[name])} and as {quoted(stored)}")
        names[name] = stored
    return names


@dataclass(frozen=True)
class _Under:
    """The names that begin with a prefix, without it; they are not gathered, as there may be thousands of prefixes."""

    prefix: str
    names: set[str]

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.names


def _recognise_under_prefix(names: list[str], format: str, wanted: str) -> tuple[Dialect, str]:
    """The dialect of a file, and the prefix under which its names are; others may stand beside.

    Raises WeightsError when there is none, and when several prefixes could be meant.
    """
    stored = set(names)
    found = recognise(stored, format, wanted)
    if found is not None:
        return found, ""
    under: dict[str, Dialect] = {}
    for prefix in sorted({name.removesuffix(end) for name in names for end in SIGNATURES if name.endswith(end)}):
        if (dialect := recognise(_Under(prefix, stored), format, wanted)) is not None:
            under[prefix] = dialect
    if len(under) == 1:
        prefix, found = next(iter(under.items()))
        return found, prefix
    if under:
        parts = [prefix.rstrip("./") for prefix in under]
        raise WeightsError(
            f"holds the weights of {len(parts)} models, under {listed(parts)}",
            way_out=f"Say which one, for instance part={quoted(parts[0])}",
        )
    whose = "of no Vision Transformer that is known" if wanted == "auto" else f"that are not those of {wanted!r}"
    raise WeightsError(
        f"has names {whose} ({listed(names, 6)})",
        way_out=f"The known ones are {', '.join(NAMES)}; rename the tensors to timm's names to load them",
    )


def _single_blocks(file: Tensors, names: dict[str, str], dialect: Dialect) -> Iterator[tuple[str, Part]]:
    """Every tensor, those that are stacked over the blocks as one part a block, under the names of single blocks.

    names: without chunks -> in the file.
    """
    for name, stored in names.items():
        shape, _ = file.spec(stored)
        if dialect.stacked and dialect.stacked[0] in name and shape:
            stacked, single = dialect.stacked
            first = name.replace(stacked, single.replace("{i}", "0"))
            if dialect.find(first):
                if not 0 < shape[0] <= MAX_BLOCKS or 0 in shape:
                    raise WeightsError(
                        f"stacks {shape[0]} blocks in {quoted(name)} of shape {list(shape)}, expected 1 to {MAX_BLOCKS}"
                    )
                for block in range(shape[0]):
                    part = Part(stored, shape[1:], block)
                    yield name.replace(stacked, single.replace("{i}", str(block))), part
                continue
        yield name, Part(stored, shape)


def _entry(name: str, layout: str, parts: list[Part]) -> Entry:
    """The shape in vitlib's layout, computed as `to_vitlib` computes the array. Raises WeightsError for odd ranks."""
    shapes = []
    for part in parts:
        try:
            shapes.append(shape_in_vitlib(name, layout, part.shape))
        except ValueError as error:
            raise WeightsError(f"has {quoted(part.name)} with shape {list(part.shape)}, {error}") from None
    shape = shapes[0]
    if len(shapes) > 1:
        if any(not s or s[:-1] != shape[:-1] for s in shapes):
            found = ", ".join(f"{quoted(part.name)} {list(part.shape)}" for part in parts)
            raise WeightsError(f"has parts that do not fit together: {found}")
        shape = (*shape[:-1], sum(s[-1] for s in shapes))
    return Entry(tuple(parts), tuple(shape), layout, name, heads_in_shape(name, layout, parts[0].shape))
