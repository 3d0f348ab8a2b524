"""An identifier in, a local file out: hubs and downloads; and the class names of published classifiers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .downloads import download
    from .huggingface import fetch_hub
    from .identifiers import fetch, is_identifier
    from .imagenet import class_names
    from .transfer import DownloadError

__all__ = ["DownloadError", "class_names", "download", "fetch", "fetch_hub", "is_identifier"]

_MODULES = {
    "DownloadError": "transfer",
    "class_names": "imagenet",
    "download": "downloads",
    "fetch": "identifiers",
    "fetch_hub": "huggingface",
    "is_identifier": "identifiers",
}


def __getattr__(name: str) -> Any:
    """Each module is imported when one of its names is first asked for (PEP 562)."""
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
