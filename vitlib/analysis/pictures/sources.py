"""The images that a picture shows, and their names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ...images import ImageSource
from ...images.sources import as_sources

MOST = 100  # rows of a page; beyond, it has more pixels than viewers show


def image_sources(images: Any, names: Sequence[str] | None = None) -> tuple[list[Any], list[str]]:
    """One image, several of them or those of a folder as a list, with their names.

    Raises ValueError for no image, for more than 100, and for other numbers of names.
    """
    found, total = as_sources(images)
    sources = list(islice(found, MOST + 1))
    if not 1 <= len(sources) <= MOST:
        raise ValueError(f"found {len(sources) if total is None else total} images, expected 1 to {MOST} on a page")
    if names is not None and len(names) != len(sources):
        raise ValueError(f"found {len(names)} names for {len(sources)} images, expected one for each")
    return sources, list(names) if names else [image_name(*pair) for pair in enumerate(sources)]


def image_name(index: int, source: ImageSource) -> str:
    """Folder and file of a path, or of a Pillow image that was opened from one; else "image 1" for index 0."""
    path = source if isinstance(source, (str, os.PathLike)) else getattr(source, "filename", "")
    if not path or not isinstance(path, (str, os.PathLike)):
        return f"image {index + 1}"
    path = Path(os.path.abspath(os.fspath(path)))
    return f"{path.parent.name}/{path.name}"
