"""Random erasing (arXiv 1708.04896) of normalised images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .checks import check_count, check_name, check_number, check_range


@dataclass(frozen=True)
class RandomErasing:
    """With probability `prob`, fills random rectangles of an image. Equals timm's `RandomErasing`.

    Args:
        prob: of an image to be erased at all.
        area: (lowest, highest) part of the image, in [0, 1]; with a count above 1, of all rectangles together.
        aspect: lowest height / width, from 1e-6 to 1; the highest is its inverse. Drawn log-uniformly.
        mode: how a rectangle is filled: "pixel": noise, normal with mean 0 and deviation 1; "rand": one such number per
            channel; "const": 0, which is the mean colour.
        count: most rectangles in an image; their number is uniform from 1 to this.

    A rectangle as high or as wide as the image is drawn again, up to ten times. Raises ValueError for values that
    cannot work.
    """

    prob: float = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    aspect: float = 0.3
    mode: str = "pixel"
    count: int = 1

    def __post_init__(self) -> None:
        check_number("prob", self.prob, "[0, 1]")
        check_range("area", self.area, "[0, 1]")
        check_number("aspect", self.aspect, "[1e-6, 1]")
        check_name("mode", self.mode, ("pixel", "rand", "const"))
        check_count("count", self.count, 1)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Erases in `image`, [C, H, W] float, itself and returns it."""
        if rng.random() > self.prob:
            return image
        channels, height, width = image.shape
        log_aspect = math.log(self.aspect)
        count = 1 if self.count == 1 else int(rng.integers(1, self.count + 1))
        for _ in range(count):
            for _ in range(10):
                area = rng.uniform(*self.area) * (height * width) / count
                aspect = math.exp(rng.uniform(log_aspect, -log_aspect))
                rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
                if rows < height and columns < width:
                    top = int(rng.integers(0, height - rows + 1))
                    left = int(rng.integers(0, width - columns + 1))
                    image[:, top : top + rows, left : left + columns] = self._filling((channels, rows, columns), rng)
                    break
        return image

    def _filling(self, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray | float:
        if self.mode == "const":
            return 0.0
        return rng.standard_normal(shape if self.mode == "pixel" else (shape[0], 1, 1), np.float32)
