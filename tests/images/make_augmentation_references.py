"""Writes data/augmentation.npz: what timm's augmentations make of a part of an image.

Needs torch, torchvision, timm and scikit-learn: `PYTHONPATH=. python tests/images/make_augmentation_references.py`.
All randomness comes from a NumPy generator that is drawn from in timm's own order (timm_draws.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
from augmentation_cases import LEVELS, MIXUPS, PART, PHOTO, TRANSFORMS, batch
from PIL import Image, ImageOps
from timm.data import Mixup, auto_augment, create_transform
from timm_draws import drawing_from

TIMM_NAMES = {
    "erasing": "re_prob",
    "erasing_mode": "re_mode",
    "erasing_count": "re_count",
}


def main() -> None:
    posterize = ImageOps.posterize  # since Pillow 13 it raises for 0 bits, which gave black before
    ImageOps.posterize = lambda image, bits: posterize(image, bits) if bits else Image.new(image.mode, image.size)
    image = Image.open(Path(sklearn.datasets.__file__).parent / "images" / PHOTO).crop(PART)
    arrays = {"image": np.asarray(image)}
    for name, function in auto_augment.NAME_TO_OP.items():
        if name in ("TranslateX", "TranslateY", "PosterizeOriginal", "GaussianBlurRand"):
            continue
        to_argument = auto_augment.LEVEL_TO_ARG[name]
        for level in LEVELS if to_argument else LEVELS[:1]:
            for mode, fill in (("RGB", (124, 116, 104)), ("L", 124)):
                with drawing_from(np.random.default_rng(0)):
                    argument = to_argument(level, {}) if to_argument else ()
                    result = function(image.convert(mode), *argument, fillcolor=fill, resample=Image.Resampling.BICUBIC)
                arrays[f"{name}/{level:g}/{mode}"] = np.asarray(result)
    for name, fields in TRANSFORMS.items():
        options = {TIMM_NAMES.get(field, field): value for field, value in fields.items() if field != "size"}
        transform = create_transform(fields["size"], is_training=True, **{"interpolation": "random", **options})
        for seed in range(2):
            with drawing_from(np.random.default_rng(seed)):
                arrays[f"{name}/{seed}"] = transform(image).numpy()
    for name, fields in MIXUPS.items():
        images, labels = batch()
        mixup = Mixup(num_classes=5, **{"mixup_alpha": 0.8, "cutmix_alpha": 1.0, **fields})
        for seed in range(3):
            with drawing_from(np.random.default_rng(seed)):
                mixed, targets = mixup(torch.tensor(images), torch.tensor(labels))
            arrays[f"{name}/{seed}/images"], arrays[f"{name}/{seed}/targets"] = mixed.numpy(), targets.numpy()
    np.savez_compressed(Path(__file__).parent / "data" / "augmentation.npz", **arrays)


if __name__ == "__main__":
    main()
