"""A folder of images, one subfolder per class -> numbered, augmented samples."""

from __future__ import annotations

import copy
import functools
import operator
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .checks import check_count, check_name, check_number
from .class_folders import IMAGE_ENDINGS, check_extensions, class_name, find_class_folders, find_files, passed_over
from .decode import decode
from .errors import ImageError
from .generator import as_generator
from .image_cache import ImageCache
from .preprocess import Preprocess


class Sample(NamedTuple):
    """One image of an `ImageFolder`; `image` is None, and `reason` a sentence, when it could not be read."""

    image: Any
    label: int
    index: int
    reason: str = ""


class ImageFolder:
    """The images under `root`/class/, at any depth, as a map-style dataset for `paddle.io.DataLoader`.

    Args:
        root: the folder. Files and folders whose names begin with a dot are passed over, and so are the folders that
            operating systems leave behind (__MACOSX, @eaDir, ...).
        transform: for training, called as transform(image, rng) with a Pillow image (RGB) and a
            `numpy.random.Generator`; gives an array [C, H, W] float32.
        preprocess: for evaluation, instead of `transform`: a `Preprocess`. With neither, samples hold Pillow images.
        seed: of the generators. That of `dataset[index, draw]` is `numpy.random.default_rng([seed, draw])`, so its
            augmentation depends on (seed, draw) alone, however many workers or processes there are.
        on_unreadable: for files that cannot be read as an image: "skip" gives a `Sample` without image, which
            `collate` takes out of the batch and names there; "raise" raises ImageError.
        classes: the classes in the order of the labels, such as those of the training set; default: the names of the
            subfolders, sorted. Names are compared in Unicode's composed form (NFC).
        extensions: endings of the files to take, in upper or lower case; default: `IMAGE_ENDINGS`. Other files are
            passed over and listed in `.ignored`, with a UserWarning where some of them look like images.
        cache: bytes of memory for decoded images, from which later epochs take them; 0 for none. They are kept as
            `transform.to_cache(image)` gives them, where the transform has that method (as `TrainTransform`), else
            whole; with `preprocess` cropped, for the same results as without. An image takes height · width · 3 bytes
            (1 for grey). Those for which there is no room are decoded each time.
        allow_empty: accept classes without images, and with `classes` those without a subfolder; they keep their label.

    Attributes: `classes`, a list of names; `samples`, a list of (path, label), sorted by class and path; `labels`,
    an int64 array [len]; `ignored`, a list of paths.

    `dataset[index, draw]` gives a `Sample`, and `EpochSampler` makes such keys. `dataset[index]` is augmented anew each
    time, in every worker and epoch, by a generator that is seeded from NumPy's global random state.

    Raises FileNotFoundError or NotADirectoryError for a bad `root`, and OSError for a folder in it that cannot be
    listed; ValueError when the folder has no subfolders or no images, a subfolder has no images, images lie beside the
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
        extensions: Sequence[str] = IMAGE_ENDINGS,
        cache: int = 0,
        allow_empty: bool = False,
    ) -> None:
        if transform is not None and preprocess is not None:
            raise ValueError("found both transform and preprocess; expected the first for training, the second else")
        if isinstance(transform, Preprocess):
            raise TypeError("transform is a Preprocess, which takes no random generator; give it as preprocess=")
        if preprocess is not None:
            _check_preprocess(preprocess)
        self.root = os.fspath(root)
        self.transform = transform
        self.preprocess = preprocess
        self.seed = check_count("seed", seed)
        self.cache = ImageCache(cache)
        self.on_unreadable = check_name("on_unreadable", on_unreadable, ("skip", "raise"))
        endings = check_extensions(extensions)
        folders = find_class_folders(self.root, endings)
        self.classes = list(folders) if classes is None else list(classes)
        if classes is not None:
            _check_classes(self.root, list(folders), self.classes, allow_empty)
        self.samples: list[tuple[str, int]] = []
        self.ignored: list[str] = []
        for label, name in enumerate(self.classes):
            images, others = find_files(folders.get(class_name(name), []), endings)
            if not images and not allow_empty:
                raise ValueError(
                    f"class {name!r} has no images: no file below {os.path.join(self.root, name)!r} ends in one of "
                    f"{', '.join(endings)}{passed_over(others, '; ')}; add some, remove the folder, or keep its label "
                    "with allow_empty"
                )
            self.samples += [(path, label) for path in images]
            self.ignored += others
        if not self.samples:
            raise ValueError(f"{self.root!r} has no images{passed_over(self.ignored, '; ')}")
        self.labels = np.array([label for _, label in self.samples], np.int64)
        if sentence := passed_over(self.ignored, f"{self.root!r}: ", only_images=True):
            warnings.warn(sentence, UserWarning, stacklevel=2)

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
            image = self.cache.image(index, (self.transform, self.preprocess), lambda: self._decoded(path))
        except (ImageError, FileNotFoundError) as error:
            reason = str(error) if isinstance(error, ImageError) else f"{path!r}: the file has disappeared"
            if self.on_unreadable == "raise":
                raise ImageError(reason) from error
            return Sample(None, label, index, reason)
        if self.preprocess is not None:
            return Sample(self.preprocess.normalized(image), label, index)
        if self.transform is not None:
            rng = as_generator(None) if draw is None else np.random.default_rng([self.seed, operator.index(draw)])
            return Sample(self.transform(image, rng), label, index)
        return Sample(image, label, index)

    def _decoded(self, path: str) -> Image.Image:
        """What the cache keeps of a file."""
        if self.preprocess is not None:
            return self.preprocess.crop(path)
        to_cache = getattr(self.transform, "to_cache", None)
        return decode(path) if to_cache is None or not self.cache.limit else to_cache(path)

    def fill_cache(self) -> None:
        """Decode images until one has no room in the cache. Images that cannot be read are left out."""
        makers = (functools.partial(self._decoded, path) for path, _ in self.samples)
        self.cache.fill((self.transform, self.preprocess), makers)

    def split(self, share: float, seed: int = 0) -> tuple[ImageFolder, ImageFolder]:
        """(the rest, a share of the images of each class), drawn by the seed; both know all classes.

        The share of a class is rounded, to at least one image and at most all but one; a class of one image stays in
        the rest. Raises ValueError for a share outside (0, 1), and when no class has two images.
        """
        check_number("share", share, "(0, 1)")
        rng, taken = np.random.default_rng(check_count("seed", seed)), np.zeros(len(self), bool)
        for label in range(len(self.classes)):
            members = np.flatnonzero(self.labels == label)
            count = min(max(1, round(share * len(members))), len(members) - 1)
            taken[rng.permutation(members)[: max(count, 0)]] = True
        if not taken.any():
            raise ValueError(f"{self.root!r} has no class with two images, so none can be set apart")
        return self._only(~taken), self._only(taken)

    def _only(self, chosen: np.ndarray) -> ImageFolder:
        part = copy.copy(self)
        part.samples = [sample for sample, wanted in zip(self.samples, chosen, strict=True) if wanted]
        part.labels = self.labels[chosen]
        part.cache = ImageCache(self.cache.limit)
        return part


def _check_preprocess(preprocess: Any) -> None:
    if not isinstance(preprocess, Preprocess):
        raise TypeError(f"preprocess is a {type(preprocess).__name__}; expected a Preprocess such as model.preprocess")
    if preprocess.size is None:
        raise ValueError("the preprocess has no size; use preprocess.replace(size=224) or model.preprocess")
    if preprocess.in_chans not in (1, 3):
        raise ValueError(f"the preprocess is for {preprocess.in_chans} channels, and image files have 1 or 3")


def _check_classes(root: str, found: list[str], classes: list[str], allow_empty: bool) -> None:
    wanted = [class_name(name) for name in classes]
    repeated = sorted({name for name in wanted if wanted.count(name) > 1})
    if repeated:
        raise ValueError(f"classes names {_names(repeated)} more than once")
    missing = [name for name in wanted if name not in set(found)]
    extra = [name for name in found if name not in set(wanted)]
    if extra or (missing and not allow_empty):
        parts = [f"lacks {_names(missing)}"] * bool(missing) + [f"has {_names(extra)} besides"] * bool(extra)
        hint = "" if extra else "; allow_empty accepts classes without images"
        raise ValueError(
            f"{root!r} {' and '.join(parts)}; expected one subfolder for each of the {len(classes)} given classes{hint}"
        )


def _names(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
