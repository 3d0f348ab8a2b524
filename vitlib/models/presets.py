"""Presets by name: timm's names, tags, and the papers' names."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable
from typing import NamedTuple

from ..images import Preprocess
from ..images.checks import did_you_mean
from .config import ViTConfig
from .family_weights import FAMILY_WEIGHTS
from .preset_table import FAMILIES, FAMILY_CROPS, MLPS, PRESETS, SIZES, TAG_CLASSES, TAG_CROPS, TOP1_SOURCES

_PADDLECLAS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/"
_PADDLECLAS_NAMES = {"vit": "ViT", "deit": "DeiT"}
# Converted from timm in 2026, under timm's names
_PADDLECLAS_FROM_TIMM = "https://paddle-model-ecology.bj.bcebos.com/paddlex/official_pretrained_model/"
# The papers' names: ViT-B/16 and DeiT-B, with ↑384 for the fine-tuned size and ⚗ for the distilled form
_LETTERS = {"tiny": "ti", "small": "s", "medium": "m", "base": "b", "large": "l", "huge": "h"}
_STEMS = {"vit": "vit-{}/{}", "deit": "deit-{}", "distilled": "deit-{}⚗", "deit3": "deit-iii-{}"}
_STEMS |= {"r26": "r26+vit-{}/{}", "r50": "r50+vit-{}/{}", "r50_s16": "r50+vit-{}/{}"}  # hybrids


def _paper_names() -> dict[str, str]:
    names = {}
    for name, preset in PRESETS.items():
        if preset.family not in _STEMS:
            continue
        stem = _STEMS[preset.family].format(_LETTERS[preset.size], preset.patch)
        # the paper marks DeiT-B↑384 with its size; 224 goes without saying
        for spelled in {stem, stem.replace("⚗", "-distilled")}:
            names[spelled if preset.image == 224 else f"{spelled}↑{preset.image}"] = name
            names[f"{spelled}-{preset.image}"] = name
    return names


PAPER_NAMES: dict[str, str] = _paper_names()


class Published(NamedTuple):
    """A set of published weights.

    name: "preset.tag".
    locations: sources of the same weights, the preferred one first: "hf:org/repo" on the Hugging Face hub, or URLs.
    num_classes: of the head: 1000 (ImageNet-1k), 21843 (ImageNet-21k), or 0 (no head).
    preprocess: timm's record for them, without a size.
    licence: SPDX identifier.
    top1: published accuracy on ImageNet-1k's validation set in per cent, or None; top1_source: where, or "".
    """

    name: str
    locations: tuple[str, ...]
    num_classes: int
    preprocess: Preprocess
    licence: str
    top1: float | None
    top1_source: str


def list_models(
    pattern: str | Iterable[str] = "*",
    *,
    exclude_filters: str | Iterable[str] = (),
    pretrained: bool = False,
    tags: bool | None = None,
) -> list[str]:
    """Names of the presets, sorted (as `timm.list_models`).

    Args:
        pattern: a shell pattern or several of them, such as "deit*" or ["vit*", "*_384"]; a name is listed when one
            fits. Patterns of the papers' names, such as "ViT-B*", find their presets. Case does not count.
        exclude_filters: patterns of names to leave out.
        pretrained: only those that have published weights.
        tags: list `preset.tag` for each set of published weights; None: with pretrained.
    """
    spelled: dict[str, list[str]] = {}
    for paper, name in PAPER_NAMES.items():
        spelled.setdefault(name, []).append(paper)
    listed = []
    for name, preset in PRESETS.items():
        suffixes = [f".{row.tag}" for row in preset.weights] if (pretrained if tags is None else tags) else [""]
        if pretrained and not preset.weights:
            continue
        for suffix in suffixes:
            names = [other + suffix for other in (name, *spelled.get(name, ()))]
            if _fits(names, pattern) and not _fits(names, exclude_filters):
                listed.append(name + suffix)
    return sorted(listed)


def _fits(names: list[str], patterns: str | Iterable[str]) -> bool:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in patterns for name in names)


def split_name(name: str) -> tuple[str, str]:
    """A preset's name, with a tag or not, or a paper's name, as (architecture, tag or "").

    Raises ValueError with the nearest names for one that is not known, TypeError for anything but a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a preset, such as 'vit_base_patch16_224', found {type(name).__name__}")
    stem, _, tag = name.partition(".")
    stem = PAPER_NAMES.get(stem.lower().replace(" ", "-"), stem)
    if stem.endswith("_in21k") and not tag:  # timm's names before it had tags
        stem = stem.removesuffix("_in21k")
        rows = PRESETS[stem].weights if stem in PRESETS else ()
        tag = next((row.tag for row in rows if row.tag in TAG_CLASSES), "in21k")
    if stem not in PRESETS:
        hint = did_you_mean(stem.lower(), [*PRESETS, *PAPER_NAMES], cutoff=0.4, count=3)
        raise ValueError(f"there is no preset {name!r}{hint or '; list_models() gives the names'}")
    known = [row.tag for row in PRESETS[stem].weights]
    if tag and tag not in known:
        has = f"it has {', '.join(known)}" if known else "it has no published weights"
        raise ValueError(f"the preset {stem} has no weights tagged {tag!r}; {has}")
    return stem, tag


