"""The folders of one data set, train/, validation/ and test/: batches to train on, and evaluation on the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from PIL import Image

from ..images import ImageFolder, Mixup, Preprocess, load_batches
from ..images.checks import check_count
from .evaluate import Evaluation, evaluate
from .parallel import average_batch_norm
from .sampler import EpochSampler


class ImageData:
    """`root`/train/CLASS/*.jpg and the same in other parts, each an `ImageFolder`, opened and compared at once.

    Args:
        root: the folder that holds the parts.
        parts: those to evaluate on, beside train/.
        batch_size: per process.
        seed, repeats: of the order of training, see `EpochSampler`.
        num_workers: processes that read images.
        on_unreadable: "skip" or "raise", see `ImageFolder`.

    `classes` are those of train/, and `sampler` is its order. Give the transforms by `prepare`, when there is a model,
    before the first batch. Under `paddle.distributed` every process makes one and reads its share.

    Raises, for any of the parts, what `ImageFolder` raises: FileNotFoundError for a missing one, ValueError for a class
    without images and for other classes than those of train/. Raises ValueError for less images than a batch.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        parts: Iterable[str] = ("validation",),
        *,
        batch_size: int,
        seed: int = 0,
        repeats: int = 1,
        num_workers: int = 0,
        on_unreadable: str = "skip",
    ) -> None:
        root = Path(root)
        self.train = ImageFolder(root / "train", seed=seed, on_unreadable=on_unreadable)
        self.classes = self.train.classes
        self.parts = {
            part: ImageFolder(root / part, classes=self.classes, on_unreadable=on_unreadable) for part in parts
        }
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.mixup: Mixup | None = None
        self._share = {"rank": paddle.distributed.get_rank(), "world_size": paddle.distributed.get_world_size()}
        self.sampler = EpochSampler(len(self.train), batch_size, seed=seed, repeats=repeats, **self._share)
        self._prepared = False

    def prepare(
        self,
        transform: Callable[[Image.Image, np.random.Generator], np.ndarray],
        preprocess: Preprocess,
        mixup: Mixup | None = None,
    ) -> None:
        """Set the transforms of training images (a `TrainTransform`, say) and of the others, and the Mixup of `mix`."""
        self.train.transform = transform
        self.mixup = mixup
        for folder in self.parts.values():
            folder.preprocess = preprocess
        self._prepared = True

    def steps_per_epoch(self, accumulate: int = 1) -> int:
        """Optimizer steps in an epoch. Raises ValueError for accumulate < 1, or less batches than that."""
        steps = len(self.sampler) // check_count("accumulate", accumulate, 1)
        if not steps:
            raise ValueError(
                f"an epoch has {len(self.sampler)} batches, too few to accumulate {accumulate} for one step; take a "
                "smaller batch_size, or accumulate less"
            )
        return steps

    def batches(self) -> Iterator[Any]:
        """The rest of the present epoch of `sampler`, as `load_batches` gives it."""
        self._check_prepared()
        return load_batches(self.train, self.sampler, num_workers=self.num_workers)

    @property
    def batch_number(self) -> int:
        """Of the batch that is trained on, counted from 0 over the whole run."""
        return self.sampler.epoch * len(self.sampler) + self.sampler.batch

    def mix(self, images: paddle.Tensor, labels: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The present batch, [B, C, H, W] and [B], mixed by the `Mixup` of `prepare`: (images, targets
        [B, num_classes]); unchanged without one. The draws depend on the seed and `batch_number` alone."""
        if self.mixup is None:
            return images, labels
        rng = np.random.default_rng([self.seed, self.batch_number, 1])  # the same in every process
        mixed, targets = self.mixup(images.numpy(), labels.numpy(), rng)
        return paddle.to_tensor(mixed), paddle.to_tensor(targets)

    def evaluate(self, model: nn.Layer, part: str = "validation") -> Evaluation:
        """`vitlib.training.evaluate` on all images of a part. Raises KeyError for one that was not opened."""
        self._check_prepared()
        average_batch_norm(model)
        folder = self.parts[part]
        order = EpochSampler(len(folder), self.batch_size, shuffle=False, drop_last=False, **self._share)
        return evaluate(model, load_batches(folder, order, num_workers=self.num_workers), len(folder))

    def _check_prepared(self) -> None:
        if not self._prepared:
            raise RuntimeError("the images have no transforms yet; call prepare(transform, model.preprocess) first")
