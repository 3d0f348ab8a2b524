"""Packages that are installed with an extra."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType


def require(module: str, *, extra: str) -> ModuleType:
    """The module, or ImportError that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != module:
            raise
        raise _missing(module, extra) from error


def require_installed(module: str, *, extra: str) -> None:
    """ImportError that names the extra, unless the module can be imported; it is not imported."""
    if importlib.util.find_spec(module) is None:
        raise _missing(module, extra)


def _missing(module: str, extra: str) -> ImportError:
    return ImportError(f"{module} is not installed; it comes with pip install 'vitlib[{extra}]'", name=module)
