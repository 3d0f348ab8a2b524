"""A file as bytes in memory that are mapped rather than read."""

from __future__ import annotations

import mmap
import os
import stat
from dataclasses import dataclass

from .errors import WeightsError, listed
from .file_names import INDEX_ENDING, WEIGHT_ENDINGS


@dataclass(frozen=True)
class FileBytes:
    """One mapped file. `view` is read-only, and arrays made from it keep the mapping alive by themselves."""

    path: str
    view: memoryview

    @property
    def size(self) -> int:
        return len(self.view)

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FileBytes:
        """Raises `WeightsError` unless it is a regular file with something in it, and OSError as the system says."""
        path = os.fsdecode(path)
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            names = sorted(
                entry.name for entry in os.scandir(path) if entry.name.endswith((*WEIGHT_ENDINGS, INDEX_ENDING))
            )
            raise WeightsError("is a directory", way_out=f"Give the file in it: {listed(names, 5) or 'the weights'}")
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError("is not a regular file")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise WeightsError("is empty", way_out="Download or copy it again")
            return cls(path, memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
