"""The file that an option such as --output names."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import UsageError


def check_output(path: Path, option: str) -> None:
    """Raises UsageError where no file can be written, before the work that it is to hold."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder; give the name of a file")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{option} {path}: the folder {path.parent} cannot be written to")
