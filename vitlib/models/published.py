"""Published weights of the presets, one row each: where they are, and what they were trained and evaluated with."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass

from ..images import Preprocess
from .family_weights import FAMILY_WEIGHTS
from .presets import ARCHITECTURES, get_config, split_name

_GOOGLE = "https://storage.googleapis.com/vit_models/"
_FB = "https://dl.fbaipublicfiles.com/deit/"
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/"
_PADDLECLAS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/"

_FILES = "https://dl.fbaipublicfiles.com/"
# Whose names the files of an author have, and how they resample positions
_AUTHORS = {
    f"{_FILES}dino/": ("dino", "dino"),
    f"{_FILES}dinov2/": ("dinov2", "dino"),
    f"{_FILES}mae/": ("mae", "deit"),
}

# What the hub's repositories of timm hold, the preferred one first
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")

# Where the top-1 of a family was published
_TOP1_SOURCES = {
    "vit": "timm's results table for ImageNet-1k",
    "deit": "facebookresearch/deit, README of DeiT",
    "deit3": "facebookresearch/deit, README of DeiT III",
}


def _augreg(recipe: str) -> str:
    """Where Google keeps an AugReg file: "size-data augmentation decay dropout", then "rate-pixels" if fine-tuned."""
    model, augmentation, decay, dropout, *fine_tuned = recipe.split()
    name = f"augreg/{model}-300ep-lr_0.001-aug_{augmentation}-wd_{decay}-do_{dropout}-sd_{dropout}"
    if fine_tuned:
        rate, pixels = fine_tuned[0].split("-")
        name += f"--imagenet2012-steps_20k-lr_{rate}-res_{pixels}"
    return f"{_GOOGLE}{name}.npz"


# Tags. augreg*: "How to train your ViT?" (arXiv 2106.10270), augreg2 a better fine-tuning of it by timm's author;
# orig: the ViT paper's; sam: arXiv 2106.01548; fb: facebook's DeiT and DeiT III. in21k: ImageNet-21k, ft_in1k:
# fine-tuned on ImageNet-1k. The head of the original ImageNet-21k files is unusable and timm left it out: 0 classes.
#
# PaddleClas converted the ViT paper's fine-tuned weights and DeiT's. Three of the former (B/32-384, L/16 at both sizes)
# were in timm's first releases, too, and are not on the hub.
#
# Top-1: per cent on ImageNet-1k's validation set, as published at the named place; None where no figure is at hand.
#
# preset, tag, original file, whether PaddleClas has it too, top-1
_Row = tuple[str, str, str, bool, float | None]
# fmt: off
_ROWS: tuple[_Row, ...] = (
    ("vit_tiny_patch16_224", "augreg_in21k_ft_in1k", _augreg("Ti_16-i21k none 0.03 0.0 0.03-224"), False, 75.45),
    ("vit_tiny_patch16_224", "augreg_in21k", _augreg("Ti_16-i21k none 0.03 0.0"), False, None),
    ("vit_tiny_patch16_384", "augreg_in21k_ft_in1k", _augreg("Ti_16-i21k none 0.03 0.0 0.03-384"), False, 78.44),
    ("vit_small_patch32_224", "augreg_in21k_ft_in1k", _augreg("S_32-i21k light1 0.03 0.0 0.03-224"), False, 76.01),
    ("vit_small_patch32_224", "augreg_in21k", _augreg("S_32-i21k light1 0.03 0.0"), False, None),
    ("vit_small_patch32_384", "augreg_in21k_ft_in1k", _augreg("S_32-i21k light1 0.03 0.0 0.03-384"), False, None),
    ("vit_small_patch16_224", "augreg_in21k_ft_in1k", _augreg("S_16-i21k light1 0.03 0.0 0.03-224"), False, 81.40),
    ("vit_small_patch16_224", "augreg_in1k", _augreg("S_16-i1k medium2 0.1 0.0 0.01-224"), False, None),
    ("vit_small_patch16_224", "augreg_in21k", _augreg("S_16-i21k light1 0.03 0.0"), False, None),
    ("vit_small_patch16_384", "augreg_in21k_ft_in1k", _augreg("S_16-i21k light1 0.03 0.0 0.03-384"), False, 83.81),
    ("vit_small_patch16_384", "augreg_in1k", _augreg("S_16-i1k medium2 0.1 0.0 0.01-384"), False, None),
    ("vit_base_patch32_224", "augreg_in21k_ft_in1k", _augreg("B_32-i21k medium1 0.03 0.0 0.03-224"), False, 80.73),
    ("vit_base_patch32_224", "augreg_in1k", _augreg("B_32-i1k medium2 0.1 0.1 0.01-224"), False, None),
    ("vit_base_patch32_224", "augreg_in21k", _augreg("B_32-i21k medium1 0.03 0.0"), False, None),
    ("vit_base_patch32_224", "orig_in21k", _GOOGLE + "imagenet21k/ViT-B_32.npz", False, None),
    ("vit_base_patch32_224", "sam_in1k", _GOOGLE + "sam/ViT-B_32.npz", False, None),
    ("vit_base_patch32_384", "augreg_in21k_ft_in1k", _augreg("B_32-i21k light1 0.1 0.0 0.03-384"), False, 83.36),
    ("vit_base_patch32_384", "augreg_in1k", _augreg("B_32-i1k medium2 0.1 0.1 0.01-384"), False, None),
    ("vit_base_patch32_384", "orig_in21k_ft_in1k", _TIMM + "jx_vit_base_p32_384-830016f5.pth", True, None),
    ("vit_base_patch16_224", "augreg2_in21k_ft_in1k", "", False, None),
    ("vit_base_patch16_224", "augreg_in21k_ft_in1k", _augreg("B_16-i21k medium1 0.1 0.0 0.01-224"), False, 84.53),
    ("vit_base_patch16_224", "orig_in21k_ft_in1k", _TIMM + "jx_vit_base_p16_224-80ecf9dd.pth", True, None),
    ("vit_base_patch16_224", "augreg_in1k", _augreg("B_16-i1k strong2 0.1 0.1 0.01-224"), False, None),
    ("vit_base_patch16_224", "augreg_in21k", _augreg("B_16-i21k medium1 0.1 0.0"), False, None),
    ("vit_base_patch16_224", "orig_in21k", _GOOGLE + "imagenet21k/ViT-B_16.npz", False, None),
    ("vit_base_patch16_224", "sam_in1k", _GOOGLE + "sam/ViT-B_16.npz", False, None),
    ("vit_base_patch16_384", "augreg_in21k_ft_in1k", _augreg("B_16-i21k medium1 0.1 0.0 0.01-384"), False, 86.01),
    ("vit_base_patch16_384", "orig_in21k_ft_in1k", _TIMM + "jx_vit_base_p16_384-83fb41ba.pth", True, None),
    ("vit_base_patch16_384", "augreg_in1k", _augreg("B_16-i1k strong2 0.1 0.1 0.01-384"), False, None),
    ("vit_base_patch8_224", "augreg2_in21k_ft_in1k", "", False, None),
    ("vit_base_patch8_224", "augreg_in21k_ft_in1k", _augreg("B_8-i21k medium1 0.1 0.0 0.01-224"), False, 85.84),
    ("vit_base_patch8_224", "augreg_in21k", _augreg("B_8-i21k medium1 0.1 0.0"), False, None),
    ("vit_large_patch32_224", "orig_in21k", _GOOGLE + "imagenet21k/ViT-L_32.npz", False, None),
    ("vit_large_patch32_384", "orig_in21k_ft_in1k", _TIMM + "jx_vit_large_p32_384-9b920ba8.pth", True, None),
    ("vit_large_patch16_224", "augreg_in21k_ft_in1k", _augreg("L_16-i21k medium1 0.1 0.1 0.01-224"), False, 85.86),
    ("vit_large_patch16_224", "orig_in21k_ft_in1k", _TIMM + "jx_vit_large_p16_224-4ee7a4dc.pth", True, None),
    ("vit_large_patch16_224", "orig_in21k", _GOOGLE + "imagenet21k/ViT-L_16.npz", False, None),
    ("vit_large_patch16_224", "augreg_in21k", _augreg("L_16-i21k medium1 0.1 0.1"), False, None),
    ("vit_large_patch16_384", "augreg_in21k_ft_in1k", _augreg("L_16-i21k medium1 0.1 0.1 0.01-384"), False, 87.10),
    ("vit_large_patch16_384", "orig_in21k_ft_in1k", _TIMM + "jx_vit_large_p16_384-b3be5167.pth", True, None),
    ("vit_huge_patch14_224", "orig_in21k", _GOOGLE + "imagenet21k/ViT-H_14.npz", False, None),
    ("deit_tiny_patch16_224", "fb_in1k", _FB + "deit_tiny_patch16_224-a1311bcf.pth", True, 72.2),
    ("deit_small_patch16_224", "fb_in1k", _FB + "deit_small_patch16_224-cd65a155.pth", True, 79.9),
    ("deit_base_patch16_224", "fb_in1k", _FB + "deit_base_patch16_224-b5f2ef4d.pth", True, 81.8),
    ("deit_base_patch16_384", "fb_in1k", _FB + "deit_base_patch16_384-8de9b5d1.pth", True, 82.9),
    ("deit_tiny_distilled_patch16_224", "fb_in1k", _FB + "deit_tiny_distilled_patch16_224-b40b3cf7.pth", True, 74.5),
    ("deit_small_distilled_patch16_224", "fb_in1k", _FB + "deit_small_distilled_patch16_224-649709d9.pth", True, 81.2),
    ("deit_base_distilled_patch16_224", "fb_in1k", _FB + "deit_base_distilled_patch16_224-df68dfff.pth", True, 83.4),
    ("deit_base_distilled_patch16_384", "fb_in1k", _FB + "deit_base_distilled_patch16_384-d0272ac0.pth", True, 85.2),
    ("deit3_small_patch16_224", "fb_in1k", _FB + "deit_3_small_224_1k.pth", False, 81.4),
    ("deit3_small_patch16_224", "fb_in22k_ft_in1k", _FB + "deit_3_small_224_21k.pth", False, None),
    ("deit3_small_patch16_384", "fb_in1k", _FB + "deit_3_small_384_1k.pth", False, None),
    ("deit3_small_patch16_384", "fb_in22k_ft_in1k", _FB + "deit_3_small_384_21k.pth", False, None),
    ("deit3_medium_patch16_224", "fb_in1k", _FB + "deit_3_medium_224_1k.pth", False, 83.0),
    ("deit3_medium_patch16_224", "fb_in22k_ft_in1k", _FB + "deit_3_medium_224_21k.pth", False, None),
    ("deit3_base_patch16_224", "fb_in1k", _FB + "deit_3_base_224_1k.pth", False, 83.8),
    ("deit3_base_patch16_224", "fb_in22k_ft_in1k", _FB + "deit_3_base_224_21k.pth", False, None),
    ("deit3_base_patch16_384", "fb_in1k", _FB + "deit_3_base_384_1k.pth", False, None),
    ("deit3_base_patch16_384", "fb_in22k_ft_in1k", _FB + "deit_3_base_384_21k.pth", False, None),
    ("deit3_large_patch16_224", "fb_in1k", _FB + "deit_3_large_224_1k.pth", False, 84.9),
    ("deit3_large_patch16_224", "fb_in22k_ft_in1k", _FB + "deit_3_large_224_21k.pth", False, None),
    ("deit3_large_patch16_384", "fb_in1k", _FB + "deit_3_large_384_1k.pth", False, None),
    ("deit3_large_patch16_384", "fb_in22k_ft_in1k", _FB + "deit_3_large_384_21k.pth", False, None),
    ("deit3_huge_patch14_224", "fb_in1k", _FB + "deit_3_huge_224_1k.pth", False, 85.2),
    ("deit3_huge_patch14_224", "fb_in22k_ft_in1k", _FB + "deit_3_huge_224_21k_v1.pth", False, None),
)
# fmt: on
_ALL_ROWS: tuple[_Row, ...] = (
    *_ROWS,
    *((preset, tag, weights.original_url, False, None) for (preset, tag), weights in FAMILY_WEIGHTS.items()),
)
_NOT_ON_HUB = {
    ("vit_base_patch32_384", "orig_in21k_ft_in1k"),
    ("vit_large_patch16_224", "orig_in21k_ft_in1k"),
    ("vit_large_patch16_384", "orig_in21k_ft_in1k"),
}


@dataclass(frozen=True)
class Source:
    """One place that has a set of published weights, and how its publisher uses them there.

    location: "org/repo" on the Hugging Face hub, or an https URL of one file.
    dialect: whose names the file's weights have, such as "timm", "paddleclas", "facebook" or "google".
    preprocess, position_resize: how this publisher evaluates them and resamples their position table. The weights are
    the same in all places: what they do on `Published.preprocess` does not depend on where they came from.
    """

    location: str
    dialect: str
    preprocess: Preprocess
    position_resize: str

    @property
    def on_hub(self) -> bool:
        return not self.location.startswith("https://")


@dataclass(frozen=True)
class Published:
    """A set of weights that was published for a preset.

    preset, tag: their names here and in timm.
    hub_id, files: the repository on the Hugging Face hub ("" if it has none) and the weight files to look for in it,
    the preferred one first.
    paddleclas_url, original_url: the same weights from PaddleClas and from their authors ("" if there are none there).
    num_classes: of the head; 1000 (ImageNet-1k), 21843 (ImageNet-21k), or 0 (no head).
    preprocess: timm's record for them; its size is None, which stands for the model's.
    position_resize: how timm resamples their position table.
    dialect: whose names the weights have at the preferred source.
    licence: SPDX identifier, as timm states it.
    top1: published accuracy on ImageNet-1k's validation set in per cent, or None; top1_source: where, or "".
    """

    preset: str
    tag: str
    hub_id: str
    files: tuple[str, ...]
    paddleclas_url: str
    original_url: str
    num_classes: int
    preprocess: Preprocess
    position_resize: str
    dialect: str
    licence: str
    top1: float | None
    top1_source: str

    @property
    def name(self) -> str:
        return f"{self.preset}.{self.tag}"

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every place that has these weights, the preferred one first."""
        timm = Source(self.hub_id, "timm", self.preprocess, "timm")
        found = [timm] if self.hub_id else []
        if self.original_url:
            found.append(_original(self.original_url, self.preprocess))
        if self.paddleclas_url:
            found.append(Source(self.paddleclas_url, "paddleclas", _paddleclas(self), "timm"))
        return tuple(found)


