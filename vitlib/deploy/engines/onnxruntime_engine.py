"""onnxruntime on the CPU."""

from __future__ import annotations

import numpy as np

from ..exported import Exported, ExportError
from ..extras import require


def open_engine(exported: Exported, precision: str, threads: int, calibration: np.ndarray | None) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(exported, threads)


class OnnxRuntimeEngine:
    """See `Engine`."""

    name, precision = "onnxruntime", "float32"
    higher_precision: tuple[str, ...] = ()

    def __init__(self, exported: Exported, threads: int) -> None:
        onnxruntime = require("onnxruntime", extra="onnxruntime")
        self.threads = threads
        self._input, self._outputs = exported.images.name, exported.outputs
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors alone
        try:
            self._session = onnxruntime.InferenceSession(exported.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of many kinds, from C++
            raise ExportError(f"cannot be opened by onnxruntime ({error})", path=exported.path) from error

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        names = [output.value for output in self._outputs.values()]
        return dict(zip(self._outputs, self._session.run(names, {self._input: images}), strict=True))

    def close(self) -> None:
        self._session = None
