"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) of batches, and the soft targets that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .checks import check_count, check_name, check_number, check_range

Box: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class Mixup:
    """Mixes image i of a batch of B with image B - 1 - i, by Mixup or by CutMix. Equals timm's `Mixup`.

    Mixup gives lam * image + (1 - lam) * partner; CutMix puts a rectangle of the partner, (1 - lam) of the area,
    into the image. lam is drawn from Beta(alpha, alpha). Targets are lam * target + (1 - lam) * partner's target.

    Args:
        num_classes: C, columns of the targets.
        mixup_alpha: of Mixup's lam; 0 leaves Mixup out.
        cutmix_alpha: of CutMix's lam; 0 leaves CutMix out.
        prob: of mixing at all.
        switch_prob: of CutMix where both are possible.
        mode: "batch": all images share one lam, method and rectangle; "pair": an image and its partner share them;
            "elem": each image has its own.
        label_smoothing: s; a target is 1 - s + s / C in its class, s / C elsewhere.
        cutmix_minmax: (lowest, highest) rectangle side as a part of the image's, in [0, 1]; drawn uniformly instead
            of from lam. Turns CutMix on.
        correct_lam: lam of CutMix is the part that the image really keeps, since a rectangle is cut off at the edges.

    In a batch of odd size the middle image is its own partner: "batch" leaves it as it is, up to rounding, and so
    does "elem"; "pair" refuses such batches. Raises ValueError for values that cannot work.
    """

    num_classes: int
    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    prob: float = 1.0
    switch_prob: float = 0.5
    mode: str = "batch"
    label_smoothing: float = 0.1
    cutmix_minmax: tuple[float, float] | None = None
    correct_lam: bool = True

    def __post_init__(self) -> None:
        check_count("num_classes", self.num_classes, 1)
        for name in ("mixup_alpha", "cutmix_alpha"):
            check_number(name, getattr(self, name), "[0, inf)")
        for name in ("prob", "switch_prob", "label_smoothing"):
            check_number(name, getattr(self, name), "[0, 1]")
        check_name("mode", self.mode, ("batch", "pair", "elem"))
        if self.cutmix_minmax is not None:
            check_range("cutmix_minmax", self.cutmix_minmax, "[0, 1]")
        elif not self.mixup_alpha and not self.cutmix_alpha:
            raise ValueError("mixup_alpha and cutmix_alpha are both 0: nothing would be mixed; leave Mixup out instead")

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images [B, C, H, W] float32 and labels [B] of whole numbers -> (images, targets [B, num_classes] float32).

        Labels may also be [B, num_classes], 0 and 1, of images with several; they are mixed and not smoothed.

        The images are mixed in place, without a second batch in memory, and returned. Raises ValueError for other
        shapes and types, labels outside 0..num_classes - 1, and an odd B in mode "pair".
        """
        self._check(images, labels)
        batch, _, height, width = images.shape
        lams, boxes = self._draw(batch, height, width, rng)
        original = np.empty_like(images[0])
        for i in range(batch // 2):  # an image and its partner at a time stay in the cache
            j = batch - 1 - i
            original[...] = images[i]
            _mix(images[i], images[j], lams[i], boxes[i])
            _mix(images[j], original, lams[j], boxes[j])
        # One lam for all is a Python float: its complement is then taken in double precision, as in timm.
        lam = lams[0] if self.mode == "batch" else np.array(lams, np.float32)[:, None]
        targets = self._targets(labels)
        return images, targets * lam + targets[::-1] * (1.0 - lam)

    def _draw(
        self, batch: int, height: int, width: int, rng: np.random.Generator
    ) -> tuple[list[float | np.float32], list[Box | None]]:
        """lam and, for CutMix, the rectangle of each image; drawn in timm's order."""
        one_for_all = self.mode == "batch"
        count = 1 if one_for_all else batch // 2 if self.mode == "pair" else batch
        lams, cuts = self._draw_batch(rng) if one_for_all else self._draw_each(count, rng)
        boxes: list[Box | None] = [None] * count
        for i in range(count):
            if cuts[i] and lams[i] != 1:
                boxes[i], lams[i] = self._draw_box(height, width, lams[i], rng)
        if one_for_all:
            return lams * batch, boxes * batch
        return (lams + lams[::-1], boxes + boxes[::-1]) if self.mode == "pair" else (lams, boxes)

    def _draw_batch(self, rng: np.random.Generator) -> tuple[list[float], list[bool]]:
        if rng.random() >= self.prob:
            return [1.0], [False]
        mixup, cutmix = self.mixup_alpha > 0, self._cutmix_alpha > 0
        cut = rng.random() < self.switch_prob if mixup and cutmix else cutmix
        alpha = self._cutmix_alpha if cut else self.mixup_alpha
        return [float(rng.beta(alpha, alpha))], [bool(cut)]

    def _draw_each(self, count: int, rng: np.random.Generator) -> tuple[list[np.float32], list[bool]]:
        mixup, cutmix = self.mixup_alpha > 0, self._cutmix_alpha > 0
        cuts = rng.random(count) < self.switch_prob if mixup and cutmix else np.full(count, cutmix)
        lams = np.empty(count)
        if cutmix:
            lams = rng.beta(self._cutmix_alpha, self._cutmix_alpha, count)
        if mixup:
            lams = np.where(cuts, lams, rng.beta(self.mixup_alpha, self.mixup_alpha, count))
        lams = np.where(rng.random(count) < self.prob, lams, 1.0)
        return list(lams.astype(np.float32)), cuts.tolist()

    @property
    def _cutmix_alpha(self) -> float:
        return self.cutmix_alpha if self.cutmix_minmax is None else 1.0

    def _draw_box(
        self, height: int, width: int, lam: float | np.float32, rng: np.random.Generator
    ) -> tuple[Box, float | np.float32]:
        """The rectangle (top, bottom, left, right) and the lam that the targets take."""
        if self.cutmix_minmax is None:
            side = np.sqrt(1 - lam)
            rows, columns = int(height * side), int(width * side)
            y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
            top, bottom = max(0, y - rows // 2), min(height, y + (rows + 1) // 2)
            left, right = max(0, x - columns // 2), min(width, x + (columns + 1) // 2)
        else:
            low, high = self.cutmix_minmax
            rows = int(rng.integers(int(height * low), max(int(height * high), int(height * low) + 1)))
            columns = int(rng.integers(int(width * low), max(int(width * high), int(width * low) + 1)))
            top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
            bottom, right = top + rows, left + columns
        if self.correct_lam or self.cutmix_minmax is not None:
            kept = 1.0 - (bottom - top) * (right - left) / (height * width)
            lam = type(lam)(kept)
        return (top, bottom, left, right), lam

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        """[B] -> [B, num_classes] float32, smoothed, not mixed."""
        if labels.ndim == 2:
            return labels.astype(np.float32)
        low = self.label_smoothing / self.num_classes
        targets = np.full((len(labels), self.num_classes), low, np.float32)
        targets[np.arange(len(labels)), labels] = 1.0 - self.label_smoothing + low
        return targets

    def _check(self, images: np.ndarray, labels: np.ndarray) -> None:
        if not isinstance(images, np.ndarray) or images.ndim != 4 or images.dtype != np.float32 or 0 in images.shape:
            raise ValueError(f"images: {_described(images)}; expected a float32 array [B, C, H, W]")
        shapes = (images.shape[:1], (len(images), self.num_classes))
        if not isinstance(labels, np.ndarray) or labels.shape not in shapes or labels.dtype.kind not in "iu":
            raise ValueError(f"labels: {_described(labels)}; expected whole numbers [B], B = {len(images)}")
        if not images.flags.writeable:
            raise ValueError("images: the array is read-only, and they are mixed in place; give images.copy()")
        if labels.min() < 0 or labels.max() >= (self.num_classes if labels.ndim == 1 else 2):
            raise ValueError(
                f"labels: from {labels.min()} to {labels.max()}; expected 0 to {self.num_classes - 1} "
                f"for num_classes={self.num_classes}"
            )
        if self.mode == "pair" and len(images) % 2:
            raise ValueError(
                f'images: a batch of {len(images)}; mode="pair" mixes two and two, so drop an image '
                '(drop_last=True in a data loader), or use mode="batch" or "elem"'
            )


def _described(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else f"found {type(value).__name__}"


def _mix(image: np.ndarray, partner: np.ndarray, lam: float | np.float32, box: Box | None) -> None:
    """image <- lam * image + (1 - lam) * partner, or the rectangle of the partner into it."""
    if box is not None:
        top, bottom, left, right = box
        image[:, top:bottom, left:right] = partner[:, top:bottom, left:right]
    elif lam != 1:
        image *= lam
        image += partner * (1 - lam)
