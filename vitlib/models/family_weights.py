"""Published weights of self-supervised and language-image models, one row each, as timm's registry has them."""

from __future__ import annotations

from dataclasses import dataclass

from ..images import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess

_FILES = "https://dl.fbaipublicfiles.com/"
_PIXELS: dict[str, Preprocess] = {
    "imagenet": Preprocess(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "clip": Preprocess(mean=CLIP_MEAN, std=CLIP_STD),
    "half": Preprocess(),
    "satellite": Preprocess(mean=(0.43, 0.411, 0.296), std=(0.213, 0.156, 0.143)),
}
_SQUASHED = {
    ("vit_large_patch14_clip_336", "laion2b_ft_in12k_in1k"),
    ("vit_large_patch14_clip_336", "openai_ft_in12k_in1k"),
    ("vit_large_patch14_clip_336", "laion2b_ft_in1k"),
    ("vit_so400m_patch14_siglip_378", "webli_ft_in1k"),
}


@dataclass(frozen=True)
class TaggedWeights:
    """num_classes: of the head, or the width of the projected embedding. preprocess, licence: as timm states them.
    hub_id: the repository on the Hugging Face hub. original_url: the authors' file, "" where there is none."""

    num_classes: int
    preprocess: Preprocess
    licence: str
    hub_id: str
    original_url: str


# preset, tag, classes or width, share of the image kept, mean and deviation, licence. The first tag of a preset is
# timm's default.
# fmt: off
_ROWS: tuple[tuple[str, str, int, float, str, str], ...] = (
    ("vit_small_patch14_dinov2", "lvd142m", 0, 1.0, "imagenet", "apache-2.0"),
    ("vit_base_patch14_dinov2", "lvd142m", 0, 1.0, "imagenet", "apache-2.0"),
    ("vit_large_patch14_dinov2", "lvd142m", 0, 1.0, "imagenet", "apache-2.0"),
    ("vit_giant_patch14_dinov2", "lvd142m", 0, 1.0, "imagenet", "apache-2.0"),
    ("vit_small_patch14_reg4_dinov2", "lvd142m", 0, 1.0, "imagenet", "apache-2.0"),
    ("vit_base_patch14_reg4_dinov2", "lvd142m", 0, 1.0, "imagenet", "apache-2.0"),
    ("vit_large_patch14_reg4_dinov2", "lvd142m", 0, 1.0, "imagenet", "apache-2.0"),
    ("vit_giant_patch14_reg4_dinov2", "lvd142m", 0, 1.0, "imagenet", "apache-2.0"),
    ("vit_small_patch16_dinov3", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_small_plus_patch16_dinov3", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_base_patch16_dinov3", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_large_patch16_dinov3", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_large_patch16_dinov3", "sat493m", 0, 1.0, "satellite", "dinov3-license"),
    ("vit_huge_plus_patch16_dinov3", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_small_patch16_dinov3_qkvb", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_small_patch16_dinov3_qkvb", "eupe_lvd1689m", 0, 1.0, "imagenet", "fair-noncommercial-research-license"),
    ("vit_small_plus_patch16_dinov3_qkvb", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_base_patch16_dinov3_qkvb", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_base_patch16_dinov3_qkvb", "eupe_lvd1689m", 0, 1.0, "imagenet", "fair-noncommercial-research-license"),
    ("vit_large_patch16_dinov3_qkvb", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_large_patch16_dinov3_qkvb", "sat493m", 0, 1.0, "satellite", "dinov3-license"),
    ("vit_huge_plus_patch16_dinov3_qkvb", "lvd1689m", 0, 1.0, "imagenet", "dinov3-license"),
    ("vit_base_patch32_clip_224", "laion2b_ft_in12k_in1k", 1000, 0.9, "clip", "apache-2.0"),
    ("vit_base_patch32_clip_224", "laion2b_ft_in1k", 1000, 0.9, "clip", "apache-2.0"),
    ("vit_base_patch32_clip_224", "openai_ft_in1k", 1000, 0.9, "clip", "apache-2.0"),
    ("vit_base_patch32_clip_224", "laion2b", 512, 0.9, "clip", "apache-2.0"),
    ("vit_base_patch32_clip_224", "laion400m_e32", 512, 0.9, "clip", "mit"),
    ("vit_base_patch32_clip_224", "datacompxl", 512, 1.0, "clip", "apache-2.0"),
    ("vit_base_patch32_clip_224", "metaclip_2pt5b", 512, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_base_patch32_clip_224", "metaclip_400m", 512, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_base_patch32_clip_224", "openai", 512, 0.9, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_224", "laion2b_ft_in12k_in1k", 1000, 0.95, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_224", "openai_ft_in12k_in1k", 1000, 0.95, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_224", "laion2b_ft_in1k", 1000, 1.0, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_224", "openai_ft_in1k", 1000, 0.9, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_224", "laion2b_ft_in12k", 11821, 0.9, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_224", "openai_ft_in12k", 11821, 0.9, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_224", "laion2b", 512, 1.0, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_224", "laion400m_e32", 512, 1.0, "clip", "mit"),
    ("vit_base_patch16_clip_224", "datacompxl", 512, 1.0, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_224", "dfn2b", 512, 1.0, "clip", "apple-ascl"),
    ("vit_base_patch16_clip_224", "metaclip_2pt5b", 512, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_base_patch16_clip_224", "metaclip_400m", 512, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_base_patch16_clip_224", "openai", 512, 0.9, "clip", "apache-2.0"),
    ("vit_large_patch14_clip_224", "laion2b_ft_in12k_in1k", 1000, 1.0, "half", "apache-2.0"),
    ("vit_large_patch14_clip_224", "openai_ft_in12k_in1k", 1000, 1.0, "clip", "apache-2.0"),
    ("vit_large_patch14_clip_224", "laion2b_ft_in1k", 1000, 1.0, "half", "apache-2.0"),
    ("vit_large_patch14_clip_224", "openai_ft_in1k", 1000, 1.0, "clip", "apache-2.0"),
    ("vit_large_patch14_clip_224", "laion2b_ft_in12k", 11821, 1.0, "half", "apache-2.0"),
    ("vit_large_patch14_clip_224", "openai_ft_in12k", 11821, 1.0, "clip", "apache-2.0"),
    ("vit_large_patch14_clip_224", "laion2b", 768, 1.0, "half", "apache-2.0"),
    ("vit_large_patch14_clip_224", "laion400m_e32", 768, 1.0, "clip", "mit"),
    ("vit_large_patch14_clip_224", "datacompxl", 768, 1.0, "clip", "apache-2.0"),
    ("vit_large_patch14_clip_224", "dfn2b_s39b", 768, 1.0, "clip", "apple-ascl"),
    ("vit_large_patch14_clip_224", "dfn2b", 768, 1.0, "clip", "apple-ascl"),
    ("vit_large_patch14_clip_224", "metaclip_2pt5b", 768, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_large_patch14_clip_224", "metaclip_400m", 768, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_large_patch14_clip_224", "openai", 768, 1.0, "clip", "apache-2.0"),
    ("vit_large_patch14_clip_224", "apple_mclip2_dfndr2b", 768, 1.0, "clip", "apple-amlr"),
    ("vit_large_patch14_clip_336", "laion2b_ft_in12k_in1k", 1000, 1.0, "half", "apache-2.0"),
    ("vit_large_patch14_clip_336", "openai_ft_in12k_in1k", 1000, 1.0, "clip", "apache-2.0"),
    ("vit_large_patch14_clip_336", "laion2b_ft_in1k", 1000, 1.0, "half", "apache-2.0"),
    ("vit_large_patch14_clip_336", "openai", 768, 1.0, "clip", "apache-2.0"),
    ("vit_base_patch32_clip_quickgelu_224", "laion400m_e32", 512, 0.9, "clip", "mit"),
    ("vit_base_patch32_clip_quickgelu_224", "metaclip_2pt5b", 512, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_base_patch32_clip_quickgelu_224", "metaclip_400m", 512, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_base_patch32_clip_quickgelu_224", "openai", 512, 0.9, "clip", "apache-2.0"),
    ("vit_base_patch16_clip_quickgelu_224", "metaclip_2pt5b", 512, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_base_patch16_clip_quickgelu_224", "metaclip_400m", 512, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_base_patch16_clip_quickgelu_224", "openai", 512, 0.9, "clip", "apache-2.0"),
    ("vit_large_patch14_clip_quickgelu_224", "dfn2b", 768, 1.0, "clip", "apple-ascl"),
    ("vit_large_patch14_clip_quickgelu_224", "metaclip_2pt5b", 768, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_large_patch14_clip_quickgelu_224", "metaclip_400m", 768, 1.0, "clip", "cc-by-nc-4.0"),
    ("vit_large_patch14_clip_quickgelu_224", "openai", 768, 1.0, "clip", "apache-2.0"),
    ("vit_large_patch14_clip_quickgelu_336", "openai", 768, 1.0, "clip", "apache-2.0"),
    ("vit_base_patch32_siglip_256", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_base_patch16_siglip_224", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_base_patch16_siglip_224", "webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_base_patch16_siglip_256", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_base_patch16_siglip_256", "webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_base_patch16_siglip_256", "webli_i18n", 0, 0.9, "half", "apache-2.0"),
    ("vit_base_patch16_siglip_384", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_base_patch16_siglip_384", "webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_base_patch16_siglip_512", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_base_patch16_siglip_512", "webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_large_patch16_siglip_256", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_large_patch16_siglip_256", "webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_large_patch16_siglip_384", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_large_patch16_siglip_384", "webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_large_patch16_siglip_512", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_so400m_patch14_siglip_224", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_so400m_patch14_siglip_224", "webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_so400m_patch14_siglip_378", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_so400m_patch14_siglip_378", "webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_so400m_patch14_siglip_378", "webli_ft_in1k", 1000, 1.0, "half", "apache-2.0"),
    ("vit_so400m_patch16_siglip_256", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_so400m_patch16_siglip_256", "webli_i18n", 0, 0.9, "half", "apache-2.0"),
    ("vit_so400m_patch16_siglip_384", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_so400m_patch16_siglip_512", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_giantopt_patch16_siglip_256", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_giantopt_patch16_siglip_384", "v2_webli", 0, 0.9, "half", "apache-2.0"),
    ("vit_small_patch16_224", "dino", 0, 0.9, "imagenet", "apache-2.0"),
    ("vit_small_patch8_224", "dino", 0, 0.9, "imagenet", "apache-2.0"),
    ("vit_base_patch16_224", "dino", 0, 0.9, "imagenet", "apache-2.0"),
    ("vit_base_patch16_224", "mae", 0, 0.9, "imagenet", "cc-by-nc-4.0"),
    ("vit_base_patch8_224", "dino", 0, 0.9, "imagenet", "apache-2.0"),
    ("vit_large_patch16_224", "mae", 0, 0.9, "imagenet", "cc-by-nc-4.0"),
    ("vit_huge_patch14_224", "mae", 0, 0.9, "imagenet", "cc-by-nc-4.0"),
)
# fmt: on
# The authors' own files
_AUTHORS: dict[tuple[str, str], str] = {
    ("vit_small_patch14_dinov2", "lvd142m"): "dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
    ("vit_base_patch14_dinov2", "lvd142m"): "dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
    ("vit_large_patch14_dinov2", "lvd142m"): "dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    ("vit_giant_patch14_dinov2", "lvd142m"): "dinov2/dinov2_vitg14/dinov2_vitg14_pretrain.pth",
    ("vit_small_patch14_reg4_dinov2", "lvd142m"): "dinov2/dinov2_vits14/dinov2_vits14_reg4_pretrain.pth",
    ("vit_base_patch14_reg4_dinov2", "lvd142m"): "dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth",
    ("vit_large_patch14_reg4_dinov2", "lvd142m"): "dinov2/dinov2_vitl14/dinov2_vitl14_reg4_pretrain.pth",
    ("vit_giant_patch14_reg4_dinov2", "lvd142m"): "dinov2/dinov2_vitg14/dinov2_vitg14_reg4_pretrain.pth",
    ("vit_small_patch16_224", "dino"): "dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
    ("vit_small_patch8_224", "dino"): "dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth",
    ("vit_base_patch16_224", "dino"): "dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
    ("vit_base_patch16_224", "mae"): "mae/pretrain/mae_pretrain_vit_base.pth",
    ("vit_base_patch8_224", "dino"): "dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth",
    ("vit_large_patch16_224", "mae"): "mae/pretrain/mae_pretrain_vit_large.pth",
    ("vit_huge_patch14_224", "mae"): "mae/pretrain/mae_pretrain_vit_huge.pth",
}


def _tagged(row: tuple[str, str, int, float, str, str]) -> TaggedWeights:
    preset, tag, num_classes, crop, pixels, licence = row
    resize = "squash" if (preset, tag) in _SQUASHED else "short"
    return TaggedWeights(
        num_classes=num_classes,
        preprocess=_PIXELS[pixels].replace(crop_fraction=crop, resize=resize),
        licence=licence,
        hub_id=f"timm/{preset.replace('_quickgelu', '')}.{tag}",  # the activation is no part of the weights
        original_url=_FILES + _AUTHORS[preset, tag] if (preset, tag) in _AUTHORS else "",
    )


FAMILY_WEIGHTS: dict[tuple[str, str], TaggedWeights] = {row[:2]: _tagged(row) for row in _ROWS}
