"""Published architectures, one row each, under timm's names; tags and the papers' names lead to them."""

from __future__ import annotations

import difflib
import fnmatch
from typing import Any

from ..images import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from .config import ViTConfig
from .family_weights import FAMILY_WEIGHTS

# width, blocks, heads (ViT paper, Table 1; DeiT paper, Table 1; DeiT III, arXiv 2204.07118, Table 1; DINOv2,
# arXiv 2304.07193, Table 17; DINOv3, arXiv 2508.10104, Table 2; So400m, arXiv 2305.13035)
SIZES: dict[str, tuple[int, int, int]] = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "medium": (512, 12, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
    "giant": (1536, 40, 24),
    "small_plus": (384, 12, 6),
    "huge_plus": (1280, 32, 20),
    "so400m": (1152, 27, 16),
    "giantopt": (1536, 40, 16),
}
_SWIGLU: dict[str, Any] = {"gated_mlp": True, "activation": "silu"}
# What a size changes in the MLP.
MLPS: dict[str, dict[str, Any]] = {
    "giant": {**_SWIGLU, "mlp_ratio": 4096 / 1536},
    "small_plus": _SWIGLU,
    "huge_plus": _SWIGLU,
    "so400m": {"mlp_ratio": 4304 / 1152},
}

_CLIP = Preprocess(mean=CLIP_MEAN, std=CLIP_STD)
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
    "dinov2": {"num_classes": 0, "init_values": 1e-5, "preprocess": _IMAGENET},
    "dinov3": {
        "num_classes": 0,
        "init_values": 1e-5,
        "preprocess": _IMAGENET,
        "reg_tokens": 4,
        "pos_embed": "rotary",
        "norm_eps": 1e-5,
        "global_pool": "avg",
        "fc_norm": False,
        "dynamic_img_size": True,
    },
    "clip": {"pre_norm": True, "patch_bias": False, "norm_eps": 1e-5, "preprocess": _CLIP},
    "siglip": {"class_token": False, "global_pool": "map", "num_classes": 0},
}
FAMILIES |= {
    "dinov2_reg": {**FAMILIES["dinov2"], "reg_tokens": 4, "no_embed_class": True},
    "dinov3_no_bias": {**FAMILIES["dinov3"], "qkv_bias": False},
    # OpenAI's towers, with the projection to the common space of images and texts as head
    "clip_b": {**FAMILIES["clip"], "activation": "quick_gelu", "num_classes": 512},
    "clip_l": {**FAMILIES["clip"], "activation": "quick_gelu", "num_classes": 768},
    "siglip_tanh": {**FAMILIES["siglip"], "activation": "gelu_tanh"},
}
# Share of an image that is kept; without a row, timm's rule: 0.9 at 224, and all of it at larger sizes.
FAMILY_CROPS: dict[str, float] = {"dinov2": 1.0, "dinov2_reg": 1.0, "siglip": 0.9, "siglip_tanh": 0.9}

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
    "vit_small_patch8_224": ("vit", "small", 8, 224, ()),
    "vit_small_patch14_dinov2": ("dinov2", "small", 14, 518, ()),
    "vit_base_patch14_dinov2": ("dinov2", "base", 14, 518, ()),
    "vit_large_patch14_dinov2": ("dinov2", "large", 14, 518, ()),
    "vit_giant_patch14_dinov2": ("dinov2", "giant", 14, 518, ()),
    "vit_small_patch14_reg4_dinov2": ("dinov2_reg", "small", 14, 518, ()),
    "vit_base_patch14_reg4_dinov2": ("dinov2_reg", "base", 14, 518, ()),
    "vit_large_patch14_reg4_dinov2": ("dinov2_reg", "large", 14, 518, ()),
    "vit_giant_patch14_reg4_dinov2": ("dinov2_reg", "giant", 14, 518, ()),
    "vit_small_patch16_dinov3": ("dinov3_no_bias", "small", 16, 256, ()),
    "vit_small_plus_patch16_dinov3": ("dinov3_no_bias", "small_plus", 16, 256, ()),
    "vit_base_patch16_dinov3": ("dinov3_no_bias", "base", 16, 256, ()),
    "vit_large_patch16_dinov3": ("dinov3_no_bias", "large", 16, 256, ()),
    "vit_huge_plus_patch16_dinov3": ("dinov3_no_bias", "huge_plus", 16, 256, ()),
    "vit_small_patch16_dinov3_qkvb": ("dinov3", "small", 16, 256, ()),
    "vit_small_plus_patch16_dinov3_qkvb": ("dinov3", "small_plus", 16, 256, ()),
    "vit_base_patch16_dinov3_qkvb": ("dinov3", "base", 16, 256, ()),
    "vit_large_patch16_dinov3_qkvb": ("dinov3", "large", 16, 256, ()),
    "vit_huge_plus_patch16_dinov3_qkvb": ("dinov3", "huge_plus", 16, 256, ()),
    "vit_base_patch32_clip_224": ("clip", "base", 32, 224, ()),
    "vit_base_patch16_clip_224": ("clip", "base", 16, 224, ()),
    "vit_large_patch14_clip_224": ("clip", "large", 14, 224, ()),
    "vit_large_patch14_clip_336": ("clip", "large", 14, 336, ()),
    "vit_base_patch32_clip_quickgelu_224": ("clip_b", "base", 32, 224, ()),
    "vit_base_patch16_clip_quickgelu_224": ("clip_b", "base", 16, 224, ()),
    "vit_large_patch14_clip_quickgelu_224": ("clip_l", "large", 14, 224, ()),
    "vit_large_patch14_clip_quickgelu_336": ("clip_l", "large", 14, 336, ()),
    "vit_base_patch32_siglip_256": ("siglip_tanh", "base", 32, 256, ()),
    "vit_base_patch16_siglip_224": ("siglip", "base", 16, 224, ()),
    "vit_base_patch16_siglip_256": ("siglip", "base", 16, 256, ()),
    "vit_base_patch16_siglip_384": ("siglip", "base", 16, 384, ()),
    "vit_base_patch16_siglip_512": ("siglip", "base", 16, 512, ()),
    "vit_large_patch16_siglip_256": ("siglip", "large", 16, 256, ()),
    "vit_large_patch16_siglip_384": ("siglip", "large", 16, 384, ()),
    "vit_large_patch16_siglip_512": ("siglip_tanh", "large", 16, 512, ()),
    "vit_so400m_patch14_siglip_224": ("siglip", "so400m", 14, 224, ()),
    "vit_so400m_patch14_siglip_378": ("siglip", "so400m", 14, 378, ()),
    "vit_so400m_patch16_siglip_256": ("siglip_tanh", "so400m", 16, 256, ()),
    "vit_so400m_patch16_siglip_384": ("siglip_tanh", "so400m", 16, 384, ()),
    "vit_so400m_patch16_siglip_512": ("siglip_tanh", "so400m", 16, 512, ()),
    "vit_giantopt_patch16_siglip_256": ("siglip_tanh", "giantopt", 16, 256, ()),
    "vit_giantopt_patch16_siglip_384": ("siglip_tanh", "giantopt", 16, 384, ()),
}

