"""How many images of a long list are done, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def with_progress(batches: Iterable[T], count: Callable[[T], int], total: int | None, show: bool | None) -> Iterator[T]:
    """The batches; after each, the number of images so far goes to a bar of tqdm where it is installed, else to a line.

    count: how many images a batch holds. show: None shows it on a terminal, where there is more than one batch.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    bar, done, written, line = None, 0, time.monotonic(), False
    try:
        for batch in batches:
            yield batch
            done += count(batch)
            if sys.stderr is None or not (terminal if show is None else show):
                continue
            if bar is None and not line:
                if show is None and done == total:
                    continue
                bar = _bar(total)
            if bar is not None:
                bar.update(done - bar.n)
            elif terminal or done == total or time.monotonic() - written > 10:  # seconds; a file would fill with lines
                written, line = time.monotonic(), True
                text = f"{done} of {total} images" if total else f"{done} images"
                print(f"\r{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
    finally:
        if bar is not None:
            bar.close()
        elif line and terminal:
            print(file=sys.stderr)


def _bar(total: int | None) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, unit="image", file=sys.stderr)
