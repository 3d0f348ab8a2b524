"""Images with any number of labels each, from a CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .checks import check_count, check_name, check_number
from .folder import ImageFolder
from .image_cache import ImageCache

_PARTS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}


class LabelTable(NamedTuple):
    """The content of a CSV file of N images and C classes.

    classes: names, in the order of the columns, or sorted. paths: of the images, as the file has them. labels: [N, C],
    0 and 1. parts: "train", "validation" or "test" of each image; None where the file does not say.
    """

    classes: list[str]
    paths: list[str]
    labels: np.ndarray
    parts: list[str] | None


def read_label_table(path: str | os.PathLike[str]) -> LabelTable:
    """Read a CSV file whose first line names the columns: "image", perhaps "part" (train, validation or val, test), and
    either "labels", names separated by ";", or one column for each class with 0 and 1.

    Raises FileNotFoundError, and ValueError, with the number of the line, for anything else.
    """
    name = os.fspath(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name!r} is no CSV file in UTF-8 ({error})") from None
    columns = [column.strip() for column in header]
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated or "image" not in columns:
        found = (
            f"names {repeated[0]!r} twice" if repeated else f"names the columns {', '.join(columns[:6]) or 'nothing'}"
        )
        raise ValueError(f"{name!r}: its first line {found}; expected 'image', and 'labels' or a column for each class")
    rows = []
    for number, line in enumerate(lines, 2):
        if any(cell.strip() for cell in line):
            if len(line) != len(columns):
                raise ValueError(f"{name!r}, line {number}: has {len(line)} cells; expected {len(columns)}")
            rows.append((number, dict(zip(columns, (cell.strip() for cell in line), strict=True))))
    if not rows:
        raise ValueError(f"{name!r} has no images")
    others = [column for column in columns if column not in ("image", "part")]
    if others == ["labels"]:
        classes, labels = _from_names([row["labels"] for _, row in rows])
    else:
        classes, labels = others, _from_columns(name, rows, others)
    paths = [row["image"] for _, row in rows]
    twice = next((path for path in paths if paths.count(path) > 1), None) if len(set(paths)) < len(paths) else None
    if twice is not None:
        raise ValueError(f"{name!r} has the image {twice!r} twice; expected one line for each, with all of its labels")
    return LabelTable(classes, paths, labels, _parts(name, rows) if "part" in columns else None)


def _from_names(cells: list[str]) -> tuple[list[str], np.ndarray]:
    names = [{part.strip() for part in cell.split(";")} - {""} for cell in cells]
    classes = sorted(set().union(*names))
    return classes, np.array([[int(label in of_image) for label in classes] for of_image in names], np.int64)


def _from_columns(name: str, rows: list[tuple[int, dict[str, str]]], classes: list[str]) -> np.ndarray:
    for number, row in rows:
        wrong = next((label for label in classes if row[label] not in ("0", "1")), None)
        if wrong is not None:
            raise ValueError(f"{name!r}, line {number}: {row[wrong]!r} in column {wrong!r}; expected 0 or 1")
    return np.array([[int(row[label]) for label in classes] for _, row in rows], np.int64).reshape(len(rows), -1)


def _parts(name: str, rows: list[tuple[int, dict[str, str]]]) -> list[str]:
    for number, row in rows:
        if row["part"] not in _PARTS:
            raise ValueError(f"{name!r}, line {number}: the part {row['part']!r}; expected train, validation or test")
    return [_PARTS[row["part"]] for _, row in rows]


class ImageTable(ImageFolder):
    """The images of a `LabelTable`, or of a part of it, as an `ImageFolder` whose labels are [C], 0 and 1.

    Args:
        table: the images and their labels.
        root: folder to which the paths are relative.
        part: "train", "validation" or "test"; None: all images.
        seed, on_unreadable, cache: as of `ImageFolder`. `transform` and `preprocess` are attributes to set.

    `labels` is an int64 array [len, C]. A file that is not there counts as unreadable. Raises ValueError for a part
    without images, and for a table of fewer than one class.
    """

    def __init__(
        self,
        table: LabelTable,
        root: str | os.PathLike[str],
        part: str | None = None,
        *,
        seed: int = 0,
        on_unreadable: str = "skip",
        cache: int = 0,
    ) -> None:
        self.root, self.transform, self.preprocess = os.fspath(root), None, None
        self.seed = check_count("seed", seed)
        self.cache = ImageCache(cache)
        self.on_unreadable = check_name("on_unreadable", on_unreadable, ("skip", "raise"))
        self.classes, self.ignored = list(table.classes), []
        if not self.classes:
            raise ValueError("none of the images has a label")
        parts: Sequence[str | None] = table.parts or [None] * len(table.paths)
        chosen = np.array([part is None or own == part for own in parts], bool)
        if not chosen.any():
            raise ValueError(f"the table has no images of the part {part!r}")
        self.labels = table.labels[chosen]
        paths = [path for path, wanted in zip(table.paths, chosen, strict=True) if wanted]
        self.samples = [(os.path.join(self.root, path), label) for path, label in zip(paths, self.labels, strict=True)]

    def split(self, share: float, seed: int = 0) -> tuple[ImageTable, ImageTable]:
        """(the rest, a share of the images), drawn by the seed. Raises ValueError for a share outside (0, 1), and for
        fewer than two images."""
        check_number("share", share, "(0, 1)")
        if len(self) < 2:
            raise ValueError("the table has one image, so none can be set apart")
        order = np.random.default_rng(check_count("seed", seed)).permutation(len(self))
        taken = np.zeros(len(self), bool)
        taken[order[: min(max(1, round(share * len(self))), len(self) - 1)]] = True
        return self._only(~taken), self._only(taken)
