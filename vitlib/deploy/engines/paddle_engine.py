"""Paddle Inference with oneDNN. It needs nothing beside Paddle."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle.inference

from ..cpu import return_freed_memory
from ..exported import Exported, ExportError

_AT_ONCE = 8  # images; each takes almost twice as long in a batch of 64 of ViT-S/16, and more memory


def open_engine(exported: Exported, precision: str, threads: int, calibration: np.ndarray | None) -> PaddleEngine:
    return PaddleEngine(exported, precision, threads)


class PaddleEngine:
    """See `Engine`.

    One thread of its own does all the work: Paddle's predictors are not for several, and OpenMP, which divides the
    work, starts another team of workers for every thread that calls it.
    """

    name = "paddle"
    higher_precision: tuple[str, ...] = ()

    def __init__(self, exported: Exported, precision: str, threads: int) -> None:
        self.precision, self.threads = precision, threads
        self._input = exported.images.name
        self._outputs = {name: int(output.value) for name, output in exported.outputs.items()}
        self._has_run = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="vitlib-paddle")
        try:
            self._predictor = self._worker.submit(_open, exported, precision, threads).result()
        except BaseException:
            self.close()
            raise

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        parts = [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]
        found = [self._worker.submit(self._run, part).result() for part in parts]
        if len(found) == 1:
            return found[0]
        return {name: np.concatenate([each[name] for each in found]) for name in self._outputs}

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self._predictor.get_input_handle(self._input).copy_from_cpu(images)
        self._predictor.run()
        if not self._has_run:  # Paddle has packed the weights, which leaves as much behind
            self._has_run = True
            return_freed_memory()
        names = self._predictor.get_output_names()
        found = functools.cache(lambda index: self._predictor.get_output_handle(names[index]).copy_to_cpu())
        return {name: found(index) for name, index in self._outputs.items()}

    def close(self) -> None:
        self._predictor = None
        self._worker.shutdown()


def _open(exported: Exported, precision: str, threads: int) -> paddle.inference.Predictor:
    config = paddle.inference.Config(os.fspath(exported.path), os.fspath(exported.path.with_suffix(".pdiparams")))
    config.disable_gpu()
    config.enable_new_ir(True)
    config.enable_new_executor(True)
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    name = "onednn" if hasattr(config, "enable_onednn") else "mkldnn"  # Paddle 3.0 calls it by its old name
    getattr(config, f"enable_{name}")()
    # else every batch size and image size keeps a copy of the weights of its own
    getattr(config, f"set_{name}_cache_capacity")(0)
    if precision == "bfloat16":
        getattr(config, f"enable_{name}_bfloat16")()
    try:
        predictor = paddle.inference.create_predictor(config)
    except Exception as error:  # of many kinds, from C++
        raise ExportError(f"cannot be opened by Paddle Inference ({error})", path=exported.path) from error
    return_freed_memory()
    return predictor