for _preset, _tag in FAMILY_WEIGHTS:
    ARCHITECTURES[_preset] = (*ARCHITECTURES[_preset][:-1], (*ARCHITECTURES[_preset][-1], _tag))

# What the weights of a tag change: classes of their head (21,843: ImageNet-21k) and preprocessing.
TAG_CLASSES: dict[str, int] = {_IN21K: 21843, "orig_in21k": 0}
TAG_CROPS: dict[str, float] = {"fb_in22k_ft_in1k": 1.0}

# The papers' names: ViT-B/16 and DeiT-B, with ↑384 for the fine-tuned size and ⚗ for the distilled form.
_LETTERS = {"ti": "tiny", "s": "small", "m": "medium", "b": "base", "l": "large", "h": "huge"}


def _paper_names() -> dict[str, str]:
    names = {}
    for name, (family, size, patch, image, _) in ARCHITECTURES.items():
        if family not in ("vit", "deit", "distilled", "deit3"):
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
    options: dict[str, Any] = {"embed_dim": embed_dim, "depth": depth, "num_heads": num_heads}
    options |= {**FAMILIES[family], **MLPS.get(size, {})}
    config = ViTConfig(img_size=image, patch_size=patch, **options)
    if weights := FAMILY_WEIGHTS.get((stem, tag)):
        return config.replace(num_classes=weights.num_classes, preprocess=weights.preprocess)
    # timm's rule: fine-tuned at a larger size, evaluated on the whole picture
    crop = TAG_CROPS.get(tag, FAMILY_CROPS.get(family, 0.9 if image == 224 else 1.0))
    return config.replace(
        num_classes=TAG_CLASSES.get(tag, config.num_classes),
        preprocess=config.preprocess.replace(crop_fraction=crop),
    )
