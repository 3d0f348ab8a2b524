"""A folder of images, one subfolder per class -> numbered, augmented samples and the batches made of them."""

from __future__ import annotations

import copy
import gc
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from .checks import check_count
from .decode import decode
from .errors import ImageError
from .generator import as_generator
from .preprocess import Preprocess

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's


class Sample(NamedTuple):
    """One image of an `ImageFolder`; `image` is None, and `reason` a sentence, when it could not be read."""

    image: Any
    label: int
    index: int
    reason: str = ""


# Images, labels, indices, unreadable: see `collate`; arrays there, tensors from a loader.
Batch: TypeAlias = tuple[Any, Any, Any, list[str]]


class ImageFolder:
    """The images under `root`/class/, at any depth, as a map-style dataset for `paddle.io.DataLoader`.

    Args:
        root: the folder. Files and folders whose names begin with a dot are passed over; files of other kinds than
            `IMAGE_ENDINGS` in the subfolders are passed over and listed in `.ignored`.
        transform: for training, called as transform(image, rng) with a Pillow image (RGB) and a
            `numpy.random.Generator`; gives an array [C, H, W] float32.
        preprocess: for evaluation, instead of `transform`: a `Preprocess`. With neither, samples hold Pillow images.
        seed: of the generators. That of `dataset[index, draw]` is `numpy.random.default_rng([seed, draw])`, so its
            augmentation depends on (seed, draw) alone, however many workers or processes there are.
        on_unreadable: for files that cannot be read as an image: "skip" gives a `Sample` without image, which
            `collate` takes out of the batch and names there; "raise" raises ImageError.
        classes: the classes in the order of the labels, such as those of the training set; default: the names of the
            subfolders, sorted.

    Attributes: `classes`, a list of names; `samples`, a list of (path, label), sorted by class and path; `labels`,
    an int64 array [len]; `ignored`, a list of paths.

    `dataset[index, draw]` gives a `Sample`, and `EpochSampler` makes such keys. `dataset[index]` is augmented anew each
    time, in every worker and epoch, by a generator that is seeded from NumPy's global random state.

    Raises FileNotFoundError or NotADirectoryError for a bad `root`, and OSError for a folder in it that cannot be
    listed; ValueError when the folder has no subfolders, a subfolder has no images, images lie beside the
    subfolders (their class would be unknown), or the subfolders are not the given `classes`; ValueError or TypeError
    for the other arguments.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Image.Image, np.random.Generator], np.ndarray] | None = None,
        *,
        preprocess: Preprocess | None = None,
        seed: int = 0,
        on_unreadable: str = "skip",
        classes: Sequence[str] | None = None,
    ) -> None:
        if transform is not None and preprocess is not None:
            raise ValueError("found both transform and preprocess; expected the first for training, the second else")
        if isinstance(transform, Preprocess):
            raise TypeError("transform is a Preprocess, which takes no random generator; give it as preprocess=")
        if preprocess is not None:
            _check_preprocess(preprocess)
        if on_unreadable not in ("skip", "raise"):
            raise ValueError(f'on_unreadable={on_unreadable!r}: expected "skip" or "raise"')
        self.root = os.fspath(root)
        self.transform = transform
        self.preprocess = preprocess
        self.seed = check_count("seed", seed)
        self.on_unreadable = on_unreadable
        found = _class_folders(self.root)
        self.classes = found if classes is None else _check_classes(self.root, found, list(classes))
        self.samples: list[tuple[str, int]] = []
        self.ignored: list[str] = []
        for label, name in enumerate(self.classes):
            images, others = _files(os.path.join(self.root, name))
            if not images:
                hint = (
                    f"; it holds {len(others)} other files, such as {os.path.basename(others[0])!r}" if others else ""
                )
                raise ValueError(
                    f"class {name!r} has no images: no file below {os.path.join(self.root, name)!r} ends in one of "
                    f"{', '.join(IMAGE_ENDINGS)}{hint}; add some or remove the folder"
                )
            self.samples += [(path, label) for path in images]
            self.ignored += others
        self.labels = np.array([label for _, label in self.samples], np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        index, draw = key if isinstance(key, tuple) else (key, None)
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of a folder with {len(self)} images")
        index %= len(self)
        path, label = self.samples[index]
        try:
            image = decode(path, "L" if self.preprocess is not None and self.preprocess.in_chans == 1 else "RGB")
        except (ImageError, FileNotFoundError) as error:
            reason = str(error) if isinstance(error, ImageError) else f"{path!r}: the file has disappeared"
            if self.on_unreadable == "raise":
                raise ImageError(reason) from error
            return Sample(None, label, index, reason)
        if self.preprocess is not None:
            return Sample(self.preprocess.array(image), label, index)
        if self.transform is not None:
            rng = as_generator(None) if draw is None else np.random.default_rng([self.seed, operator.index(draw)])
            return Sample(self.transform(image, rng), label, index)
        return Sample(image, label, index)


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples -> (images [B, C, H, W] float32, labels [B] int64, indices [B] int64, unreadable).

    The `collate_fn` for `paddle.io.DataLoader`, which makes tensors of the arrays and a list of the four. B counts the
    readable samples only; `unreadable` has a sentence, which begins with the path, for each of the others. When nothing
    could be read, images and labels are None (and indices those of the unreadable): `if images is None: continue`.

    Raises ValueError for Pillow images, and when images are of different shapes, naming two of them.
    """
    readable = [sample for sample in samples if sample.image is not None]
    unreadable = [sample.reason for sample in samples if sample.image is None]
    if not readable:
        # Paddle's loader takes a batch without arrays for the end of the epoch, and fails at one of empty arrays
        return None, None, np.array([sample.index for sample in samples], np.int64), unreadable
    if isinstance(readable[0].image, Image.Image):
        raise ValueError(
            f"sample {readable[0].index} is a Pillow image; expected an array [C, H, W]: give the ImageFolder a "
            "transform or preprocess"
        )
    shape = np.shape(readable[0].image)
    for sample in readable:
        if np.shape(sample.image) != shape:
            raise ValueError(
                f"sample {sample.index} has the shape {list(np.shape(sample.image))} and sample {readable[0].index} "
                f"{list(shape)}; a batch needs one shape: give a transform or preprocess with a fixed size"
            )
    images = np.stack([np.asarray(sample.image, np.float32) for sample in readable])
    labels = np.array([sample.label for sample in readable], np.int64)
    return images, labels, np.array([sample.index for sample in readable], np.int64), unreadable


