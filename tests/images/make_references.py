"""Writes data/: what timm, torchvision and Hugging Face transformers make of two images.

Needs torch, torchvision, timm, transformers and scikit-learn, which the tests do not: `python make_references.py`.
Each reference is the image before normalising (8-bit PNG) and a row in references.json: the image, the part of
it that is the input, and the `Preprocess` fields that must reproduce it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import sklearn.datasets
import timm
import torch
import torchvision
import transformers
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import functional as F

DATA = Path(__file__).parent / "data"
PHOTOS = Path(sklearn.datasets.__file__).parent / "images"
WHOLE = (0, 0, 640, 427)

# name: (image, (left, top, right, bottom), size, timm's crop_pct, crop_mode, interpolation)
TIMM = {
    "timm_vit_224_landscape": ("china.jpg", WHOLE, 224, 0.9, "center", "bicubic"),
    "timm_portrait": ("flower.jpg", (150, 0, 391, 427), 96, 0.9, "center", "bicubic"),
    "timm_square_full_crop": ("china.jpg", (100, 0, 527, 427), 80, 1.0, "center", "bicubic"),
    "timm_odd_bilinear": ("china.jpg", (101, 33, 434, 284), 97, 0.875, "center", "bilinear"),
    "timm_odd_portrait": ("flower.jpg", (201, 33, 424, 384), 65, 0.95, "center", "bicubic"),
    "timm_wide_target": ("china.jpg", WHOLE, (96, 160), 0.9, "center", "bicubic"),
    "timm_tall_target": ("flower.jpg", WHOLE, (160, 64), 0.9, "center", "bicubic"),
    "timm_odd_target": ("flower.jpg", (150, 0, 391, 427), (101, 37), 0.875, "center", "bilinear"),
    "timm_wide_target_portrait": ("china.jpg", (300, 3, 421, 426), (48, 99), 0.9, "center", "bicubic"),
    "timm_very_wide": ("china.jpg", (0, 200, 640, 207), 48, 0.9, "center", "bicubic"),
    "timm_very_tall": ("flower.jpg", (300, 0, 305, 427), 48, 0.9, "center", "bicubic"),
    "timm_very_wide_tall_target": ("china.jpg", (0, 200, 640, 211), (64, 32), 0.9, "center", "bicubic"),
    "timm_upscaled": ("flower.jpg", (300, 150, 331, 195), 112, 0.9, "center", "bicubic"),
    "timm_upscaled_target": ("china.jpg", (300, 150, 345, 181), (64, 112), 0.9, "center", "bilinear"),
    "timm_one_pixel": ("flower.jpg", (300, 150, 301, 151), 16, 0.9, "center", "bicubic"),
    "timm_squash": ("china.jpg", WHOLE, 64, 0.9, "squash", "bicubic"),
    "timm_squash_target": ("flower.jpg", (150, 0, 391, 427), (64, 97), 0.9, "squash", "bilinear"),
    "timm_border": ("china.jpg", WHOLE, 80, 1.0, "border", "bicubic"),
    "timm_border_target": ("flower.jpg", (150, 0, 391, 427), (65, 112), 0.9, "border", "bicubic"),
    "timm_border_very_wide": ("china.jpg", (0, 200, 640, 231), 49, 0.9, "border", "bilinear"),
    "timm_nearest": ("china.jpg", WHOLE, 48, 0.9, "center", "nearest"),
    "timm_lanczos": ("flower.jpg", WHOLE, 64, 0.9, "center", "lanczos"),
    "timm_box": ("flower.jpg", WHOLE, 48, 0.9, "center", "box"),
    "timm_hamming": ("china.jpg", WHOLE, 48, 0.9, "center", "hamming"),
}
# name: (image, part, what torchvision's presets resize the short side to); the crop is 224
TORCHVISION = {
    "torchvision_vit_b_16": ("flower.jpg", WHOLE, 256),
    "torchvision_vit_l_16": ("china.jpg", (250, 20, 491, 401), 242),
}
# name: (image, part, processor, Preprocess fields)
_DEIT = {"resize": "squash", "crop_fraction": 224 / 256}
_VIT = {"resize": "squash", "crop_fraction": 1.0, "interpolation": "bilinear"}
HF = {
    "hf_vit": ("china.jpg", WHOLE, transformers.ViTImageProcessor, _VIT),
    "hf_vit_pillow": ("flower.jpg", (150, 0, 391, 427), transformers.ViTImageProcessorPil, _VIT),
    "hf_deit": ("china.jpg", WHOLE, transformers.DeiTImageProcessor, _DEIT),
    "hf_deit_pillow": ("flower.jpg", (150, 0, 391, 427), transformers.DeiTImageProcessorPil, _DEIT),
}
RULES = {"center": "short", "squash": "squash", "border": "border"}


def part_of(name: str, part: tuple[int, int, int, int], mode: str = "RGB") -> Image.Image:
    return Image.open(PHOTOS / name).crop(part).convert(mode)


def timm_transform(size, crop_pct, crop_mode, interpolation, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), **options):
    channels_first = (len(mean), *((size, size) if isinstance(size, int) else size))
    return create_transform(
        channels_first,
        interpolation=interpolation,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        mean=mean,
        std=std,
        **options,
    )


def hf_image(processor_class, image: Image.Image) -> np.ndarray:
    pixels = processor_class()(image, do_rescale=False, do_normalize=False, return_tensors="pt").pixel_values[0]
    return np.rint(np.asarray(pixels, np.float64)).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def main() -> None:
    DATA.mkdir(exist_ok=True)
    rows = {}

    def write(name, source, part, image, **fields):
        Image.fromarray(image).save(DATA / f"{name}.png", optimize=True)
        rows[name] = {"image": source, "part": part, "preprocess": fields}

    for name, (source, part, size, crop_pct, crop_mode, interpolation) in TIMM.items():
        transform = timm_transform(size, crop_pct, crop_mode, interpolation, normalize=False)
        image = transform(part_of(source, part)).numpy().transpose(1, 2, 0)
        rule = RULES[crop_mode]
        fields = {"size": size, "crop_fraction": crop_pct, "resize": rule, "interpolation": interpolation}
        write(name, source, part, image, **fields)
    for name, (source, part, short) in TORCHVISION.items():
        image = F.resize(part_of(source, part), short, F.InterpolationMode.BILINEAR)
        image = np.asarray(F.center_crop(image, 224))
        write(name, source, part, image, size=224, crop_fraction=224 / short, interpolation="bilinear")
    for name, (source, part, processor, fields) in HF.items():
        write(name, source, part, hf_image(processor, part_of(source, part)), size=224, **fields)
    grey = timm_transform(64, 0.9, "center", "bicubic", (0.5,), (0.5,), normalize=False)
    image = grey(part_of("flower.jpg", WHOLE, "L")).numpy()[0]
    write("timm_grey", "flower.jpg", WHOLE, image, size=64, mean=[0.5], std=[0.5])

    mean, std = timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    normalized = timm_transform(24, 0.9, "center", "bicubic", mean, std)(part_of("china.jpg", WHOLE))
    np.save(DATA / "timm_normalized_24.npy", normalized.numpy())

    libraries = {library.__name__: library.__version__ for library in (torch, torchvision, timm, transformers)}
    text = json.dumps({"made_with": libraries, "references": rows}, indent=1)
    (DATA / "references.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
