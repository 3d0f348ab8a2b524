"""The files of an image folder: one subfolder per class, and what of it is an image."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from PIL import Image

from .decode import HEIF_HINT

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's
_HEIF_ENDINGS = (".heic", ".heif")
# Of macOS, Synology, QNAP, Windows and ext4
_SYSTEM_FOLDERS = (
    "__MACOSX", "@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found",
)  # fmt: skip


def class_name(name: str) -> str:
    """A name in Unicode's composed form: macOS writes the same letters decomposed."""
    return unicodedata.normalize("NFC", name)


def check_extensions(extensions: Sequence[str]) -> tuple[str, ...]:
    """Endings in lower case, each with its dot."""
    if isinstance(extensions, str) or not extensions or not all(isinstance(ending, str) for ending in extensions):
        raise ValueError(f"extensions={extensions!r}: expected endings of files, such as ('.jpg', '.png')")
    return tuple(f".{ending.lower().removeprefix('.')}" for ending in extensions)


def find_class_folders(root: str, endings: tuple[str, ...]) -> dict[str, list[str]]:
    """{class: its folders}, sorted by name; several where their names differ only in Unicode's form."""
    if not os.path.exists(root):
        raise FileNotFoundError(f"{root!r} does not exist; expected a folder with one subfolder of images per class")
    if not os.path.isdir(root):
        raise NotADirectoryError(f"{root!r} is a file; expected a folder with one subfolder of images per class")
    with os.scandir(root) as entries:
        visible = sorted((entry for entry in entries if _is_visible(entry.name)), key=lambda entry: entry.name)
    loose = [entry.name for entry in visible if entry.name.lower().endswith(endings) and not entry.is_dir()]
    if loose:
        raise ValueError(
            f"{len(loose)} images, such as {loose[0]!r}, lie directly in {root!r}, where they belong to no class; "
            f"move them into a subfolder named after their class, such as {os.path.join(root, 'cat')!r}"
        )
    folders: dict[str, list[str]] = {}
    for entry in visible:
        if entry.is_dir():
            folders.setdefault(class_name(entry.name), []).append(os.path.join(root, entry.name))
    if not folders:
        raise ValueError(f"{root!r} has no subfolders; expected one subfolder of images per class")
    return dict(sorted(folders.items()))


def find_files(folders: Iterable[str], endings: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """(images, other files) at any depth, sorted by path; links are followed, and no folder is entered twice."""
    images: list[str] = []
    others: list[str] = []
    entered = set()
    for folder in folders:
        for directory, inner, names in os.walk(folder, followlinks=True, onerror=_refuse):
            real = os.path.realpath(directory)
            if real in entered:
                inner.clear()
                continue
            entered.add(real)
            inner[:] = sorted(filter(_is_visible, inner))
            for name in filter(_is_visible, names):
                (images if name.lower().endswith(endings) else others).append(os.path.join(directory, name))
    return sorted(images), sorted(others)


def passed_over(others: Sequence[str], before: str, *, only_images: bool = False) -> str:
    """`before` and how many files of which endings were passed over; "" for none.

    only_images: say nothing unless some of them look like images.
    """
    Image.init()
    counts = Counter(sorted(os.path.splitext(path)[1].lower() or "without an ending" for path in others))
    known = {*Image.registered_extensions(), *_HEIF_ENDINGS}
    if not counts or (only_images and not counts.keys() & known):
        return ""
    listed = ", ".join(
        f"{counts[ending]} {ending}" for ending in sorted(counts, key=lambda name: (-counts[name], name))
    )
    hint = "; extensions takes other endings in" if counts.keys() & known else ""
    if counts.keys() & set(_HEIF_ENDINGS):
        hint += f"; {HEIF_HINT}, or convert them to JPEG"
    return f"{before}{len(others)} file{'s' * (len(others) > 1)} passed over: {listed}{hint}"


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in _SYSTEM_FOLDERS


def _refuse(error: OSError) -> None:
    raise OSError(f"the folder {error.filename!r} cannot be listed ({error}); make it readable, or move it away")
