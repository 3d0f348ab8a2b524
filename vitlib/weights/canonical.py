"""From a codebase's names and layouts to vitlib's, one tensor at a time, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..checkpoint.errors import WeightsError, quoted
from .dialects import Dialect, recognise

_LINEAR = re.compile(r"(^|\.)(qkv|attn\.proj|fc1|fc2|head|head_dist|pre_logits\.fc)\.weight$")
_SCANNED = "Transformer/encoderblock/"
_MAX_BLOCKS = 1000


class Tensors(Protocol):
    """What `open_weights` gives: names with shapes, and arrays on demand."""

    def __iter__(self) -> Any: ...
    def spec(self, name: str) -> tuple[tuple[int, ...], str]: ...
    def read(self, name: str) -> np.ndarray: ...


@dataclass(frozen=True)
class Part:
    """One tensor of a file, or for weights that were stacked over the blocks, one slice of it."""

    name: str
    shape: tuple[int, ...]
    block: int | None = None

    def read(self, file: Tensors) -> np.ndarray:
        array = file.read(self.name)
        return array if self.block is None else array[self.block]


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

    def read(self, file: Tensors) -> np.ndarray:
        """The array in vitlib's layout; a view on the file where that is possible."""
        return to_vitlib(self.name, self.layout, [part.read(file) for part in self.parts])


@dataclass(frozen=True)
class Canonical:
    """The content of a weight file under vitlib's names.

    unexpected: names in the file that the dialect does not know.
    """

    dialect: Dialect
    entries: dict[str, Entry]
    unexpected: tuple[str, ...]


def canonical(file: Tensors, format: str, dialect: str = "auto") -> Canonical:
    """Recognise whose names these are and give each tensor vitlib's name. Nothing is read.

    Raises WeightsError when the names are of no known dialect, or one parameter is spelled twice or incompletely.
    """
    parts = _unstack({name: Part(name, file.spec(name)[0]) for name in file})
    found = recognise(parts, format, dialect)
    if found is None:
        sample = ", ".join(quoted(name) for name in list(parts)[:6])
        known = "timm, huggingface, torchvision, google, big_vision, facebook, paddleclas"
        whose = "of no Vision Transformer that is known" if dialect == "auto" else f"that are not those of {dialect!r}"
        raise WeightsError(
            f"has names {whose} ({sample}, ...)",
            way_out=f"The known ones are {known}; rename the tensors to timm's names to load them",
        )
    parts = _without_prefixes(parts, found)
    table = _reading_table(found, parts)
    gathered: dict[str, dict[int, Part]] = {}
    counts: dict[str, int] = {}
    unexpected = []
    for name, part in parts.items():
        if name in table:
            ours, index, count = table[name]
        elif not found.rows or found.name == "facebook":  # their other names are vitlib's own
            ours, index, count = name, 0, 1
        else:
            unexpected.append(name)
            continue
        if index in gathered.setdefault(ours, {}):
            raise WeightsError(f"spells the parameter {quoted(ours)} twice, once as {quoted(name)}")
        gathered[ours][index] = part
        counts[ours] = count
    entries = {}
    for ours, pieces in gathered.items():
        if len(pieces) != counts[ours]:
            have = ", ".join(quoted(part.name) for part in pieces.values())
            raise WeightsError(f"holds only a part of {quoted(ours)}: {have}")
        entries[ours] = _entry(ours, found.layout, [pieces[index] for index in sorted(pieces)])
    return Canonical(found, entries, tuple(unexpected))


def is_linear(name: str) -> bool:
    """Whether a parameter of this name is the weight of a linear layer."""
    return bool(_LINEAR.search(name))


def to_vitlib(name: str, layout: str, arrays: list[np.ndarray]) -> np.ndarray:
    """Tensors of a dialect's layout as one parameter of vitlib's: linear weights [in, out], convolutions OIHW."""
    if layout == "jax":
        arrays = [_from_jax(name, array) for array in arrays]
    elif layout == "torch" and is_linear(name):
        arrays = [array.T if array.ndim == 2 else array for array in arrays]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)


def from_vitlib(name: str, layout: str, array: np.ndarray, parts: int, num_heads: int) -> list[np.ndarray]:
    """The inverse of `to_vitlib`, for as many tensors as the dialect spells the parameter with."""
    arrays = np.split(array, parts, axis=-1) if parts > 1 else [array]
    if layout == "jax":
        return [_to_jax(name, piece, num_heads) for piece in arrays]
    if layout == "torch" and is_linear(name):
        return [piece.T for piece in arrays]
    return arrays


