"""OpenVINO on the CPU."""

from __future__ import annotations

import threading
from collections import defaultdict
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
    threads working on one operation after the other; a smaller one takes all threads. Single images have a model of
    that fixed shape, which is a little faster.
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
        self._exported, self._stamp = exported, exported.stamp()
        self._read()  # a file that cannot be opened is refused here
        self._quantized: Any = None
        if precision == "int8":
            require_installed("nncf", extra="openvino")
            self._quantized, self.higher_precision = quantized(self._core, self._path, calibration, self._hint)
        self._compiled: dict[tuple[int, bool], Any] = {}  # by number of streams and whether for a single image
        self._idle: defaultdict[tuple[int, bool], list[Any]] = defaultdict(list)
        self._lock = threading.Lock()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        streams = self.threads if len(images) >= self.threads else 1
        parts = np.array_split(images, streams)
        requests = self._take(key := (streams, len(images) == 1))
        for request, part in zip(requests, parts, strict=True):
            request.start_async({0: part}, share_inputs=True)
        for request in requests:
            request.wait()
        found = [[request.get_tensor(name).data for request in requests] for name in self._names]
        arrays = [np.concatenate(pieces) for pieces in found]  # copies, since the requests are used again
        with self._lock:
            self._idle[key] += requests
        return dict(zip(self._outputs, arrays, strict=True))

    def _take(self, key: tuple[int, bool]) -> list[Any]:
        """As many idle requests as streams, or new ones."""
        with self._lock:
            compiled, idle = self._compile(key), self._idle[key]
            taken = [idle.pop() for _ in range(min(key[0], len(idle)))]
        return taken + [compiled.create_infer_request() for _ in range(key[0] - len(taken))]

    def _compile(self, key: tuple[int, bool]) -> Any:
        """The compiled model, when it is first needed."""
        if key not in self._compiled:
            streams, single = key
            options = {
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": self.threads,
                "INFERENCE_PRECISION_HINT": self._hint,
            }
            model = self._quantized.clone() if self._quantized else self._read()
            if single:
                model.reshape([1, *model.input(0).partial_shape[1:]])
            self._compiled[key] = self._core.compile_model(model, "CPU", options)
        return self._compiled[key]

    def _read(self) -> Any:
        self._exported.check_unchanged(self._stamp)
        try:
            return self._core.read_model(self._path)
        except Exception as error:  # of many kinds, from C++
            raise ExportError(f"cannot be opened by OpenVINO ({error})", path=self._path) from error

    def close(self) -> None:
        with self._lock:
            self._idle.clear()
            self._compiled, self._quantized = {}, None
