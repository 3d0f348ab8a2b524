"""An engine in the precision that is taken, and how far it is from float32."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from ..models import VisionTransformer
from .cpu import has_bfloat16
from .engines import ENGINES, Engine, open_engine
from .export_model import TOLERANCE
from .exported import ExportError
from .opened_model import OpenedModel
from .precision import COMPARED, LARGEST_DEVIATION, Comparison, compare, run_in_batches
from .verify import largest_deviation

_COMPARED_INT8 = 128
_COARSE_TOLERANCE = 0.25  # of bfloat16: what is above it is no matter of rounding


@dataclass(frozen=True)
class PredictorReport:
    """What a `Predictor` runs on, and why.

    engine, precision, threads: in use; the reasons are sentences.
    higher_precision: patterns of the layers that int8 quantisation left in higher precision.
    comparison: how far the precision is from float32 on the first images (or those of calibration); None in float32,
        and before there were any.
    """

    engine: str
    engine_reason: str
    precision: str
    precision_reason: str
    threads: int
    higher_precision: tuple[str, ...]
    comparison: Comparison | None

    def __str__(self) -> str:
        compared = "" if self.comparison is None else f"; {self.comparison}"
        engine = f"{self.engine} ({self.engine_reason}) with {self.threads} thread{'s' if self.threads > 1 else ''}"
        left = f", {' and '.join(self.higher_precision)} left in higher precision" if self.higher_precision else ""
        return f"{engine} in {self.precision} ({self.precision_reason}){left}{compared}"


class RunningEngine:
    """The engine of a `Predictor`, for any number of threads.

    Args:
        opened: the export to run, and the engine.
        precision: as of `Predictor`; "auto" is decided on the images of `calibration`, else on the first that come.
        threads: how many to use.
        calibration: images as the engine takes them; None: none. "int8" needs some.
        model: is compared with the engine on random images; None: no comparison.

    Raises `ExportError` for an export that is damaged, and for an engine that computes something else than the model.
    """

    def __init__(
        self,
        opened: OpenedModel,
        precision: str,
        threads: int,
        calibration: np.ndarray | None = None,
        model: VisionTransformer | None = None,
    ) -> None:
        self._opened, self._threads = opened, threads
        self._stamp = opened.exported.stamp()
        self._lock = threading.Lock()
        self._first: np.ndarray | None = None  # images to compare precisions on
        if calibration is not None:
            self._first = calibration[: _COMPARED_INT8 if precision == "int8" else COMPARED].copy()
        self._comparison: Comparison | None = None
        self._undecided = precision == "auto" and "bfloat16" in ENGINES[opened.engine].precisions and has_bfloat16()
        self._precision = "float32" if precision == "auto" else precision
        self._precision_reason = "asked for"
        if precision == "auto":
            self._precision_reason = "until there are images to compare bfloat16 on"
            if not self._undecided:
                lacks = "this processor has no fast bfloat16" if not has_bfloat16() else f"{opened.engine} has no other"
                self._precision_reason = lacks
        self._engine: Engine | None = self._open("float32" if precision == "int8" else self._precision)
        if model is not None:
            self._verify(model)
        if precision == "int8":
            self._take("int8", calibration)
        elif self._undecided and self._first is not None:
            self._decide(self._first)

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Checked images -> the outputs by name. Raises ValueError after `close()`."""
        if self._undecided or self._first is None:
            with self._lock:
                if self._undecided and self._engine is not None:
                    self._decide(images)
                elif self._first is None:
                    self._first = images[:COMPARED].copy()
        engine = self._engine
        if engine is None:
            raise ValueError("this predictor is closed")
        return engine.run(images)

    @property
    def report(self) -> PredictorReport:
        """See `Predictor.report`."""
        with self._lock:
            compared = self._comparison is not None or self._precision == "float32"
            if not compared and self._first is not None and self._engine is not None:
                reference = self._open("float32")
                try:
                    found, expected = (run_in_batches(each, self._first) for each in (self._engine, reference))
                    self._comparison = compare(found, expected)
                finally:
                    reference.close()
            return PredictorReport(
                self._opened.engine,
                self._opened.engine_reason,
                self._precision,
                self._precision_reason,
                self._threads,
                () if self._engine is None else self._engine.higher_precision,
                self._comparison,
            )

    def close(self) -> None:
        """Give back the engine and its memory."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
            self._engine = None

    def _open(self, precision: str, calibration: np.ndarray | None = None) -> Engine:
        self._opened.exported.check_unchanged(self._stamp)
        return open_engine(self._opened.engine, self._opened.exported, precision, self._threads, calibration)

    def _decide(self, images: np.ndarray) -> None:
        """Take bfloat16 where it is close to float32 on these images."""
        self._first = images[:COMPARED].copy()
        self._take("bfloat16")
        self._precision_reason = f"bfloat16 {self._comparison}, and {LARGEST_DEVIATION:.0%} is allowed"
        if self._comparison.deviation > LARGEST_DEVIATION:
            self._engine.close()
            self._precision, self._engine = "float32", self._open("float32")
        self._undecided = False

    def _take(self, precision: str, calibration: np.ndarray | None = None) -> None:
        """Go from float32 to another precision, and compare the two on the first images."""
        expected = run_in_batches(self._engine, self._first)
        self._engine.close()  # before the next one is opened, so that memory holds the weights once
        self._engine = self._open(precision, calibration)
        self._precision, self._comparison = precision, compare(run_in_batches(self._engine, self._first), expected)

    def _verify(self, model: VisionTransformer) -> None:
        """Raises `ExportError` for an engine that computes something else than the model."""
        precision = self._engine.precision
        try:
            found = largest_deviation(self._engine, model, self._opened.exported)
        except BaseException:
            self.close()
            raise
        allowed = TOLERANCE if precision == "float32" else _COARSE_TOLERANCE
        if not found <= allowed:
            self.close()
            raise ExportError(
                f"engine={self._opened.engine!r} in {precision} differs from the model by {found:.2g} of the "
                f"largest output on random images, more than {allowed:g}",
                way_out="Choose another engine or precision, or skip this check with verify=False",
            )
