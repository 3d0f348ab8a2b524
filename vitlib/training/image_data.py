"""The folders of one data set, train/, validation/ and test/: batches to train on, and evaluation on the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from PIL import Image

from ..images import (
    IMAGE_ENDINGS,
    ImageFolder,
    ImageTable,
    LabelTable,
    Mixup,
    Preprocess,
    load_batches,
    read_label_table,
)
from ..images.checks import check_count
from .evaluate import Evaluation, evaluate
from .evaluate_labels import LabelsEvaluation, evaluate_labels
from .parallel import average_batch_norm
from .sampler import EpochSampler

_NAMES = {"validation": ("validation", "val")}


class ImageData:
    """The images of a data set, to train on and to evaluate on, each part an `ImageFolder`.

    Args:
        root: a folder with train/CLASS/*.jpg, validation/CLASS/*.jpg (or val/) and others such as test/; or one with
            CLASS/*.jpg alone, which is taken as train/.
        parts: those to evaluate on.
        batch_size: per process.
        seed, repeats: of the order of training, see `EpochSampler`.
        num_workers: processes that read images.
        on_unreadable: "skip" or "raise", see `ImageFolder`.
        extensions: endings of the files to take, see `ImageFolder`.
        cache: bytes of memory for decoded images, for each part, see `ImageFolder`.
        table: a CSV file of images and their labels, any number each, see `read_label_table`; root is then the folder
            to which its paths are relative.
        validation_share: share of the training images of each class, in (0, 1), that is set apart for validation where
            there is no folder for it: always the same images, whatever the seed. None: 0.1, where it is needed.
        train_share: share of the training images of each class, in (0, 1), that is trained on, drawn by the seed, to
            see how accuracy grows with data. None: all.

    `classes` are those of train/, and `sampler` is its order. `notes` says in sentences what was assumed: a share that
    was set apart, classes of which a part has no images. Give the transforms by `prepare`, when there is a model,
    before the first batch. Under `paddle.distributed` every process makes one and reads its share.

    Raises, for any of the parts, what `ImageFolder` raises: FileNotFoundError for a missing one, ValueError for a class
    of train/ without images and for other classes than those of train/. Raises ValueError for less than two classes,
    less images than a batch, two folders for validation, and a validation_share beside a folder.
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
        extensions: Sequence[str] = IMAGE_ENDINGS,
        cache: int = 0,
        table: str | os.PathLike[str] | None = None,
        validation_share: float | None = None,
        train_share: float | None = None,
    ) -> None:
        root = Path(root)
        self.notes: list[str] = []
        self.has_several_labels = table is not None
        options = {"on_unreadable": on_unreadable, "cache": cache}
        rows = None if table is None else read_label_table(table)
        if rows is None:
            options["extensions"] = extensions
            self.train = ImageFolder(_train_folder(root), seed=seed, **options)
        else:
            self.train = ImageTable(rows, root, None if rows.parts is None else "train", seed=seed, **options)
        self.classes = self.train.classes
        if len(self.classes) < 2:
            raise ValueError(f"{self.train.root!r} has one class, {self.classes[0]!r}; expected two or more")
        self.parts: dict[str, ImageFolder] = {}
        for part in parts:
            if rows is not None:
                self._open_part_of_table(rows, root, part, validation_share, options)
                continue
            folders = [root / name for name in _NAMES.get(part, (part,)) if (root / name).is_dir()]
            if len(folders) > 1:
                raise ValueError(f"{root} has both {folders[0].name}/ and {folders[1].name}/; expected one of them")
            if part == "validation" and not folders:
                self.parts[part] = self._set_apart(0.1 if validation_share is None else validation_share)
                continue
            if part == "validation" and validation_share is not None:
                raise ValueError(f"a validation share was given, and {root} has {folders[0].name}/; leave one out")
            folder = folders[0] if folders else root / part
            self.parts[part] = ImageFolder(folder, classes=self.classes, allow_empty=True, **options)
            absent = [name for label, name in enumerate(self.classes) if label not in self.parts[part].labels]
            if absent:
                self.notes.append(f"{folder.name}/ has no images of {', '.join(map(repr, absent))}")
        if train_share is not None:
            self.train, rest = self.train.split(1 - train_share, seed)  # a class of one image stays
            self.notes.append(f"{len(self.train)} of {len(rest) + len(self.train)} training images are trained on")
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.mixup: Mixup | None = None
        self._prepared = False
        self._share = {"rank": paddle.distributed.get_rank(), "world_size": paddle.distributed.get_world_size()}
        together = check_count("batch_size", batch_size, 1) * self._share["world_size"]
        if len(self.train) < together:
            raise ValueError(
                f"{len(self.train)} training images do not fill a batch of {together}; take smaller batches"
            )
        self.sampler = EpochSampler(len(self.train), batch_size, seed=seed, repeats=repeats, **self._share)

    def _open_part_of_table(
        self, rows: LabelTable, root: Path, part: str, validation_share: float | None, options: dict[str, Any]
    ) -> None:
        if rows.parts is not None and part in rows.parts:
            if part == "validation" and validation_share is not None:
                raise ValueError("a validation share was given, and the table has images for validation; leave one out")
            self.parts[part] = ImageTable(rows, root, part, **options)
        elif part == "validation":
            self.parts[part] = self._set_apart(0.1 if validation_share is None else validation_share)
        else:
            raise ValueError(f"the table has no images of the part {part!r}")

    def _set_apart(self, share: float) -> ImageFolder:
        images = len(self.train)
        self.train, validation = self.train.split(share)
        self.notes.append(
            f"there is no {'part' if self.has_several_labels else 'folder'} for validation, so {len(validation)} of "
            f"{images} training images are set apart for it ({100 * share:g} %"
            f"{'' if self.has_several_labels else ' of each class'}, always the same ones)"
        )
        return validation

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

    @property
    def is_shrunk_by_cache(self) -> bool:
        """Whether training images are made from smaller ones than without a cache, see `TrainTransform.to_cache`."""
        return self.train.cache.limit > 0 and getattr(self.train.transform, "squash", None) is None

    def steps_per_epoch(self, accumulate: int = 1) -> int:
        """Optimizer steps in an epoch. Raises ValueError for accumulate < 1, or less batches than that."""
        steps = len(self.sampler) // check_count("accumulate", accumulate, 1)
        if not steps:
            raise ValueError(
                f"an epoch has {len(self.sampler)} batches, too few to accumulate {accumulate} for one step; take "
                "smaller batches, or accumulate less"
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
        """The present batch, [B, C, H, W] and [B] or [B, C], mixed by the `Mixup` of `prepare`: (images,
        targets [B, num_classes]); unchanged without one. The draws depend on the seed and `batch_number` alone."""
        if self.mixup is None:
            return images, labels
        rng = np.random.default_rng([self.seed, self.batch_number, 1])  # the same in every process
        mixed, targets = self.mixup(images.numpy(), labels.numpy(), rng)
        return paddle.to_tensor(mixed), paddle.to_tensor(targets)

    def evaluate(self, model: nn.Layer, part: str = "validation") -> Evaluation | LabelsEvaluation:
        """`vitlib.training.evaluate`, or with a table `evaluate_labels`, on all images of a part.

        Raises KeyError for a part that was not opened."""
        self._check_prepared()
        average_batch_norm(model)
        folder = self.parts[part]
        order = EpochSampler(len(folder), self.batch_size, shuffle=False, drop_last=False, **self._share)
        batches = load_batches(folder, order, num_workers=self.num_workers)
        if self.has_several_labels:
            return evaluate_labels(model, batches, len(folder), len(self.classes))
        return evaluate(model, batches, len(folder))

    def _check_prepared(self) -> None:
        if not self._prepared:
            raise RuntimeError("the images have no transforms yet; call prepare(transform, model.preprocess) first")


def _train_folder(root: Path) -> Path:
    """A folder with another part and without train/ is an incomplete data set; one without any part has the classes."""
    has_parts = any((root / part).is_dir() for part in ("train", "validation", "val", "test"))
    return root / "train" if has_parts else root
