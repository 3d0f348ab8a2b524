"""What users give as images, one by one: a folder, one image, a list or a generator."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from .class_folders import IMAGE_ENDINGS, find_files
from .errors import ImageError


def as_sources(images: Any) -> tuple[Iterable[Any], int | None]:
    """Images one by one, and their number where it is known.

    images: a folder, whose image files at any depth are taken in the order of their paths; one image as `decode` takes
        it; or a list or another iterable of them, such as a generator or an array [B, H, W, C]. Raises `ImageError`
        for a folder or list without images.
    """
    if isinstance(images, (str, os.PathLike)) and os.path.isdir(images):
        images = image_files(images)
    one = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or not isinstance(images, Iterable)
    if one or hasattr(images, "read") or getattr(images, "ndim", 4) < 4:  # files and arrays can be iterated, too
        return [images], 1
    count = len(images) if hasattr(images, "__len__") else None
    if count == 0:
        raise ImageError("the list of images is empty; expected at least one")
    return images, count


def image_files(folder: str | os.PathLike[str]) -> list[str]:
    """The image files in a folder, at any depth and sorted by path; names that begin with a dot are passed over.

    Links are followed, and no folder is entered twice. Raises `ImageError` where there are no images.
    """
    images, _ = find_files([os.fspath(folder)], IMAGE_ENDINGS)
    if not images:
        endings = ", ".join(IMAGE_ENDINGS)
        raise ImageError(f"{os.fspath(folder)!r}: holds no images; expected files that end in {endings}")
    return images