def _original(url: str, preprocess: Preprocess) -> Source:
    if url.startswith(_GOOGLE):  # vit_jax
        squash = preprocess.replace(resize="squash", crop_fraction=1.0, interpolation="bilinear")
        return Source(url, "google", squash, "google")
    for start, (dialect, method) in _AUTHORS.items():
        if url.startswith(start):
            method = "dinov2_registers" if "_reg4_" in url else method
            return Source(url, dialect, preprocess.replace(crop_fraction=224 / 256), method)
    if url.startswith(_FB):
        return Source(url, "facebook", preprocess.replace(crop_fraction=0.875), "deit")
    return Source(url, "timm", preprocess, "timm")


def _paddleclas(row: Published) -> Preprocess:
    """As PaddleClas's configs (ppcls/configs/ImageNet) evaluate: 256 -> 224; ViT 384 -> 384, DeiT 438 -> 384."""
    if row.preset.startswith("deit"):
        return row.preprocess.replace(crop_fraction=0.875)
    # There OpenCV's bilinear resize, which does not antialias: Preprocess, which does, comes near but not equal
    return row.preprocess.replace(
        crop_fraction=1.0 if row.preset.endswith("384") else 224 / 256, interpolation="bilinear"
    )


def published(name: str) -> Published:
    """The weights called "preset.tag", or those that timm takes for "preset"; the papers' names lead to presets.

    Raises ValueError for a preset that does not exist or has no published weights, and for an unknown tag; the message
    names what there is instead.
    """
    stem, _, tag = name.partition(".")
    preset, implied = split_name(stem)
    tag = tag or implied
    rows = {row[1]: row for row in _ALL_ROWS if row[0] == preset}
    if not rows:
        raise ValueError(
            f"nobody has published weights for the preset {preset}. Presets of that kind with weights: "
            f"{', '.join(_alternatives(preset))}. To train this one from scratch, build it with "
            f'create_model("{preset}"); weights of your own load with pretrained="path/to/file"'
        )
    if tag and tag not in rows:
        raise ValueError(f"the preset {preset} has no published weights tagged {tag!r}; it has {', '.join(rows)}")
    return _published(*rows[tag or next(iter(rows))])


