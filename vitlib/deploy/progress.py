"""How far a long list is, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def with_progress(items: Iterable[T], count: Callable[[T], int], total: int | None, show: bool | None) -> Iterator[T]:
    """The items; after each, the number of images so far goes to a bar of tqdm where it is installed, else to a line.

    count: how many images an item holds. show: None shows it on a terminal and nowhere else.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not (terminal if show is None else show) or sys.stderr is None:
        yield from items
        return
    bar, done, written = _bar(total), 0, 0.0
    try:
        for item in items:
            yield item
            done += count(item)
            if bar is not None:
                bar.update(done - bar.n)
            elif time.monotonic() - written > (0.2 if terminal else 10) or done == total:
                written = time.monotonic()
                text = f"{done} of {total} images" if total else f"{done} images"
                print(f"\r{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
    finally:
        if bar is not None:
            bar.close()
        elif terminal:
            print(file=sys.stderr)


def _bar(total: int | None) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, unit="image", file=sys.stderr)