def get_config(name: str) -> ViTConfig:
    """The config of a preset, by timm's name (with a tag, that of its weights) or the paper's (any case).

    Raises ValueError with the nearest names for a preset that does not exist.
    """
    stem, tag = split_name(name)
    preset = PRESETS[stem]
    embed_dim, depth, num_heads = SIZES[preset.size]
    config = ViTConfig(
        img_size=preset.image, patch_size=preset.patch, embed_dim=embed_dim, depth=depth, num_heads=num_heads
    ).replace(**{**FAMILIES[preset.family], **MLPS.get(preset.size, {}), **preset.options})
    if weights := FAMILY_WEIGHTS.get((stem, tag)):
        return config.replace(num_classes=weights.num_classes, preprocess=weights.preprocess)
    # timm's rule: fine-tuned at a larger size, evaluated on the whole image
    crop = TAG_CROPS.get(tag, FAMILY_CROPS.get(preset.family, 0.9 if preset.image == 224 else 1.0))
    return config.replace(
        num_classes=TAG_CLASSES.get(tag, config.num_classes),
        preprocess=config.preprocess.replace(crop_fraction=crop),
    )


def published(name: str) -> Published:
    """The weights called "preset.tag", or those that timm takes for "preset"; the papers' names lead to presets.

    Raises ValueError for a preset that does not exist or has no published weights, and for an unknown tag, with the
    names that exist instead.
    """
    stem, tag = split_name(name)
    preset = PRESETS[stem]
    if not preset.weights:
        raise ValueError(
            f"nobody has published weights for the preset {stem}. Presets of that kind with weights: "
            f"{', '.join(_alternatives(stem))}. To train this one from scratch, build it with "
            f'create_model("{stem}"); weights of your own load with pretrained="path/to/file"'
        )
    row = next((row for row in preset.weights if row.tag == tag), preset.weights[0])
    full_name = f"{stem}.{row.tag}"
    locations = [f"hf:{row.hub_id or f'timm/{full_name}'}"] if row.hub else []
    locations += [row.original] if row.original else []
    if row.paddleclas and preset.family == "deit3":
        locations.append(f"{_PADDLECLAS_FROM_TIMM}{full_name}.pdparams")
    elif row.paddleclas:
        family, _, rest = stem.partition("_")
        locations.append(f"{_PADDLECLAS}{_PADDLECLAS_NAMES[family]}_{rest}_pretrained.pdparams")
    config = get_config(full_name)
    source = "" if row.top1 is None else TOP1_SOURCES[preset.family]
    return Published(full_name, tuple(locations), config.num_classes, config.preprocess, row.licence, row.top1, source)


def _alternatives(stem: str) -> list[str]:
    """Presets that have weights, of the same size where there are any; the nearest names first."""
    have = [name for name, preset in PRESETS.items() if preset.weights]
    kin = [name for name in have if PRESETS[name].size == PRESETS[stem].size] or have
    return difflib.get_close_matches(stem, kin, n=3, cutoff=0.0)
