"""How far a download is, on standard error."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """A bar of tqdm if that is installed, else one line of text.

    show: None shows it on a terminal and nothing elsewhere; True shows it everywhere (off a terminal the line is
    written at the start and the end only); False never.
    """

    def __init__(self, name: str, show: bool | None) -> None:
        self._name = name
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._show = sys.stderr is not None and (self._terminal if show is None else show)
        self._bar: Any = None
        self._done, self._total, self._drawn = 0, 0, 0.0

    def start(self, done: int, total: int | None) -> None:
        """`done` of `total` bytes are there already (None: their number is not known)."""
        self._done, self._total = done, total or 0
        if not self._show:
            return
        if self._bar is None and self._terminal:
            try:
                from tqdm import tqdm
            except ImportError:
                pass
            else:
                self._bar = tqdm(desc=self._name, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr)
        if self._bar is not None:
            self._bar.total = total
            self._bar.n = self._bar.initial = done
            self._bar.refresh()
        else:
            self._line()

    def add(self, count: int) -> None:
        self._done += count
        if not self._show:
            return
        if self._bar is not None:
            self._bar.update(count)
        elif self._terminal and time.monotonic() - self._drawn > 0.2:
            self._line()

    def say(self, sentence: str) -> None:
        if self._show:
            print(("\n" if self._terminal and self._drawn else "") + sentence, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._show and self._drawn:
            self._line()
            if self._terminal:
                print(file=sys.stderr)

    def _line(self) -> None:
        self._drawn = time.monotonic()
        share = f" of {megabytes(self._total)} ({self._done / self._total:.0%})" if self._total else ""
        text = f"{self._name}: {megabytes(self._done)}{share}"
        print(f"\r{text}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr, flush=True)


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} bytes"
