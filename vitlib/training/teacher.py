"""Teachers: a frozen model that takes the student's batches, and logits computed once for a whole data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..checkpoint.atomic import write_atomically
from ..images import Preprocess
from ..models import DeiTLogits
from .parallel import unwrapped


def final_logits(outputs: Any) -> paddle.Tensor:
    """The logits [B, C] of a model's outputs: the mean of `DeiTLogits`, the first of another tuple or list."""
    if isinstance(outputs, DeiTLogits):
        return (outputs.logits + outputs.distillation_logits) / 2
    return outputs[0] if isinstance(outputs, (tuple, list)) else outputs


class Teacher:
    """Any `paddle.nn.Layer` as a teacher: the student's images [B, C, H, W] -> logits [B, K] without gradient.

    Args:
        model: gives logits [B, K] for images. It is put into evaluation mode at every call. Of a pair of heads
            (`DeiTLogits`) the mean is used; of another tuple or list (networks with auxiliary classifiers) the first
            tensor.
        preprocess: how images are normalised for the teacher; its size, if it has one, is what they are resized to
            (bicubic). Default: model.preprocess, where there is one.
        student: normalisation of the images that the teacher will be given, which is undone: a `Preprocess`, or a model
            that has one. None: the same as the teacher's.

    A Teacher is not a Layer: a student that has it as an attribute neither trains nor saves it, and `student.train()`
    does not change its mode.

    Raises ValueError when `student` is given and the teacher's own preprocessing is not known, and for other channels.
    """

    def __init__(
        self, model: nn.Layer, preprocess: Preprocess | None = None, *, student: Preprocess | nn.Layer | None = None
    ) -> None:
        self.model = model
        self.preprocess = getattr(unwrapped(model), "preprocess", None) if preprocess is None else preprocess
        if isinstance(student, nn.Layer):
            student = unwrapped(student).preprocess
        if student is not None and self.preprocess is None:
            raise ValueError(
                f"this {type(model).__name__} does not say how its images are normalised; give "
                "preprocess=vitlib.Preprocess(mean=..., std=...)"
            )
        if student is not None and student.in_chans != self.preprocess.in_chans:
            raise ValueError(
                f"the student's images have {student.in_chans} channels and the teacher's {self.preprocess.in_chans}"
            )
        self.student = self.preprocess if student is None else student

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        self.model.eval()
        with paddle.no_grad():
            return final_logits(self.model(self.convert(images)))

    def convert(self, images: paddle.Tensor) -> paddle.Tensor:
        """The student's images [B, C, H, W], normalised and resized for the teacher."""
        if self.preprocess is None:
            return images
        ours, theirs = self.student, self.preprocess
        if (ours.mean, ours.std) != (theirs.mean, theirs.std):
            # (pixel - m) / s = ((image · std + mean) - m) / s
            scale = np.array(ours.std) / np.array(theirs.std)
            shift = (np.array(ours.mean) - np.array(theirs.mean)) / np.array(theirs.std)
            scale, shift = (paddle.to_tensor(x.reshape([1, -1, 1, 1]), dtype=images.dtype) for x in (scale, shift))
            images = images * scale + shift
        if theirs.size is not None and tuple(images.shape[-2:]) != theirs.target_size:
            images = F.interpolate(images, size=list(theirs.target_size), mode="bicubic", align_corners=False)
        return images


class TeacherLogits:
    """A teacher's logits for every sample of a data set, [N, K], computed once, by index.

    `TeacherLogits.compute(teacher, dataset)` makes them, `logits[indices]` gives [B, K] float32, and
    `logits.attach(dataset)` adds them to its samples. They belong to the images as `dataset` returns them. For a
    student that sees other crops or mixtures, they are an approximation: the paper runs the teacher on the student's
    own batch, as `Teacher` does, and for mixed batches only that is right.

    array: floats [N, K], in memory or memory-mapped. float16 halves the size and is precise enough.
    Raises ValueError for another array.
    """

    def __init__(self, array: np.ndarray) -> None:
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"found {array.dtype} of shape {array.shape}; expected float logits [samples, classes]")
        self.array = array

    @classmethod
    def compute(cls, teacher: Any, dataset: Any, *, batch_size: int = 64) -> TeacherLogits:
        """teacher: images [B, C, H, W] -> logits [B, K], a `Teacher` for one. dataset: `dataset[i]` gives an image
        [C, H, W], or a tuple that begins with one.

        Raises ValueError for an empty data set, and for a sample without an image, such as an `ImageFolder` gives for a
        file that cannot be read: each sample needs its row."""
        rows = []
        for start in range(0, len(dataset), batch_size):
            images = [_image(dataset, i) for i in range(start, min(start + batch_size, len(dataset)))]
            rows.append(teacher(paddle.to_tensor(np.stack(images))).astype("float32").numpy())
        if not rows:
            raise ValueError("the data set is empty; expected at least one image")
        return cls(np.concatenate(rows))

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, indices: int | Sequence[int] | np.ndarray | paddle.Tensor) -> np.ndarray:
        """Logits of these samples: [K] for one index, else [B, K]; float32."""
        if isinstance(indices, paddle.Tensor):
            indices = indices.numpy()
        return np.asarray(self.array[indices], np.float32)

    def attach(self, dataset: Any) -> paddle.io.Dataset:
        """A data set whose samples are those of `dataset`, each a tuple, with the teacher's logits [K] at the end.
        It is asked by index, or by (index, draw), as `EpochSampler` gives them, where `dataset` understands that.

        Raises ValueError when the two have another number of samples."""
        if len(dataset) != len(self):
            raise ValueError(f"found {len(self)} rows of logits for {len(dataset)} samples; compute them for this data")
        return _WithLogits(dataset, self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .npy file, whole or not at all. Raises OSError as the system does."""
        with write_atomically(path) as file:
            np.save(file, self.array, allow_pickle=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TeacherLogits:
        """Open what `save` wrote; it stays on the disk and is read where needed. Runs no code from the file.

        Raises ValueError for another kind of file, OSError and MemoryError when it cannot be read."""
        try:
            return cls(np.lib.format.open_memmap(os.fspath(path), mode="r"))
        except (OSError, MemoryError):
            raise
        except Exception as error:  # NumPy reads a damaged header with Python's tokenizer, which has errors of its own
            raise ValueError(f"{os.fspath(path)} does not hold logits as TeacherLogits.save writes: {error}") from error


class _WithLogits(paddle.io.Dataset):
    def __init__(self, dataset: Any, logits: TeacherLogits) -> None:
        super().__init__()
        self.dataset, self.logits = dataset, logits

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Any, ...]:
        sample = self.dataset[key]
        logits = self.logits[key[0] if isinstance(key, tuple) else key]
        return (*(sample if isinstance(sample, (tuple, list)) else (sample,)), logits)


def _image(dataset: Any, index: int) -> np.ndarray:
    sample = dataset[index]
    image = sample[0] if isinstance(sample, (tuple, list)) else sample
    if image is None:
        reason = getattr(sample, "reason", "") or "the data set gives None"
        raise ValueError(f"sample {index} has no image to compute logits of: {reason}; mend it or leave it out")
    return np.asarray(image, np.float32)
