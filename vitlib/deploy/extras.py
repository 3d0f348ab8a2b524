"""Packages that are installed with an extra."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, *, extra: str) -> ModuleType:
    """The module, or ImportError that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != module:
            raise
        raise ImportError(
            f"{module} is not installed; it comes with pip install 'vitlib[{extra}]'", name=module
        ) from error
