"""Samples of an `ImageFolder` -> batches, in the calling process or by the workers of `paddle.io.DataLoader`."""

from __future__ import annotations

import copy
import functools
import gc
import glob
import multiprocessing.util
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from .errors import ImageError
from .folder import ImageFolder, Sample

# Images, labels, indices, unreadable: see `collate`; arrays there, tensors from a loader.
Batch: TypeAlias = tuple[Any, Any, Any, list[str]]


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples -> (images [B, C, H, W] float32, labels [B] int64, indices [B] int64, unreadable).

    The `collate_fn` for `paddle.io.DataLoader`, which makes tensors of the arrays and a list of the four. B counts the
    readable samples only; `unreadable` has a sentence, which begins with the path, for each of the others. When nothing
    could be read, images and labels are None (and indices those of the unreadable): `if images is None: continue`.

    Raises ValueError for Pillow images, and when images are of different shapes, naming two of them.
    """
    readable = [sample for sample in samples if sample.image is not None]
    unreadable = [sample.reason for sample in samples if sample.image is None]
    if not readable:
        # Paddle's loader takes a batch without arrays for the end of the epoch, and fails at one of empty arrays
        return None, None, np.array([sample.index for sample in samples], np.int64), unreadable
    if isinstance(readable[0].image, Image.Image):
        raise ValueError(
            f"sample {readable[0].index} is a Pillow image; expected an array [C, H, W]: give the ImageFolder a "
            "transform or preprocess"
        )
    shape = np.shape(readable[0].image)
    for sample in readable:
        if np.shape(sample.image) != shape:
            raise ValueError(
                f"sample {sample.index} has the shape {list(np.shape(sample.image))} and sample {readable[0].index} "
                f"{list(shape)}; a batch needs one shape: give a transform or preprocess with a fixed size"
            )
    images = np.stack([np.asarray(sample.image, np.float32) for sample in readable])
    labels = np.array([sample.label for sample in readable], np.int64)
    return images, labels, np.array([sample.index for sample in readable], np.int64), unreadable


def load_batches(dataset: ImageFolder, sampler: Iterable[list[Any]], *, num_workers: int = 0) -> Iterator[Batch]:
    """The batches of `collate` for each list of keys of `sampler`, such as an `EpochSampler`, with tensors for arrays.

    With workers this is `paddle.io.DataLoader`: they end with this process, however it ends, leave Ctrl-C to it, and do
    without shared memory where /dev/shm is too small. Without workers the images are read in the calling thread:
    Paddle's loader reads them in another, whose exceptions leave the caller waiting for ever (3.0.0 to 3.3.1).

    Raises ImageError for an unreadable image when the dataset says on_unreadable="raise". Exceptions of a transform
    come as they are without workers; with them Paddle writes them to stderr and raises SystemError.
    """
    quiet = copy.copy(dataset)  # Paddle makes an exception of a worker a SystemError about its queue
    quiet.on_unreadable = "skip"
    for images, labels, indices, unreadable in _load(quiet, sampler, num_workers):
        if unreadable and dataset.on_unreadable == "raise":
            raise ImageError(unreadable[0])
        yield images, labels, indices, unreadable


def _load(dataset: ImageFolder, sampler: Iterable[list[Any]], num_workers: int) -> Iterator[Batch]:
    import paddle  # here, so that reading folders does without it

    if num_workers:
        # A worker forks, and where it happens to collect what is left of an earlier loader, whose threads it does not
        # have, it waits for them for ever (Paddle 3.0)
        gc.collect()
        loader = paddle.io.DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=num_workers,
            use_shared_memory=_shared_memory_suffices(dataset, sampler, num_workers),
            worker_init_fn=functools.partial(_start_worker, os.getpid()),
        )
        with _signals_blocked():  # in all threads of the workers, which are forked now
            batches = iter(loader)
        yield from batches
        return
    for keys in sampler:
        images, labels, indices, unreadable = collate([dataset[key] for key in keys])
        if images is not None:
            images, labels = paddle.to_tensor(images), paddle.to_tensor(labels)
        yield images, labels, paddle.to_tensor(indices), unreadable


def _shared_memory_suffices(dataset: ImageFolder, sampler: Any, num_workers: int) -> bool:
    """Whether /dev/shm has room for the batches that the workers prepare, of which Paddle keeps two for each."""
    if not os.path.isdir("/dev/shm"):
        return True
    samples = (dataset[index, 0].image for index in range(len(dataset)))
    image = next((np.asarray(image, np.float32) for image in samples if image is not None), np.empty(0))
    batch_size = getattr(sampler, "batch_size", 256)
    if isinstance(sampler, Sequence):
        batch_size = max(map(len, sampler), default=0)
    return shutil.disk_usage("/dev/shm").free > 2 * (num_workers + 1) * batch_size * image.nbytes


@contextmanager
def _signals_blocked() -> Iterator[None]:
    if not hasattr(signal, "sigtimedwait"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(parent: int, _: int) -> None:
    """In a worker, which Paddle would leave behind when its parent is killed: end with the parent, and by it alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes, and the parent may need a last batch
    multiprocessing.util.Finalize(None, _remove_untaken_batches, (parent,), exitpriority=-100)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        if not hasattr(signal, "sigtimedwait"):
            time.sleep(0.5)
        elif (received := signal.sigtimedwait([signal.SIGTERM], 0.5)) and received.si_pid == parent:
            break
    _remove_untaken_batches(parent)
    os._exit(0)


def _remove_untaken_batches(parent: int) -> None:
    """Remove this worker's files of Paddle's in /dev/shm, when the parent is gone that would do so."""
    for path in glob.glob(f"/dev/shm/paddle_{os.getpid()}_*") if os.getppid() != parent else []:
        with suppress(OSError):
            os.unlink(path)
