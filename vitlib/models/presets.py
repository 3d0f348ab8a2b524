"""Published architectures, one row each, under timm's names; tags and the papers' names lead to them."""

from __future__ import annotations

import difflib
import fnmatch
from typing import Any

from ..images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from .config import ViTConfig

# width, blocks, heads (ViT paper, Table 1; DeiT paper, Table 1; DeiT III, arXiv 2204.07118, Table 1)
SIZES: dict[str, tuple[int, int, int]] = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "medium": (512, 12, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}

_IMAGENET = Preprocess(mean=IMAGENET_MEAN, std=IMAGENET_STD)
# What a family changes in ViTConfig's defaults.
FAMILIES: dict[str, dict[str, Any]] = {
    "vit": {},
    "gap": {"class_token": False, "global_pool": "avg", "fc_norm": False},
    "deit": {"weight_init": "deit", "preprocess": _IMAGENET},
    "distilled": {"weight_init": "deit", "preprocess": _IMAGENET, "distillation_token": True},
    "deit3": {
        "weight_init": "deit",
        "preprocess": _IMAGENET,
        "no_embed_class": True,
        "init_values": 1e-4,
        "drop_path_schedule": "constant",
    },
}

_IN21K = "augreg_in21k"
# name: (family, size, patch, image, published tags; the first is timm's default)
ARCHITECTURES: dict[str, tuple[str, str, int, int, tuple[str, ...]]] = {
    "vit_tiny_patch16_224": ("vit", "tiny", 16, 224, ("augreg_in21k_ft_in1k", _IN21K)),
    "vit_tiny_patch16_384": ("vit", "tiny", 16, 384, ("augreg_in21k_ft_in1k",)),
    "vit_small_patch32_224": ("vit", "small", 32, 224, ("augreg_in21k_ft_in1k", _IN21K)),
    "vit_small_patch32_384": ("vit", "small", 32, 384, ("augreg_in21k_ft_in1k",)),
    "vit_small_patch16_224": ("vit", "small", 16, 224, ("augreg_in21k_ft_in1k", "augreg_in1k", _IN21K)),
    "vit_small_patch16_384": ("vit", "small", 16, 384, ("augreg_in21k_ft_in1k", "augreg_in1k")),
    "vit_small_patch16_gap_224": ("gap", "small", 16, 224, ()),
    "vit_base_patch32_224": (
        "vit",
        "base",
        32,
        224,
        ("augreg_in21k_ft_in1k", "augreg_in1k", _IN21K, "orig_in21k", "sam_in1k"),
    ),
    "vit_base_patch32_384": ("vit", "base", 32, 384, ("augreg_in21k_ft_in1k", "augreg_in1k", "orig_in21k_ft_in1k")),
    "vit_base_patch16_224": (
        "vit",
        "base",
        16,
        224,
        (
            "augreg2_in21k_ft_in1k",
            "augreg_in21k_ft_in1k",
            "orig_in21k_ft_in1k",
            "augreg_in1k",
            _IN21K,
            "orig_in21k",
            "sam_in1k",
        ),
    ),
    "vit_base_patch16_384": (
        "vit",
        "base",
        16,
        384,
        ("augreg_in21k_ft_in1k", "orig_in21k_ft_in1k", "augreg_in1k"),
    ),
    "vit_base_patch16_gap_224": ("gap", "base", 16, 224, ()),
    "vit_base_patch8_224": ("vit", "base", 8, 224, ("augreg2_in21k_ft_in1k", "augreg_in21k_ft_in1k", _IN21K)),
    "vit_large_patch32_224": ("vit", "large", 32, 224, ("orig_in21k",)),
    "vit_large_patch32_384": ("vit", "large", 32, 384, ("orig_in21k_ft_in1k",)),
    "vit_large_patch16_224": (
        "vit",
        "large",
        16,
        224,
        ("augreg_in21k_ft_in1k", _IN21K, "orig_in21k", "orig_in21k_ft_in1k"),
    ),
    "vit_large_patch16_384": ("vit", "large", 16, 384, ("augreg_in21k_ft_in1k", "orig_in21k_ft_in1k")),
    "vit_huge_patch14_224": ("vit", "huge", 14, 224, ("orig_in21k",)),
    "vit_huge_patch14_518": ("vit", "huge", 14, 518, ()),
    "deit_tiny_patch16_224": ("deit", "tiny", 16, 224, ("fb_in1k",)),
    "deit_small_patch16_224": ("deit", "small", 16, 224, ("fb_in1k",)),
    "deit_base_patch16_224": ("deit", "base", 16, 224, ("fb_in1k",)),
    "deit_base_patch16_384": ("deit", "base", 16, 384, ("fb_in1k",)),
    "deit_tiny_distilled_patch16_224": ("distilled", "tiny", 16, 224, ("fb_in1k",)),
    "deit_small_distilled_patch16_224": ("distilled", "small", 16, 224, ("fb_in1k",)),
    "deit_base_distilled_patch16_224": ("distilled", "base", 16, 224, ("fb_in1k",)),
    "deit_base_distilled_patch16_384": ("distilled", "base", 16, 384, ("fb_in1k",)),
    "deit3_small_patch16_224": ("deit3", "small", 16, 224, ("fb_in1k", "fb_in22k_ft_in1k")),
    "deit3_small_patch16_384": ("deit3", "small", 16, 384, ("fb_in1k", "fb_in22k_ft_in1k")),
    "deit3_medium_patch16_224": ("deit3", "medium", 16, 224, ("fb_in1k", "fb_in22k_ft_in1k")),
    "deit3_base_patch16_224": ("deit3", "base", 16, 224, ("fb_in1k", "fb_in22k_ft_in1k")),
    "deit3_base_patch16_384": ("deit3", "base", 16, 384, ("fb_in1k", "fb_in22k_ft_in1k")),
    "deit3_large_patch16_224": ("deit3", "large", 16, 224, ("fb_in1k", "fb_in22k_ft_in1k")),
    "deit3_large_patch16_384": ("deit3", "large", 16, 384, ("fb_in1k", "fb_in22k_ft_in1k")),
    "deit3_huge_patch14_224": ("deit3", "huge", 14, 224, ("fb_in1k", "fb_in22k_ft_in1k")),
}

