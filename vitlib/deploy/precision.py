"""How far a faster precision is from float32, and which one to take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .engines import Engine
from .verify import deviation

LARGEST_DEVIATION = 1e-2  # of the largest logit, up to which "auto" keeps the faster precision
COMPARED = 16  # images


@dataclass(frozen=True)
class Comparison:
    """Outputs of an engine beside those of float32, on the same images.

    deviation: the largest difference, as a share of the largest output.
    agreement: share of the images with the same first class, in [0, 1]; None without logits.
    num_images: how many were compared.
    """

    deviation: float
    agreement: float | None
    num_images: int

    def __str__(self) -> str:
        classes = "" if self.agreement is None else f", the first class agrees on {self.agreement:.1%}"
        return f"differs from float32 by {self.deviation:.2%} of the largest output{classes} ({self.num_images} images)"


def run_in_batches(engine: Engine, images: np.ndarray, size: int = 8) -> dict[str, np.ndarray]:
    """The outputs for many images, without the memory that one batch of them would take."""
    found = [engine.run(images[start : start + size]) for start in range(0, len(images), size)]
    return {name: np.concatenate([outputs[name] for outputs in found]) for name in found[0]}


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> Comparison:
    """Outputs beside those of float32, by the logits or else the first output."""
    name = "logits" if "logits" in expected else next(iter(expected))
    agreement = None
    if name == "logits":
        agreement = float((found[name].argmax(-1) == expected[name].argmax(-1)).mean())
    return Comparison(deviation(found[name], expected[name]), agreement, len(expected[name]))
