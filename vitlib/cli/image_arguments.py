"""The arguments IMAGE: files, folders, and paths from standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

from .errors import UsageError
from .parsing import Parser

HELP = "image files, folders of them at any depth, or - for paths from standard input, one a line"


def add_images(parser: Parser, metavar: str = "IMAGE") -> None:
    parser.add_argument("images", nargs="+", metavar=metavar, help=HELP)


def image_paths(given: list[str]) -> Iterable[str]:
    """The paths of all images: a list, or an iterator where they come from standard input.

    Raises UsageError for a folder without images, and for an empty standard input.
    """
    if given.count("-") > 1:
        raise UsageError("-: standard input was given twice")
    expanded = [part for text in given for part in (["-"] if text == "-" else _in_folder(text))]
    return _with_standard_input(expanded) if "-" in expanded else expanded


def _in_folder(text: str) -> list[str]:
    from ..images import ImageError
    from ..images.sources import image_files

    if not os.path.isdir(text):
        return [text]
    try:
        return image_files(text)
    except ImageError as error:
        raise UsageError(str(error)) from None


def _with_standard_input(expanded: list[str]) -> Iterator[str]:
    some = False
    for text in expanded:
        lines = (line.rstrip("\r\n") for line in sys.stdin) if text == "-" else [text]
        for path in filter(None, lines):
            some = True
            yield path
    if not some:
        raise UsageError("-: standard input has no paths")
