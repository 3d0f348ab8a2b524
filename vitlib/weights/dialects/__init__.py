"""The codebases whose checkpoints are opened, one file each.

A dialect is a table of names beside vitlib's, used for loading and for saving, with the codebase's layout, numerics,
preprocessing and config files.
"""

from __future__ import annotations

from collections.abc import Container

from .big_vision import BIG_VISION
from .clip import HUGGINGFACE_CLIP, OPEN_CLIP, OPEN_CLIP_TOWER, OPENAI, OPENAI_TOWER
from .dialect import Dialect, Rows, SourceConfig
from .dinov2 import DINO, DINOV2, DINOV2_REGISTERS, HUGGINGFACE_DINOV2, MAE
from .dinov3 import DINOV3, DINOV3_MASKED, HUGGINGFACE_DINOV3
from .facebook import FACEBOOK
from .google import GOOGLE, GOOGLE_HYBRID, GOOGLE_ROOT
from .huggingface import HUGGINGFACE, HUGGINGFACE_MAE, HUGGINGFACE_V5
from .mmpretrain import MMPRETRAIN
from .paddleclas import PADDLECLAS
from .paddlevit import PADDLEVIT, PADDLEVIT_DEIT, PADDLEVIT_FIRST, PASSL
from .siglip import HUGGINGFACE_SIGLIP
from .timm import TIMM, TIMM_DINOV3, TIMM_DINOV3_GATED, TIMM_EVA
from .torchvision import TORCHVISION, TORCHVISION_OLD

__all__ = [
    "CODEBASES",
    "DIALECTS",
    "FACEBOOK",
    "GOOGLE",
    "GOOGLE_HYBRID",
    "GOOGLE_ROOT",
    "HUGGINGFACE",
    "NAMES",
    "PADDLECLAS",
    "SIGNATURES",
    "TIMM",
    "TORCHVISION",
    "Dialect",
    "Rows",
    "SourceConfig",
    "codebase_table",
    "recognise",
]

# In the order of looking: names of the later ones may also be in files of the earlier ones.
DIALECTS: tuple[Dialect, ...] = (
    *HUGGINGFACE_DINOV2,
    HUGGINGFACE,
    HUGGINGFACE_V5,
    HUGGINGFACE_MAE,
    *HUGGINGFACE_DINOV3,
    HUGGINGFACE_CLIP,
    HUGGINGFACE_SIGLIP,
    OPENAI,
    OPEN_CLIP,
    OPENAI_TOWER,
    OPEN_CLIP_TOWER,
    MMPRETRAIN,
    TORCHVISION,
    TORCHVISION_OLD,
    GOOGLE_HYBRID,
    GOOGLE_ROOT,
    GOOGLE,
    BIG_VISION,
    PADDLEVIT,
    PADDLEVIT_FIRST,
    PADDLEVIT_DEIT,
    PASSL,
    FACEBOOK,
    DINOV3_MASKED,
    DINOV3,
    DINOV2_REGISTERS,
    DINOV2,
    DINO,
    MAE,
    PADDLECLAS,
    TIMM_DINOV3_GATED,
    TIMM_DINOV3,
    TIMM_EVA,
    TIMM,
)
# name: (whose files, models, files). In the order of README.
CODEBASES: dict[str, tuple[str, str, str]] = {
    "timm": (
        "timm, transformers' TimmWrapper, open_clip's towers of timm",
        "ViT, hybrids, DeiT, DeiT III, DINO, DINOv2, DINOv3, MAE, CLIP, SigLIP, EVA",
        "`.safetensors`, `.pth`, `.bin`, a directory",
    ),
    "huggingface": (
        "Hugging Face transformers",
        "ViT, DeiT, MAE, DINOv2, DINOv3, CLIP, SigLIP",
        "a directory, one file, or an index of shards",
    ),
    "facebook": ("facebook's DeiT III", "DeiT III", "`.pth`"),
    "dino": ("facebook's DINO", "DINO", "`.pth`"),
    "dinov2": ("facebook's DINOv2", "DINOv2, with registers or not", "`.pth`"),
    "dinov3": ("facebook's DINOv3", "DINOv3", "`.pth`"),
    "mae": ("facebook's MAE", "MAE", "`.pth`"),
    "openai": ("OpenAI's CLIP", "the image tower of the whole model", "`.pt`"),
    "open_clip": ("open_clip", "the image tower of the whole model", "`.pt`, `.bin`, `.safetensors`"),
    "google": ("Google's vit_jax", "ViT, hybrids", "`.npz`"),
    "big_vision": ("Google's big_vision", "ViT, SigLIP", "`.npz`"),
    "torchvision": ("torchvision", "ViT", "`.pth`"),
    "mmpretrain": ("OpenMMLab's mmpretrain", "ViT, DeiT", "`.pth`"),
    "paddleclas": ("PaddleClas, ppim", "ViT, DeiT", "`.pdparams`"),
    "paddlevit": ("PaddleViT, its three generations", "ViT, DeiT", "`.pdparams`"),
    "passl": ("PASSL", "ViT", "`.pdparams`"),
}
NAMES: tuple[str, ...] = tuple(dict.fromkeys(dialect.name for dialect in DIALECTS))
# One name of each, by which a file is searched for a model under a prefix
SIGNATURES: tuple[str, ...] = tuple(dict.fromkeys(dialect.signature[0] for dialect in DIALECTS if dialect.signature))


def codebase_table() -> str:
    """The codebases, their models and files as a table (Markdown), for the guide on weights."""
    rows = [f'| {whose} | {models} | {files} | `"{name}"` |' for name, (whose, models, files) in CODEBASES.items()]
    return "\n".join(["| from | models | files | names |", "|---|---|---|---|", *rows])


def recognise(names: Container[str], format: str, wanted: str = "auto") -> Dialect | None:
    """The dialect of a file with these tensor names, or None; `wanted` narrows the choice to one dialect's name.

    format: of the file; timm's names in a .pdparams are PaddleClas's.
    """
    for dialect in DIALECTS:
        if wanted not in ("auto", dialect.name):
            continue
        if wanted == "auto" and dialect.formats and format not in dialect.formats:
            continue
        signatures = dialect.signatures if wanted == "auto" else (*dialect.signatures, *dialect.named_signatures)
        if any(first in names and all(name in names for name in others) for first, *others in signatures):
            return dialect
    return None
