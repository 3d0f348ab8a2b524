"""JSON objects in files, read within limits and written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic import write_atomically
from .errors import WeightsError

_MAX_BYTES = 16 << 20


def read_json(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """A JSON object from a file; None without one. Raises WeightsError for anything else."""
    path = Path(path)
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_BYTES:
        raise WeightsError(f"is larger than {_MAX_BYTES >> 20} MiB, which no config is", path=path)
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"is no JSON ({type(error).__name__}: {str(error)[:100]})", path=path) from None
    if not isinstance(values, dict):
        raise WeightsError("is no JSON object", path=path)
    return values


def json_bytes(values: Mapping[str, Any]) -> bytes:
    """A JSON object as readable text in UTF-8; names of files that are not UTF-8 are escaped, as JSON does it."""
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a JSON object. Raises as `write_atomically` does."""
    with write_atomically(path) as file:
        file.write(json_bytes(values))