def list_published(pattern: str = "*") -> list[str]:
    """Names "preset.tag" of all published weights that match a shell pattern; of a preset, timm's default first."""
    return fnmatch.filter([f"{row[0]}.{row[1]}" for row in _ALL_ROWS], pattern)


def _published(preset: str, tag: str, original_url: str, in_paddleclas: bool, top1: float | None) -> Published:
    config, weights = get_config(f"{preset}.{tag}"), FAMILY_WEIGHTS.get((preset, tag))
    hub_id = "" if (preset, tag) in _NOT_ON_HUB else weights.hub_id if weights else f"timm/{preset}.{tag}"
    family, _, rest = preset.partition("_")
    paddleclas = {"vit": "ViT", "deit": "DeiT"}.get(family, "")
    return Published(
        preset=preset,
        tag=tag,
        hub_id=hub_id,
        files=_HUB_FILES if hub_id else (),
        paddleclas_url=f"{_PADDLECLAS}{paddleclas}_{rest}_pretrained.pdparams" if in_paddleclas else "",
        original_url=original_url,
        num_classes=config.num_classes,
        preprocess=config.preprocess,
        position_resize="timm",
        dialect="timm",
        licence=weights.licence if weights else "apache-2.0",
        top1=top1,
        top1_source="" if top1 is None else _TOP1_SOURCES[family],
    )


def _alternatives(preset: str) -> list[str]:
    """Presets of the same family and size, or, failing those, of the same family, that have weights; nearest first."""
    have = list(dict.fromkeys(row[0] for row in _ALL_ROWS))
    kin = [name for name in have if ARCHITECTURES[name][1] == ARCHITECTURES[preset][1]] or have
    return difflib.get_close_matches(preset, kin, n=3, cutoff=0.0)
