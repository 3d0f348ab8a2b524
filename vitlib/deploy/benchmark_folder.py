"""A folder of images from end to end, decoding and preprocessing included, beside the engine alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from ..images.sources import as_sources
from .benchmark_worker import random_model
from .predictor import Predictor


@dataclass
class FolderResult:
    """Seconds of each round for the same images: the engine alone, one batch after the other, and from files to
    outputs by `Predictor.items`."""

    candidate: str
    precision: str
    model: str
    img_size: int
    batch: int
    num_images: int
    alone: list[float] = field(default_factory=list)
    end_to_end: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Speed from end to end, as a share of the engine's alone; the median over the rounds."""
        return statistics.median(alone / whole for alone, whole in zip(self.alone, self.end_to_end, strict=True))


def benchmark_folder(
    model: str,
    folder: str,
    candidates: Iterable[tuple[str, str]],
    *,
    img_size: int = 224,
    batch: int = 8,
    rounds: int = 9,
    threads: int | None = None,
    num_images: int = 64,
) -> list[FolderResult]:
    """Time a preset on the first images of a folder with every (engine, precision); the two ways take turns.

    Raises `ImageError` for a folder without images, and for one that cannot be read.
    """
    sources = list(islice(as_sources(folder)[0], num_images))
    results, made = [], random_model(model, img_size)
    arrays = [made.preprocess.array(source) for source in sources]
    batches = [np.stack(arrays[start : start + batch]) for start in range(0, len(arrays), batch)]
    for engine, precision in candidates:
        with Predictor(made, engine, precision, threads, calibration=folder, verify=False) as predictor:
            result = FolderResult(engine, precision, model, img_size, batch, len(sources))
            for number in range(rounds + 1):
                start = time.perf_counter()
                for images in batches:
                    predictor.run(images)
                middle = time.perf_counter()
                for _ in predictor.items(sources, batch_size=batch, progress=False):
                    pass
                end = time.perf_counter()
                if number:  # the first round prepares
                    result.alone.append(middle - start)
                    result.end_to_end.append(end - middle)
            results.append(result)
    return results


def folder_table(results: Sequence[FolderResult]) -> str:
    """The results as text, in images a second."""
    lines = [f"{'from files to outputs':46}{'alone':>9}{'end to end':>12}{'share':>8}   images/s"]
    for row in results:
        alone, whole = (row.num_images / statistics.median(seconds) for seconds in (row.alone, row.end_to_end))
        name = f"{row.model}, batch {row.batch}, {row.candidate} {row.precision}"
        lines.append(f"{name:46}{alone:9.1f}{whole:12.1f}{row.share:8.2f}")
    return "\n".join(lines)