def load_batches(dataset: ImageFolder, sampler: Iterable[list[Any]], *, num_workers: int = 0) -> Iterator[Batch]:
    """The batches of `collate` for each list of keys of `sampler`, such as an `EpochSampler`, with tensors for arrays.

    With workers this is `paddle.io.DataLoader`. Without, the images are read in the calling thread: Paddle's loader
    reads them in another, whose exceptions leave the caller waiting for ever (3.0.0 to 3.3.1).

    Raises ImageError for an unreadable image when the dataset says on_unreadable="raise". Exceptions of a transform
    come as they are without workers; with them Paddle writes them to stderr and raises SystemError.
    """
    quiet = copy.copy(dataset)  # Paddle makes an exception of a worker a SystemError about its queue
    quiet.on_unreadable = "skip"
    for images, labels, indices, unreadable in _load(quiet, sampler, num_workers):
        if unreadable and dataset.on_unreadable == "raise":
            raise ImageError(unreadable[0])
        yield images, labels, indices, unreadable


def _load(dataset: ImageFolder, sampler: Iterable[list[Any]], num_workers: int) -> Iterator[Batch]:
    import paddle  # here, so that reading folders does without it

    if num_workers:
        # A worker forks, and where it happens to collect what is left of an earlier loader, whose threads it does not
        # have, it waits for them for ever (Paddle 3.0)
        gc.collect()
        yield from paddle.io.DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=num_workers)
        return
    for keys in sampler:
        images, labels, indices, unreadable = collate([dataset[key] for key in keys])
        if images is not None:
            images, labels = paddle.to_tensor(images), paddle.to_tensor(labels)
        yield images, labels, paddle.to_tensor(indices), unreadable


def _check_preprocess(preprocess: Any) -> None:
    if not isinstance(preprocess, Preprocess):
        raise TypeError(f"preprocess is a {type(preprocess).__name__}; expected a Preprocess such as model.preprocess")
    if preprocess.size is None:
        raise ValueError("the preprocess has no size; use preprocess.replace(size=224) or model.preprocess")
    if preprocess.in_chans not in (1, 3):
        raise ValueError(f"the preprocess is for {preprocess.in_chans} channels, and image files have 1 or 3")


def _class_folders(root: str) -> list[str]:
    if not os.path.exists(root):
        raise FileNotFoundError(f"{root!r} does not exist; expected a folder with one subfolder of images per class")
    if not os.path.isdir(root):
        raise NotADirectoryError(f"{root!r} is a file; expected a folder with one subfolder of images per class")
    with os.scandir(root) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    folders = sorted(entry.name for entry in visible if entry.is_dir())
    loose = sorted(entry.name for entry in visible if entry.name.lower().endswith(IMAGE_ENDINGS) and not entry.is_dir())
    if loose:
        raise ValueError(
            f"{len(loose)} images, such as {loose[0]!r}, lie directly in {root!r}, where they belong to no class; "
            f"move them into a subfolder named after their class, such as {os.path.join(root, 'cat')!r}"
        )
    if not folders:
        raise ValueError(f"{root!r} has no subfolders; expected one subfolder of images per class")
    return folders


def _check_classes(root: str, found: list[str], classes: list[str]) -> list[str]:
    repeated = sorted({name for name in classes if classes.count(name) > 1})
    if repeated:
        raise ValueError(f"classes names {_names(repeated)} more than once")
    missing = [name for name in classes if name not in set(found)]
    extra = [name for name in found if name not in set(classes)]
    if missing or extra:
        parts = [f"lacks {_names(missing)}"] * bool(missing) + [f"has {_names(extra)} besides"] * bool(extra)
        raise ValueError(
            f"{root!r} {' and '.join(parts)}; expected one subfolder for each of the {len(classes)} given classes"
        )
    return classes


def _names(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _refuse(error: OSError) -> None:
    raise OSError(f"the folder {error.filename!r} cannot be listed ({error}); make it readable, or move it away")


def _files(folder: str) -> tuple[list[str], list[str]]:
    """(images, other files) at any depth, sorted by path; links are followed, and no folder is entered twice."""
    images: list[str] = []
    others: list[str] = []
    entered = set()
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(directory)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                (images if name.lower().endswith(IMAGE_ENDINGS) else others).append(os.path.join(directory, name))
    return sorted(images), sorted(others)
