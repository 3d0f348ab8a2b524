"""The table of presets: published architectures under timm's names, each with its published weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..images import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess
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
    # ViT paper, §3.1, and AugReg: a ResNet before the tokens, of three stages for patches of 16
    "r": {"stem_blocks": ()},
    "r26": {"stem_blocks": (2, 2, 2, 2)},
    "r50": {"stem_blocks": (3, 4, 6, 3)},
    "r50_s16": {"stem_blocks": (3, 4, 9)},
}
# Share of an image that is kept; without a row, timm's rule: 0.9 at 224, and all of it at larger sizes.
FAMILY_CROPS: dict[str, float] = {"dinov2": 1.0, "dinov2_reg": 1.0, "siglip": 0.9, "siglip_tanh": 0.9}

# Where the top-1 accuracy of a family was published
TOP1_SOURCES = {
    "vit": "timm's results table for ImageNet-1k",
    "deit": "facebookresearch/deit, README of DeiT",
    "distilled": "facebookresearch/deit, README of DeiT",
    "deit3": "facebookresearch/deit, README of DeiT III",
}

# Classes of a head, where it is not for ImageNet-1k: 21,843 of ImageNet-21k, or none, since the head of the original
# ImageNet-21k files is unusable and timm left it out
TAG_CLASSES: dict[str, int] = {"augreg_in21k": 21843, "orig_in21k": 0}
# timm's crop, where it is not 0.9 at 224 pixels and 1.0 above
TAG_CROPS: dict[str, float] = {"fb_in22k_ft_in1k": 1.0}

_GOOGLE = "https://storage.googleapis.com/vit_models/"
_FB = "https://dl.fbaipublicfiles.com/deit/"
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/"


class Weights(NamedTuple):
    """A set of published weights.

    tag: timm's name for them.
    original: URL of their authors' file, "" where they are on the hub alone.
    top1: accuracy in per cent on ImageNet-1k's validation set as published (see TOP1_SOURCES), or None.
    hub: whether they are on the Hugging Face hub, at hub_id, or where that is "" at timm/<preset>.<tag>.
    paddleclas: whether PaddleClas converted them, too.
    licence: SPDX identifier, as timm states it.
    """

    tag: str
    original: str
    top1: float | None = None
    hub: bool = True
    paddleclas: bool = False
    licence: str = "apache-2.0"
    hub_id: str = ""


class Preset(NamedTuple):
    """An architecture: a row of FAMILIES, a row of SIZES, patch and image size, its weights with timm's default first,
    and options of its own."""

    family: str
    size: str
    patch: int
    image: int
    weights: tuple[Weights, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})


def _augreg(recipe: str) -> str:
    """Google's URL of an AugReg file: "size-data augmentation decay dropout", then "rate-pixels" if fine-tuned."""
    model, augmentation, decay, dropout, *fine_tuned = recipe.split()
    name = f"augreg/{model}-300ep-lr_0.001-aug_{augmentation}-wd_{decay}-do_{dropout}-sd_{dropout}"
    if fine_tuned:
        rate, pixels = fine_tuned[0].split("-")
        name += f"--imagenet2012-steps_20k-lr_{rate}-res_{pixels}"
    return f"{_GOOGLE}{name}.npz"


