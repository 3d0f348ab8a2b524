"""Features of a folder of images, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from ..checkpoint import write_npz
from ..images import ImageError, ImageFolder, load_batches
from ..images.checks import check_count
from ..images.progress import with_progress
from ..models import VisionTransformer
from ..models.evaluation import evaluation_mode
from ..models.predictions import default_batch_size


@dataclass(frozen=True)
class FolderFeatures:
    """Features of labelled images.

    features: [M, D] float32, the input of the classifier (DeiT: the mean of its two).
    labels: [M] int64, indices into classes.
    classes: names.
    unreadable: a sentence for each file that could not be read.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    unreadable: tuple[str, ...] = ()


def folder_features(
    model: VisionTransformer,
    folder: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> FolderFeatures:
    """Features of the images under folder/CLASS/, at any depth.

    Args:
        model: the model; its own preprocessing is used, in evaluation mode. It is left as it was.
        folder: as `ImageFolder` takes it.
        classes: the classes in the order of the labels, such as those of the training folder; None: the subfolders'.
        cache: a file (.npz) that keeps the features. It is used again while weights, preprocessing, file names, sizes
            and dates are the same, and replaced otherwise.
        batch_size: images that the model gets at once. None: as `predict` chooses.
        progress: as in `predict`.

    Raises what `ImageFolder` raises, ImageError where no image could be read, and ValueError for a cache that is a file
    of something else, which is left as it is.
    """
    data = ImageFolder(folder, preprocess=model.preprocess, classes=classes, allow_empty=classes is not None)
    key = None if cache is None else _fingerprint(model, data)
    found = None if cache is None else _read(cache, key)
    if found is None:
        size = default_batch_size(model) if batch_size is None else check_count("batch_size", batch_size, 1)
        if cache is not None:
            os.makedirs(os.path.dirname(os.path.abspath(cache)), exist_ok=True)
        found = _compute(model, data, size, progress)
        if cache is not None:
            features, labels, unreadable = found
            lines = np.frombuffer("\n".join(unreadable).encode(), "uint8")
            write_npz(cache, {"features": features, "labels": labels, "key": key, "unreadable": lines})
    features, labels, unreadable = found
    return FolderFeatures(features, labels, tuple(data.classes), unreadable)


_Found = tuple[np.ndarray, np.ndarray, tuple[str, ...]]


def _compute(model: VisionTransformer, data: ImageFolder, batch_size: int, progress: bool | None) -> _Found:
    parts: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    unreadable: list[str] = []
    keys = [list(range(start, min(start + batch_size, len(data)))) for start in range(0, len(data), batch_size)]
    dtype = model.parameters()[0].dtype

    def readable() -> Iterator[paddle.Tensor]:
        for images, targets, _, unread in load_batches(data, keys):
            unreadable.extend(unread)
            if images is not None:
                labels.append(np.asarray(targets, "int64"))
                yield images.astype(dtype)

    with evaluation_mode(model), paddle.no_grad():
        for images in with_progress(readable(), lambda images: images.shape[0], len(data), progress):
            tokens = model.forward_features(images)
            parts.append(model.forward_head(tokens, pre_logits=True).astype("float32").numpy())
    if not parts:
        raise ImageError(f"none of the {len(data)} images in {data.root!r} could be read: {unreadable[0]}")
    return np.concatenate(parts), np.concatenate(labels), tuple(unreadable)


def _read(cache: str | os.PathLike[str], key: np.ndarray) -> _Found | None:
    """The content of a cache; None where it is missing or of other features."""
    if not os.path.exists(cache):
        return None
    try:
        with np.load(cache, allow_pickle=False) as file:
            found, lines = file["key"], file["unreadable"].tobytes().decode()
            features, labels = file["features"], file["labels"]
    except (ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"cache={os.fspath(cache)!r} is a file, but none of features ({error}); it is left as it is: give another "
            "name, or remove it"
        ) from error
    return (features, labels, tuple(lines.split("\n")) if lines else ()) if np.array_equal(found, key) else None


def _fingerprint(model: VisionTransformer, data: ImageFolder) -> np.ndarray:
    """A digest of everything that the features depend on: [32] uint8."""
    digest = hashlib.sha256(f"{type(model).__qualname__} {model.config.to_dict()} {data.classes}".encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + np.ascontiguousarray(value.numpy()).tobytes())
    for path, label in data.samples:
        status = os.stat(path)
        digest.update(f"{os.path.relpath(path, data.root)} {label} {status.st_size} {status.st_mtime_ns}".encode())
    return np.frombuffer(digest.digest(), "uint8")


def check_same_classes(train: tuple[str, ...], test: tuple[str, ...]) -> None:
    """Raises ValueError where two folders do not have the same classes in the same order."""
    if train != test:
        raise ValueError(
            f"found the classes {', '.join(test[:5])}..., expected {', '.join(train[:5])}... as for "
            "training: make the second with folder_features(model, folder, classes=train.classes)"
        )
