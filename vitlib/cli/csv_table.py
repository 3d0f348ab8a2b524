"""Tables for spreadsheets and programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO


@contextmanager
def csv_table(file: BinaryIO) -> Iterator[Any]:
    """A `csv.writer` into an open binary file, in UTF-8. Names of files that are not UTF-8 keep their bytes."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    yield csv.writer(text, lineterminator="\n")
    text.flush()
    text.detach()
