"""OpenVINO on the CPU."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..cpu import has_bfloat16
from ..exported import Exported, ExportError
from ..extras import require, require_installed
from .openvino_int8 import quantized


def open_engine(exported: Exported, precision: str, threads: int, calibration: np.ndarray | None) -> OpenVinoEngine:
    return OpenVinoEngine(exported, precision, threads, calibration)


class OpenVinoEngine:
    """See `Engine`.

    A batch of at least as many images as threads is divided among streams of one thread each, which is faster than all
    threads working on one operation after the other; a smaller one takes all threads.
    """

    name = "openvino"
    higher_precision: tuple[str, ...] = ()

    def __init__(self, exported: Exported, precision: str, threads: int, calibration: np.ndarray | None = None) -> None:
        openvino = require("openvino", extra="openvino")
        self.precision, self.threads = precision, threads
        rest = "bfloat16" if precision == "int8" and has_bfloat16() else precision  # of what is not quantised
        self._hint = "bf16" if rest == "bfloat16" else "f32"
        self._outputs = list(exported.outputs)
        self._names = [output.value for output in exported.outputs.values()]
        self._core, self._path = openvino.Core(), exported.path
        self._read()  # a file that cannot be opened is refused here
        self._quantized: Any = None
        if precision == "int8":
            require_installed("nncf", extra="openvino")
            self._quantized, self.higher_precision = quantized(self._core, self._path, calibration, self._hint)
        self._compiled: dict[int, Any] = {}  # by number of streams, when they are first needed
        self._idle: dict[int, list[Any]] = {1: [], threads: []}
        self._lock = threading.Lock()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        streams = self.threads if len(images) >= self.threads else 1
        parts = np.array_split(images, streams)
        requests = self._take(streams)
        for request, part in zip(requests, parts, strict=True):
            request.start_async({0: part}, share_inputs=True)
        for request in requests:
            request.wait()
        found = [[request.get_tensor(name).data for request in requests] for name in self._names]
        arrays = [np.concatenate(pieces) for pieces in found]  # copies, since the requests are used again
        with self._lock:
            self._idle[streams] += requests
        return dict(zip(self._outputs, arrays, strict=True))

    def _take(self, streams: int) -> list[Any]:
        """As many idle requests as streams, or new ones."""
        with self._lock:
            compiled, idle = self._compile(streams), self._idle[streams]
            taken = [idle.pop() for _ in range(min(streams, len(idle)))]
        return taken + [compiled.create_infer_request() for _ in range(streams - len(taken))]

    def _compile(self, streams: int) -> Any:
        if streams not in self._compiled:
            options = {
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": self.threads,
                "INFERENCE_PRECISION_HINT": self._hint,
            }
            self._compiled[streams] = self._core.compile_model(self._quantized or self._read(), "CPU", options)
        return self._compiled[streams]

    def _read(self) -> Any:
        try:
            return self._core.read_model(self._path)
        except Exception as error:  # of many kinds, from C++
            raise ExportError(f"cannot be opened by OpenVINO ({error})", path=self._path) from error

    def close(self) -> None:
        with self._lock:
            self._idle, self._compiled, self._quantized = {}, {}, None
