"""The one exception of everything that reads, matches or writes weights, and how names out of files are shown in it."""

from __future__ import annotations

import os
from collections.abc import Iterable


class WeightsError(ValueError):
    """A weight file, or its match with a model, was refused.

    `str()` is one paragraph: the file, the reason, and where there is one, the way out. Nothing has been changed when
    it is raised: no parameter is assigned and no file is written.

    Args:
        reason: what is wrong, as the rest of a sentence that begins with the file ("is a directory") or, without a
            file, as a sentence of its own.
        path: the file it is about. Readers leave it out where it is not known and add it at their boundary with `at`.
        way_out: what to do instead, as a sentence.
    """

    def __init__(self, reason: str, *, path: str | os.PathLike[str] | None = None, way_out: str = "") -> None:
        self.reason = reason.rstrip(".")
        self.path = None if path is None else os.fspath(path)
        self.way_out = way_out.rstrip(".")
        sentence = f"{self.reason}." if self.path is None else f"{printable(self.path, 400)} {self.reason}."
        super().__init__(f"{sentence} {self.way_out}." if self.way_out else sentence)

    def at(self, path: str | os.PathLike[str]) -> WeightsError:
        """The same error, naming `path` unless a file is named already."""
        return self if self.path is not None else WeightsError(self.reason, path=path, way_out=self.way_out)


def quoted(name: object, limit: int = 80) -> str:
    """`name` from a file, made fit for a message: one line, printable, in quotes and not longer than `limit`."""
    return repr(_shortened(name if isinstance(name, str) else f"<{type(name).__name__}>", limit))


def listed(names: Iterable[object], limit: int = 8) -> str:
    """The first `limit` names, quoted, and the number of the others: "'a', 'b' and 298 more"."""
    names = list(names)
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(map(quoted, names[:limit])) + more


def printable(text: str, limit: int) -> str:
    """`text` on one line with everything unprintable escaped, for places where quotes would be odd."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in _shortened(text, limit))


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 4 :]}"