# What the weights of a tag change: classes of their head (21,843: ImageNet-21k) and preprocessing.
TAG_CLASSES: dict[str, int] = {_IN21K: 21843, "orig_in21k": 0}
TAG_CROPS: dict[str, float] = {"fb_in22k_ft_in1k": 1.0}

# The papers' names: ViT-B/16 and DeiT-B, with ↑384 for the fine-tuned size and ⚗ for the distilled form.
_LETTERS = {"ti": "tiny", "s": "small", "m": "medium", "b": "base", "l": "large", "h": "huge"}


def _paper_names() -> dict[str, str]:
    names = {}
    for name, (family, size, patch, image, _) in ARCHITECTURES.items():
        if family == "gap":
            continue
        letter = next(letter for letter, long in _LETTERS.items() if long == size)
        stem = {
            "vit": f"vit-{letter}/{patch}",
            "deit": f"deit-{letter}",
            "distilled": f"deit-{letter}⚗",
            "deit3": f"deit-iii-{letter}",
        }[family]
        # the paper marks DeiT-B↑384 with its size; 224 goes without saying
        for spelled in {stem, stem.replace("⚗", "-distilled")}:
            names[spelled if image == 224 else f"{spelled}↑{image}"] = name
            names[f"{spelled}-{image}"] = name
    return names


PAPER_NAMES: dict[str, str] = _paper_names()


def list_models(pattern: str = "*", *, tags: bool = False) -> list[str]:
    """Names of the presets that match a shell pattern, such as "deit*"; with tags, `name.tag` for published weights."""
    names = list(ARCHITECTURES)
    if tags:
        names = [f"{name}.{tag}" for name, row in ARCHITECTURES.items() for tag in row[-1]]
    return sorted(fnmatch.filter(names, pattern))


def split_name(name: str) -> tuple[str, str]:
    """A preset's name, with a tag or not, or a paper's name, as (architecture, tag or "").

    Raises ValueError with the nearest names for one that is not known, TypeError for what is no string.
    """
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a preset, such as 'vit_base_patch16_224', found {type(name).__name__}")
    stem, _, tag = name.partition(".")
    stem = PAPER_NAMES.get(stem.lower().replace(" ", "-"), stem)
    if stem.endswith("_in21k") and not tag:  # how timm named these before it had tags
        stem = stem.removesuffix("_in21k")
        tag = next((known for known in ARCHITECTURES.get(stem, ((),))[-1] if known.endswith("g_in21k")), "in21k")
    if stem not in ARCHITECTURES:
        known = [*ARCHITECTURES, *PAPER_NAMES]
        near = difflib.get_close_matches(stem.lower(), known, n=3, cutoff=0.4)
        hint = f"the nearest are {', '.join(near)}" if near else "list_models() gives the names"
        raise ValueError(f"there is no preset {name!r}; {hint}")
    tags = ARCHITECTURES[stem][-1]
    if tag and tag not in tags:
        has = f"it has {', '.join(tags)}" if tags else "it has no published weights"
        raise ValueError(f"the preset {stem} has no weights tagged {tag!r}; {has}")
    return stem, tag


def get_config(name: str) -> ViTConfig:
    """The config of a preset, by timm's name (with a tag, that of its weights) or the paper's (any case).

    Raises ValueError with the nearest names for a preset that does not exist.
    """
    stem, tag = split_name(name)
    family, size, patch, image, _ = ARCHITECTURES[stem]
    embed_dim, depth, num_heads = SIZES[size]
    if (family, size) == ("gap", "base"):
        num_heads = 16  # in timm, whose name it is
    config = ViTConfig(
        img_size=image, patch_size=patch, embed_dim=embed_dim, depth=depth, num_heads=num_heads, **FAMILIES[family]
    )
    # timm's rule: fine-tuned at a larger size, evaluated on the whole picture
    crop = TAG_CROPS.get(tag, 0.9 if image == 224 else 1.0)
    return config.replace(
        num_classes=TAG_CLASSES.get(tag, 1000), preprocess=config.preprocess.replace(crop_fraction=crop)
    )
