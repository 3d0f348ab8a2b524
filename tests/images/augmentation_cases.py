"""What the augmentation references were made from, for the script that makes them and the tests that read them."""

from __future__ import annotations

import numpy as np

PHOTO, PART = "china.jpg", (140, 70, 174, 94)
LEVELS = (0.0, 3.0, 6.5, 9.0, 10.0)
TRANSFORMS = {
    "deit": {
        "size": 24,
        "auto_augment": "rand-m9-mstd0.5-inc1",
        "interpolation": "bicubic",
        "erasing": 0.9,
        "erasing_mode": "pixel",
    },
    "deit3": {"size": 24, "auto_augment": "3a", "color_jitter": 0.3, "interpolation": "bicubic"},
    "jitter": {
        "size": (16, 32),
        "color_jitter": (0.4, 0.4, 0.4, 0.2),
        "vflip": 0.5,
        "erasing": 0.9,
        "erasing_mode": "rand",
        "erasing_count": 3,
    },
    "weights": {"size": 24, "auto_augment": "rand-tweights-n4-p0.9-mstd1", "color_jitter": None, "scale": (0.5, 1.0)},
    "uniform": {"size": 24, "auto_augment": "rand-n3-p0.8-mstd101-mmax15-m12", "color_jitter": 0.4},
    "three": {"size": 24, "auto_augment": "rand-t3a-n2-p1-m5", "color_jitter": 0.2, "ratio": (0.5, 2.0)},
}
MIXUPS = {
    "batch": {},
    "pair": {"mode": "pair"},
    "elem": {"mode": "elem", "prob": 0.7},
    "minmax": {"cutmix_minmax": (0.2, 0.8), "mode": "elem"},
    "uncorrected": {"mixup_alpha": 0.0, "correct_lam": False, "label_smoothing": 0.0},
}


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Six small images and their labels of five classes."""
    rng = np.random.default_rng(7)
    return rng.standard_normal((6, 1, 8, 11), np.float32), np.array([0, 1, 2, 3, 4, 0])
