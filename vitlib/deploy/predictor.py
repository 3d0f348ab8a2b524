"""`Predictor`: a model on the fastest engine of this machine."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ..images import ImageError
from ..images.checks import check_count
from ..images.progress import with_progress
from ..images.sources import as_sources
from ..models import Prediction, VisionTransformer
from .check_images import check_images
from .cpu import usable_cores
from .engines import check_choice
from .exported import Exported
from .image_stream import Decoded, decode_ahead, in_batches, run_ahead
from .opened_model import open_model
from .precision import COMPARED
from .running_engine import PredictorReport, RunningEngine

_BATCH_SIZE = 8
_CALIBRATION = 512  # images, for int8


class Item(NamedTuple):
    """One image of a list: its place, the image as it was given, and the outputs for it, without the batch axis.

    outputs is None, and reason a sentence, where it could not be read.
    """

    index: int
    source: Any
    outputs: dict[str, np.ndarray] | None
    reason: str = ""


class Predictor:
    """Images in; classes, features or any outputs of a model out, by the fastest engine that is installed.

    Args:
        model: a vitlib model, a preset's name (with its published weights), a file or directory of weights as for
            `vitlib.from_pretrained`, or a directory that `vitlib.export` wrote.
        engine: "paddle" (Paddle Inference with oneDNN; nothing more to install), "onnxruntime" or "openvino" (extras of
            these names); "auto" takes the fastest installed one.
        precision: "float32"; "bfloat16", on processors that have it; "int8" (engine "openvino"), which needs
            `calibration`. "auto" takes bfloat16 where it keeps the logits of the calibration or first images within
            1e-2 of the largest one, else float32.
        threads: how many to use; None: all cores that this process may use.
        outputs: outputs of `run`, one or several of "logits", "features", "tokens", "map_3", "attention_3" (see
            `parse_outputs`); None: logits, or features of a model without classes.
        img_size, input_dtype: as in `vitlib.export`.
        calibration: images for choosing or quantising a precision: a folder, or a list as for `predict`. int8 uses up
            to 512, the more the better: layers stay in higher precision until 99 % of their classes are float32's.
        verify: for a model or weights, compare the engine with the model on two random images.

    Any number of threads may use one Predictor, and the answers are the same to the last bit. A model that it was made
    from is not needed any more afterwards. `close()`, or the end of a `with` block, gives engine and memory back.

    Raises ImportError for a missing extra; `DescriptionError` for a class whose operations are not known (engine
    "paddle" traces those); `ExportError` for an export that is damaged or not ours, and for an engine that computes
    something else than the model; ValueError for arguments that cannot be, such as bfloat16 on a processor without it.
    """

    def __init__(
        self,
        model: VisionTransformer | str | os.PathLike[str],
        engine: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        outputs: str | Iterable[str] | None = None,
        *,
        img_size: int | tuple[int, int] | None = None,
        input_dtype: str = "float32",
        calibration: Any = None,
        verify: bool = True,
    ) -> None:
        check_choice(engine, precision)
        if precision == "int8" and calibration is None:
            raise ValueError("precision='int8' needs calibration=, a folder or list of images like those to come")
        self._threads = usable_cores() if threads is None else check_count("threads", threads, 1)
        self._opened = open_model(model, engine, precision, outputs, img_size=img_size, input_dtype=input_dtype)
        verified = self._opened.model if verify else None
        self._opened.model = None
        try:
            images = None
            if calibration is not None:
                images = self._some_images(calibration, _CALIBRATION if precision == "int8" else COMPARED)
            self._engine = RunningEngine(self._opened, precision, self._threads, images, verified)
        except BaseException:
            self._opened.close()
            raise

    # Answers

    def run(self, images: Any) -> np.ndarray | dict[str, np.ndarray]:
        """Images that are preprocessed already -> the output, or {name: output} when several were asked for.

        images: an array or tensor [B, C, H, W] float32; with input_dtype="uint8", [B, H, W, C] uint8. Any B from 1 on.

        Raises TypeError for another type and ValueError for another shape, and after `close()`.
        """
        found = self._engine.run(check_images(self._opened.exported.images, images))
        asked = self._opened.asked
        return found[asked[0]] if len(asked) == 1 else {name: found[name] for name in asked}

    def predict(
        self,
        images: Any,
        top_k: int = 5,
        *,
        batch_size: int = _BATCH_SIZE,
        on_unreadable: str = "raise",
        progress: bool | None = None,
    ) -> list[list[Prediction]]:
        """The top_k most probable classes of each image, the most probable first: one list an image.

        Arguments and errors as of `items`. With on_unreadable="skip" an unreadable image has an empty list, and a
        warning names it. Raises ValueError for a model that gives no logits [B, num_classes].
        """
        if "logits" not in self._opened.exported.outputs:
            raise ValueError(f"this predictor gives {', '.join(self._opened.exported.outputs)}, and no logits")
        if len(self._opened.exported.outputs["logits"].shape) != 2:
            raise ValueError("the model classifies every token (global_pool='none'), not the image")
        top_k = check_count("top_k", top_k, 1)
        found: list[list[Prediction]] = []
        items = self.items(images, batch_size=batch_size, on_unreadable=on_unreadable, progress=progress)
        for item in _with_warning(items):
            found.append([] if item.outputs is None else self.classes(item.outputs["logits"], top_k))
        return found

    def embed(
        self,
        images: Any,
        *,
        batch_size: int = _BATCH_SIZE,
        on_unreadable: str = "raise",
        progress: bool | None = None,
    ) -> np.ndarray:
        """The pooled features of each image [N, D], float32.

        Arguments and errors as of `items`. With on_unreadable="skip" the row of an unreadable image is NaN, and a
        warning names it. Raises ValueError for a model that gives no features.
        """
        if "features" not in self._opened.exported.outputs:
            raise ValueError(
                f"this predictor gives {', '.join(self._opened.exported.outputs)}, and no features; ask for "
                "outputs='features' when it, or its export, is made"
            )
        rows: list[np.ndarray | None] = []
        items = self.items(images, batch_size=batch_size, on_unreadable=on_unreadable, progress=progress)
        for item in _with_warning(items):
            rows.append(None if item.outputs is None else item.outputs["features"].copy())  # not the whole batch
        width = next((row.shape for row in rows if row is not None), (0,))
        missing = np.full(width, np.nan, np.float32)
        return np.stack([missing if row is None else row for row in rows])

    def items(
        self,
        images: Any,
        *,
        batch_size: int = _BATCH_SIZE,
        on_unreadable: str = "raise",
        progress: bool | None = None,
    ) -> Iterator[Item]:
        """Each image with its outputs, in order and one after the other: memory does not grow with the list.

        Args:
            images: a folder (its image files at any depth, by path), one image as `model.preprocess` takes it (path,
                bytes, Pillow image, uint8 array), or a list or another iterable of them.
            batch_size: images that the engine gets at once. Decoding goes on meanwhile.
            on_unreadable: "raise" raises `ImageError` when an unreadable image is reached; "skip" gives an item without
                outputs, with the reason.
            progress: show progress on standard error; None: on a terminal.

        Raises `ImageError` for a folder or list without images, and ValueError for other arguments that cannot be.
        """
        if on_unreadable not in ("raise", "skip"):
            raise ValueError(f"on_unreadable={on_unreadable!r}: expected 'raise' or 'skip'")
        batch_size = check_count("batch_size", batch_size, 1)
        sources, total = as_sources(images)
        return self._items(sources, total, batch_size, on_unreadable, progress)

    def _items(
        self, sources: Iterable[Any], total: int | None, batch_size: int, on_unreadable: str, progress: bool | None
    ) -> Iterator[Item]:
        def run(batch: list[Decoded]) -> dict[str, np.ndarray] | None:
            arrays = [image.array for image in batch if image.array is not None]
            return self._engine.run(check_images(self._opened.exported.images, np.stack(arrays))) if arrays else None

        ahead = 2 * batch_size + self._threads
        decoded = decode_ahead(sources, self._opened.decode, threads=self._threads, ahead=ahead)
        results = run_ahead(in_batches(decoded, batch_size), run, in_flight=2)
        some = False
        for batch, found in with_progress(results, lambda result: len(result[0]), total, progress):
            row, some = 0, True
            for image in batch:
                if image.array is None:
                    if on_unreadable == "raise":
                        raise ImageError(image.reason)
                    yield Item(image.index, image.source, None, image.reason)
                    continue
                yield Item(image.index, image.source, {name: array[row] for name, array in found.items()})
                row += 1
        if not some:
            raise ImageError("there are no images; expected at least one")

    def classes(self, logits: np.ndarray, top_k: int = 5) -> list[Prediction]:
        """The top_k most probable classes of one image's logits [num_classes], the most probable first."""
        weights = np.exp(logits - logits.max())
        return self._named(weights / weights.sum())[:top_k]

    def labels(self, logits: np.ndarray, threshold: float = 0.5) -> list[Prediction]:
        """The classes that one image's logits [num_classes] give at least this probability, each by its own sigmoid,
        as models for several labels an image are trained; the most probable first."""
        probabilities = 0.5 * (1 + np.tanh(logits.astype(np.float64) / 2))
        return [row for row in self._named(probabilities) if row.probability >= threshold]

    def _named(self, probabilities: np.ndarray) -> list[Prediction]:
        labels = self._opened.exported.labels
        order = np.argsort(-probabilities, kind="stable")
        names = [f"class {index}" if labels is None else labels[index] for index in order]
        return [Prediction(name, float(probabilities[i]), int(i)) for name, i in zip(names, order, strict=True)]

    # The engine

    @property
    def exported(self) -> Exported:
        """Input, outputs, preprocessing and labels of the model."""
        return self._opened.exported

    @property
    def report(self) -> PredictorReport:
        """Engine and precision in use, why, and how far the answers are from float32's.

        For "bfloat16" and "int8", the first call after images have come runs some of them in float32, too.
        """
        return self._engine.report

    def close(self) -> None:
        """Give back the engine, its memory and its files."""
        self._engine.close()
        self._opened.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _some_images(self, images: Any, count: int) -> np.ndarray:
        """At most `count` images of a list, evenly spread where its length is known; unreadable ones are left out."""
        sources, total = as_sources(images)
        step = max(1, (total or 0) // count)
        sources = islice(sources, 0, step * count, step)
        decoded = decode_ahead(sources, self._opened.decode, threads=self._threads, ahead=self._threads)
        arrays = [image.array for image in decoded if image.array is not None]
        if not arrays:
            raise ImageError("none of the images for calibration can be read")
        return check_images(self._opened.exported.images, np.stack(arrays))


def _with_warning(items: Iterator[Item]) -> Iterator[Item]:
    """The items; in the end one warning names the unreadable ones, at the call of the method that takes them."""
    count, reasons = 0, []
    for item in items:
        count += 1
        if item.outputs is None:
            reasons.append(item.reason)
        yield item
    if reasons:
        more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        sentence = f"{len(reasons)} of {count} images could not be read: {'; '.join(reasons[:5])}{more}"
        warnings.warn(sentence, UserWarning, stacklevel=3)