def _from_jax(name: str, array: np.ndarray) -> np.ndarray:
    if name == "patch_embed.proj.weight":
        return array.transpose(3, 2, 0, 1)
    if "attn.qkv" in name:  # [D, heads, d] or [heads, d]
        return array.reshape(*array.shape[:-2], -1)
    if name.endswith("attn.proj.weight"):  # [heads, d, D]
        return array.reshape(-1, array.shape[-1])
    return array


def _to_jax(name: str, array: np.ndarray, num_heads: int) -> np.ndarray:
    if name == "patch_embed.proj.weight":
        return array.transpose(2, 3, 1, 0)
    if "attn.qkv" in name:
        return array.reshape(*array.shape[:-1], num_heads, -1)
    if name.endswith("attn.proj.weight"):
        return array.reshape(num_heads, -1, array.shape[-1])
    return array


def _entry(name: str, layout: str, parts: list[Part]) -> Entry:
    """The shape in vitlib's layout, computed as `to_vitlib` computes the array. Raises WeightsError for odd ranks."""
    heads = None
    shapes = [list(part.shape) for part in parts]
    if layout == "jax":
        expected = {"qkv.weight": 3, "qkv.bias": 2, "attn.proj.weight": 3, "patch_embed.proj.weight": 4}
        rank = next((rank for ending, rank in expected.items() if name.endswith(ending)), None)
        for part in parts:
            if rank is not None and len(part.shape) != rank:
                raise WeightsError(f"has {quoted(part.name)} with shape {list(part.shape)}, expected rank {rank}")
        if name == "patch_embed.proj.weight":
            shapes = [[s[3], s[2], s[0], s[1]] for s in shapes]
        elif "attn.qkv" in name:
            heads = shapes[0][-2]
            shapes = [[*s[:-2], s[-2] * s[-1]] for s in shapes]
        elif name.endswith("attn.proj.weight"):
            shapes = [[s[0] * s[1], s[2]] for s in shapes]
    elif layout == "torch" and is_linear(name):
        shapes = [s[::-1] if len(s) == 2 else s for s in shapes]
    shape = shapes[0]
    if len(shapes) > 1:
        if any(not s or s[:-1] != shape[:-1] for s in shapes):
            found = ", ".join(f"{quoted(part.name)} {list(part.shape)}" for part in parts)
            raise WeightsError(f"has parts that do not fit together: {found}")
        shape = [*shape[:-1], sum(s[-1] for s in shapes)]
    return Entry(tuple(parts), tuple(shape), layout, name, heads)


def _reading_table(dialect: Dialect, parts: Mapping[str, Part]) -> dict[str, tuple[str, int, int]]:
    """Their name -> vitlib's, the index among the tensors that make it, and their number."""
    numbers = [int(n) for name in parts for n in re.findall(r"(?:^|[._])(\d+)[./]", name)[:1] if len(n) < 5]
    depth = min(max(numbers, default=-1) + 1, _MAX_BLOCKS)
    reading = {}
    for ours, theirs in dialect.pairs(depth):
        for index, name in enumerate(theirs):
            reading[name] = (ours, index, len(theirs))
    return reading


def _unstack(parts: dict[str, Part]) -> dict[str, Part]:
    """Blocks that were scanned over (big_vision), stacked on axis 0, as one name a block."""
    result = {}
    for name, part in parts.items():
        if _SCANNED not in name or not part.shape:
            result[name] = part
            continue
        if part.shape[0] > _MAX_BLOCKS:
            raise WeightsError(f"stacks {part.shape[0]} blocks in {quoted(name)}, expected at most {_MAX_BLOCKS}")
        for block in range(part.shape[0]):
            single = name.replace(_SCANNED, f"Transformer/encoderblock_{block}/")
            result[single] = Part(name, part.shape[1:], block)
    return result


def _without_prefixes(parts: dict[str, Part], dialect: Dialect) -> dict[str, Part]:
    result: dict[str, Part] = {}
    for name, part in parts.items():
        prefix = next((p for p in dialect.prefixes if name.startswith(p)), "")
        short = name[len(prefix) :]
        if short in result:
            raise WeightsError(f"holds two tensors that are both named {quoted(short)} without their prefix")
        result[short] = part
    return result