# Tags. augreg*: "How to train your ViT?" (arXiv 2106.10270), augreg2 a better fine-tuning of it by timm's author;
# orig: the ViT paper's; sam: arXiv 2106.01548; fb: facebook's DeiT and DeiT III. in21k: ImageNet-21k, ft_in1k:
# fine-tuned on ImageNet-1k. Three of the ViT paper's fine-tuned weights were in timm's first releases and are not on
# the hub.
# fmt: off
PRESETS: dict[str, Preset] = {
    "vit_tiny_patch16_224": Preset("vit", "tiny", 16, 224, (
        Weights("augreg_in21k_ft_in1k", _augreg("Ti_16-i21k none 0.03 0.0 0.03-224"), 75.45),
        Weights("augreg_in21k", _augreg("Ti_16-i21k none 0.03 0.0")),
    )),
    "vit_tiny_patch16_384": Preset("vit", "tiny", 16, 384, (
        Weights("augreg_in21k_ft_in1k", _augreg("Ti_16-i21k none 0.03 0.0 0.03-384"), 78.44),
    )),
    "vit_small_patch32_224": Preset("vit", "small", 32, 224, (
        Weights("augreg_in21k_ft_in1k", _augreg("S_32-i21k light1 0.03 0.0 0.03-224"), 76.01),
        Weights("augreg_in21k", _augreg("S_32-i21k light1 0.03 0.0")),
    )),
    "vit_small_patch32_384": Preset("vit", "small", 32, 384, (
        Weights("augreg_in21k_ft_in1k", _augreg("S_32-i21k light1 0.03 0.0 0.03-384")),
    )),
    "vit_small_patch16_224": Preset("vit", "small", 16, 224, (
        Weights("augreg_in21k_ft_in1k", _augreg("S_16-i21k light1 0.03 0.0 0.03-224"), 81.40),
        Weights("augreg_in1k", _augreg("S_16-i1k medium2 0.1 0.0 0.01-224")),
        Weights("augreg_in21k", _augreg("S_16-i21k light1 0.03 0.0")),
    )),
    "vit_small_patch16_384": Preset("vit", "small", 16, 384, (
        Weights("augreg_in21k_ft_in1k", _augreg("S_16-i21k light1 0.03 0.0 0.03-384"), 83.81),
        Weights("augreg_in1k", _augreg("S_16-i1k medium2 0.1 0.0 0.01-384")),
    )),
    "vit_small_patch16_gap_224": Preset("gap", "small", 16, 224),
    "vit_base_patch32_224": Preset("vit", "base", 32, 224, (
        Weights("augreg_in21k_ft_in1k", _augreg("B_32-i21k medium1 0.03 0.0 0.03-224"), 80.73),
        Weights("augreg_in1k", _augreg("B_32-i1k medium2 0.1 0.1 0.01-224")),
        Weights("augreg_in21k", _augreg("B_32-i21k medium1 0.03 0.0")),
        Weights("orig_in21k", _GOOGLE + "imagenet21k/ViT-B_32.npz"),
        Weights("sam_in1k", _GOOGLE + "sam/ViT-B_32.npz"),
    )),
    "vit_base_patch32_384": Preset("vit", "base", 32, 384, (
        Weights("augreg_in21k_ft_in1k", _augreg("B_32-i21k light1 0.1 0.0 0.03-384"), 83.36),
        Weights("augreg_in1k", _augreg("B_32-i1k medium2 0.1 0.1 0.01-384")),
        Weights("orig_in21k_ft_in1k", _TIMM + "jx_vit_base_p32_384-830016f5.pth", paddleclas=True, hub=False),
    )),
    "vit_base_patch16_224": Preset("vit", "base", 16, 224, (
        Weights("augreg2_in21k_ft_in1k", ""),
        Weights("augreg_in21k_ft_in1k", _augreg("B_16-i21k medium1 0.1 0.0 0.01-224"), 84.53),
        Weights("orig_in21k_ft_in1k", _TIMM + "jx_vit_base_p16_224-80ecf9dd.pth", paddleclas=True),
        Weights("augreg_in1k", _augreg("B_16-i1k strong2 0.1 0.1 0.01-224")),
        Weights("augreg_in21k", _augreg("B_16-i21k medium1 0.1 0.0")),
        Weights("orig_in21k", _GOOGLE + "imagenet21k/ViT-B_16.npz"),
        Weights("sam_in1k", _GOOGLE + "sam/ViT-B_16.npz"),
    )),
    "vit_base_patch16_384": Preset("vit", "base", 16, 384, (
        Weights("augreg_in21k_ft_in1k", _augreg("B_16-i21k medium1 0.1 0.0 0.01-384"), 86.01),
        Weights("orig_in21k_ft_in1k", _TIMM + "jx_vit_base_p16_384-83fb41ba.pth", paddleclas=True),
        Weights("augreg_in1k", _augreg("B_16-i1k strong2 0.1 0.1 0.01-384")),
    )),
    "vit_base_patch16_gap_224": Preset("gap", "base", 16, 224, options={"num_heads": 16}),  # in timm, whose name it is
    "vit_base_patch8_224": Preset("vit", "base", 8, 224, (
        Weights("augreg2_in21k_ft_in1k", ""),
        Weights("augreg_in21k_ft_in1k", _augreg("B_8-i21k medium1 0.1 0.0 0.01-224"), 85.84),
        Weights("augreg_in21k", _augreg("B_8-i21k medium1 0.1 0.0")),
    )),
    "vit_large_patch32_224": Preset("vit", "large", 32, 224, (
        Weights("orig_in21k", _GOOGLE + "imagenet21k/ViT-L_32.npz"),
    )),
    "vit_large_patch32_384": Preset("vit", "large", 32, 384, (
        Weights("orig_in21k_ft_in1k", _TIMM + "jx_vit_large_p32_384-9b920ba8.pth", paddleclas=True),
    )),
    "vit_large_patch16_224": Preset("vit", "large", 16, 224, (
        Weights("augreg_in21k_ft_in1k", _augreg("L_16-i21k medium1 0.1 0.1 0.01-224"), 85.86),
        Weights("augreg_in21k", _augreg("L_16-i21k medium1 0.1 0.1")),
        Weights("orig_in21k", _GOOGLE + "imagenet21k/ViT-L_16.npz"),
        Weights("orig_in21k_ft_in1k", _TIMM + "jx_vit_large_p16_224-4ee7a4dc.pth", paddleclas=True, hub=False),
    )),
    "vit_large_patch16_384": Preset("vit", "large", 16, 384, (
        Weights("augreg_in21k_ft_in1k", _augreg("L_16-i21k medium1 0.1 0.1 0.01-384"), 87.10),
        Weights("orig_in21k_ft_in1k", _TIMM + "jx_vit_large_p16_384-b3be5167.pth", paddleclas=True, hub=False),
    )),
    "vit_huge_patch14_224": Preset("vit", "huge", 14, 224, (
        Weights("orig_in21k", _GOOGLE + "imagenet21k/ViT-H_14.npz"),
    )),
    "vit_huge_patch14_518": Preset("vit", "huge", 14, 518),
    "deit_tiny_patch16_224": Preset("deit", "tiny", 16, 224, (
        Weights("fb_in1k", _FB + "deit_tiny_patch16_224-a1311bcf.pth", 72.2, paddleclas=True),
    )),
    "deit_small_patch16_224": Preset("deit", "small", 16, 224, (
        Weights("fb_in1k", _FB + "deit_small_patch16_224-cd65a155.pth", 79.9, paddleclas=True),
    )),
    "deit_base_patch16_224": Preset("deit", "base", 16, 224, (
        Weights("fb_in1k", _FB + "deit_base_patch16_224-b5f2ef4d.pth", 81.8, paddleclas=True),
    )),
    "deit_base_patch16_384": Preset("deit", "base", 16, 384, (
        Weights("fb_in1k", _FB + "deit_base_patch16_384-8de9b5d1.pth", 82.9, paddleclas=True),
    )),
    "deit_tiny_distilled_patch16_224": Preset("distilled", "tiny", 16, 224, (
        Weights("fb_in1k", _FB + "deit_tiny_distilled_patch16_224-b40b3cf7.pth", 74.5, paddleclas=True),
    )),
    "deit_small_distilled_patch16_224": Preset("distilled", "small", 16, 224, (
        Weights("fb_in1k", _FB + "deit_small_distilled_patch16_224-649709d9.pth", 81.2, paddleclas=True),
    )),
    "deit_base_distilled_patch16_224": Preset("distilled", "base", 16, 224, (
        Weights("fb_in1k", _FB + "deit_base_distilled_patch16_224-df68dfff.pth", 83.4, paddleclas=True),
    )),
    "deit_base_distilled_patch16_384": Preset("distilled", "base", 16, 384, (
        Weights("fb_in1k", _FB + "deit_base_distilled_patch16_384-d0272ac0.pth", 85.2, paddleclas=True),
    )),
    "deit3_small_patch16_224": Preset("deit3", "small", 16, 224, (
        Weights("fb_in1k", _FB + "deit_3_small_224_1k.pth", 81.4, paddleclas=True),
        Weights("fb_in22k_ft_in1k", _FB + "deit_3_small_224_21k.pth"),
    )),
    "deit3_small_patch16_384": Preset("deit3", "small", 16, 384, (
        Weights("fb_in1k", _FB + "deit_3_small_384_1k.pth", paddleclas=True),
        Weights("fb_in22k_ft_in1k", _FB + "deit_3_small_384_21k.pth"),
    )),
    "deit3_medium_patch16_224": Preset("deit3", "medium", 16, 224, (
        Weights("fb_in1k", _FB + "deit_3_medium_224_1k.pth", 83.0, paddleclas=True),
        Weights("fb_in22k_ft_in1k", _FB + "deit_3_medium_224_21k.pth"),
    )),
    "deit3_base_patch16_224": Preset("deit3", "base", 16, 224, (
        Weights("fb_in1k", _FB + "deit_3_base_224_1k.pth", 83.8, paddleclas=True),
        Weights("fb_in22k_ft_in1k", _FB + "deit_3_base_224_21k.pth"),
    )),
    "deit3_base_patch16_384": Preset("deit3", "base", 16, 384, (
        Weights("fb_in1k", _FB + "deit_3_base_384_1k.pth", paddleclas=True),
        Weights("fb_in22k_ft_in1k", _FB + "deit_3_base_384_21k.pth"),
    )),
    "deit3_large_patch16_224": Preset("deit3", "large", 16, 224, (
        Weights("fb_in1k", _FB + "deit_3_large_224_1k.pth", 84.9, paddleclas=True),
        Weights("fb_in22k_ft_in1k", _FB + "deit_3_large_224_21k.pth"),
    )),
    "deit3_large_patch16_384": Preset("deit3", "large", 16, 384, (
        Weights("fb_in1k", _FB + "deit_3_large_384_1k.pth", paddleclas=True),
        Weights("fb_in22k_ft_in1k", _FB + "deit_3_large_384_21k.pth"),
    )),
    "deit3_huge_patch14_224": Preset("deit3", "huge", 14, 224, (
        Weights("fb_in1k", _FB + "deit_3_huge_224_1k.pth", 85.2, paddleclas=True),
        Weights("fb_in22k_ft_in1k", _FB + "deit_3_huge_224_21k_v1.pth"),
    )),
    "vit_small_patch8_224": Preset("vit", "small", 8, 224),
    "vit_tiny_r_s16_p8_224": Preset("r", "tiny", 32, 224, (
        Weights("augreg_in21k_ft_in1k", _augreg("R_Ti_16-i21k none 0.03 0.0 0.03-224")),
        Weights("augreg_in21k", _augreg("R_Ti_16-i21k none 0.03 0.0")),
    )),
    "vit_tiny_r_s16_p8_384": Preset("r", "tiny", 32, 384, (
        Weights("augreg_in21k_ft_in1k", _augreg("R_Ti_16-i21k none 0.03 0.0 0.03-384")),
    )),
    "vit_small_r26_s32_224": Preset("r26", "small", 32, 224, (
        Weights("augreg_in21k_ft_in1k", _augreg("R26_S_32-i21k light0 0.03 0.1 0.03-224")),
        Weights("augreg_in21k", _augreg("R26_S_32-i21k medium2 0.03 0.0")),
    )),
    "vit_small_r26_s32_384": Preset("r26", "small", 32, 384, (
        Weights("augreg_in21k_ft_in1k", _augreg("R26_S_32-i21k medium2 0.03 0.0 0.03-384")),
    )),
    "vit_base_r50_s16_224": Preset("r50_s16", "base", 16, 224, (
        Weights("orig_in21k", ""),
    )),
    "vit_base_r50_s16_384": Preset("r50_s16", "base", 16, 384, (
        Weights("orig_in21k_ft_in1k", _TIMM + "jx_vit_base_resnet50_384-9fd3c705.pth"),
    )),
    "vit_large_r50_s32_224": Preset("r50", "large", 32, 224, (
        Weights("augreg_in21k_ft_in1k", _augreg("R50_L_32-i21k medium1 0.1 0.1 0.01-224")),
        Weights("augreg_in21k", _augreg("R50_L_32-i21k medium2 0.1 0.0")),
    )),
    "vit_large_r50_s32_384": Preset("r50", "large", 32, 384, (
        Weights("augreg_in21k_ft_in1k", _augreg("R50_L_32-i21k medium2 0.1 0.0 0.01-384")),
    )),
    "vit_small_patch14_dinov2": Preset("dinov2", "small", 14, 518),
    "vit_base_patch14_dinov2": Preset("dinov2", "base", 14, 518),
    "vit_large_patch14_dinov2": Preset("dinov2", "large", 14, 518),
    "vit_giant_patch14_dinov2": Preset("dinov2", "giant", 14, 518),
    "vit_small_patch14_reg4_dinov2": Preset("dinov2_reg", "small", 14, 518),
    "vit_base_patch14_reg4_dinov2": Preset("dinov2_reg", "base", 14, 518),
    "vit_large_patch14_reg4_dinov2": Preset("dinov2_reg", "large", 14, 518),
    "vit_giant_patch14_reg4_dinov2": Preset("dinov2_reg", "giant", 14, 518),
    "vit_small_patch16_dinov3": Preset("dinov3_no_bias", "small", 16, 256),
    "vit_small_plus_patch16_dinov3": Preset("dinov3_no_bias", "small_plus", 16, 256),
    "vit_base_patch16_dinov3": Preset("dinov3_no_bias", "base", 16, 256),
    "vit_large_patch16_dinov3": Preset("dinov3_no_bias", "large", 16, 256),
    "vit_huge_plus_patch16_dinov3": Preset("dinov3_no_bias", "huge_plus", 16, 256),
    "vit_small_patch16_dinov3_qkvb": Preset("dinov3", "small", 16, 256),
    "vit_small_plus_patch16_dinov3_qkvb": Preset("dinov3", "small_plus", 16, 256),
    "vit_base_patch16_dinov3_qkvb": Preset("dinov3", "base", 16, 256),
    "vit_large_patch16_dinov3_qkvb": Preset("dinov3", "large", 16, 256),
    "vit_huge_plus_patch16_dinov3_qkvb": Preset("dinov3", "huge_plus", 16, 256),
    "vit_base_patch32_clip_224": Preset("clip", "base", 32, 224),
    "vit_base_patch16_clip_224": Preset("clip", "base", 16, 224),
    "vit_large_patch14_clip_224": Preset("clip", "large", 14, 224),
    "vit_large_patch14_clip_336": Preset("clip", "large", 14, 336),
    "vit_base_patch32_clip_quickgelu_224": Preset("clip_b", "base", 32, 224),
    "vit_base_patch16_clip_quickgelu_224": Preset("clip_b", "base", 16, 224),
    "vit_large_patch14_clip_quickgelu_224": Preset("clip_l", "large", 14, 224),
    "vit_large_patch14_clip_quickgelu_336": Preset("clip_l", "large", 14, 336),
    "vit_base_patch32_siglip_256": Preset("siglip_tanh", "base", 32, 256),
    "vit_base_patch16_siglip_224": Preset("siglip", "base", 16, 224),
    "vit_base_patch16_siglip_256": Preset("siglip", "base", 16, 256),
    "vit_base_patch16_siglip_384": Preset("siglip", "base", 16, 384),
    "vit_base_patch16_siglip_512": Preset("siglip", "base", 16, 512),
    "vit_large_patch16_siglip_256": Preset("siglip", "large", 16, 256),
    "vit_large_patch16_siglip_384": Preset("siglip", "large", 16, 384),
    "vit_large_patch16_siglip_512": Preset("siglip_tanh", "large", 16, 512),
    "vit_so400m_patch14_siglip_224": Preset("siglip", "so400m", 14, 224),
    "vit_so400m_patch14_siglip_378": Preset("siglip", "so400m", 14, 378),
    "vit_so400m_patch16_siglip_256": Preset("siglip_tanh", "so400m", 16, 256),
    "vit_so400m_patch16_siglip_384": Preset("siglip_tanh", "so400m", 16, 384),
    "vit_so400m_patch16_siglip_512": Preset("siglip_tanh", "so400m", 16, 512),
    "vit_giantopt_patch16_siglip_256": Preset("siglip_tanh", "giantopt", 16, 256),
    "vit_giantopt_patch16_siglip_384": Preset("siglip_tanh", "giantopt", 16, 384),
}
# fmt: on

for (_name, _tag), _row in FAMILY_WEIGHTS.items():
    _weights = Weights(_tag, _row.original_url, licence=_row.licence, hub_id=_row.hub_id)
    PRESETS[_name] = PRESETS[_name]._replace(weights=(*PRESETS[_name].weights, _weights))
