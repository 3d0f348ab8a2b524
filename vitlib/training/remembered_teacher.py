"""`RememberedTeacher`: keeps a teacher's logits on the disk, for several runs that differ only in the student."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import numpy as np
import paddle

from .image_data import ImageData
from .parallel import unwrapped
from .teacher import Teacher


class RememberedTeacher:
    """A `Teacher` whose logits are kept in a file, batch by batch: [batches, B, classes] float32.

    Runs with the same teacher, images, seed, batch size and augmentation have the same batches, whatever their student,
    and share the file, whose name is a hash of all these (of a transform: of its `repr`; and of whether a cache shrinks
    the images). Called as a `Teacher`, with the images of the present batch of `data`.

    Args:
        teacher: asked for the batches that are not in the file. A batch that lacks unreadable images is not kept.
        directory: created if it does not exist; it has one file for each kind of run and process, of 4 bytes for each
            class, image and epoch, which are reserved at once.
        data: prepared; it says which batch the run is at.
        epochs: of the run.

    Raises OSError as the system does, such as for a disk without room for the file.
    """

    def __init__(self, teacher: Teacher, directory: str | os.PathLike[str], data: ImageData, epochs: int) -> None:
        shape = (epochs * len(data.sampler), data.batch_size, len(data.classes))
        path = Path(directory) / f"{_fingerprint(teacher, data)}-{'x'.join(map(str, shape))}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # whole under its name, even if this process is killed now
            partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
            np.lib.format.open_memmap(partial, "w+", np.float32, shape)
            try:
                _reserve(partial)
            except OSError as error:
                partial.unlink()
                needed = f"the teacher's logits of {epochs} epochs take {4 * math.prod(shape) / 1e6:,.0f} MB"
                raise OSError(error.errno, f"{os.strerror(error.errno)}: {needed}", str(path)) from None
            partial.replace(path)
        self.teacher = teacher
        self.data = data
        self.logits = np.lib.format.open_memmap(path, "r+")

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        known = self.logits[self.data.batch_number]
        if len(images) < len(known):  # some could not be read, and perhaps can be the next time
            return self.teacher(images)
        if not known.any(axis=-1).all():  # a new file holds zeros
            known[...] = self.teacher(images).numpy()
        return paddle.to_tensor(np.array(known))


def _reserve(path: Path) -> None:
    """Take all of a sparse file's room on the disk: writing to a mapped page for which there is none ends Python."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _fingerprint(teacher: Teacher, data: ImageData) -> str:
    """Of all that the batches and the teacher's answers depend on."""
    order = data.sampler
    parts = [teacher.student, teacher.preprocess, data.train.transform, data.mixup, data.seed]
    parts += [order.length, order.batch_size, order.repeats, order.rank, order.world_size]
    parts += ["shrunk by the cache"] * data.is_shrunk_by_cache
    digest = hashlib.sha256(repr(parts).encode())
    for name, value in unwrapped(teacher.model).state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.numpy()).data)
    for path, _ in data.train.samples:  # an image that was added, removed or changed makes other batches
        found = os.stat(path)
        digest.update(f"{os.path.relpath(path, data.train.root)} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]
