"""Images of a long list, decoded ahead by threads, in order, a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ..images import ImageError


class Decoded(NamedTuple):
    """An image as the model takes it, without the batch axis; None, and a sentence, where it could not be read."""

    index: int
    source: Any
    array: np.ndarray | None
    reason: str = ""


def decode_ahead(
    sources: Iterable[Any], decode: Callable[[Any], np.ndarray], *, threads: int, ahead: int
) -> Iterator[Decoded]:
    """Every source in its order, of which at most `ahead` are decoded or being decoded beforehand.

    Arrays that a generator or the like yields are copied, since it may use one array for all of its images.

    Raises what the iterable raises; an image that cannot be read is told by its `reason`.
    """

    def work(index: int, source: Any) -> Decoded:
        try:
            return Decoded(index, source, decode(source))
        except (ImageError, FileNotFoundError) as error:
            return Decoded(index, source, None, str(error))

    is_held = isinstance(sources, (list, tuple, np.ndarray))
    numbered = enumerate(sources)
    waiting: deque[Future[Decoded]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="vitlib-decode")
    try:
        for index, source in numbered:
            if isinstance(source, np.ndarray) and not is_held:
                source = source.copy()
            waiting.append(pool.submit(work, index, source))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_batches(images: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    """Lists with at most `size` readable images, and the unreadable ones among them."""
    batch: list[Decoded] = []
    for image in images:
        batch.append(image)
        if sum(entry.array is not None for entry in batch) == size or len(batch) == 4 * size:
            yield batch
            batch = []
    if batch:
        yield batch


def run_ahead(
    batches: Iterable[list[Decoded]], run: Callable[[list[Decoded]], Any], in_flight: int
) -> Iterator[tuple[list[Decoded], Any]]:
    """Each batch and what `run` gives for it, in order; the next ones are run meanwhile."""
    waiting: deque[tuple[list[Decoded], Future[Any]]] = deque()
    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="vitlib-run")
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(run, batch)))
            if len(waiting) > in_flight:
                first, result = waiting.popleft()
                yield first, result.result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result.result()
    finally:
        pool.shutdown(cancel_futures=True)
