"""Engines that run an exported model, one file each."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple, Protocol

import numpy as np

from ..cpu import has_bfloat16
from ..exported import Exported


class Engine(Protocol):
    """A model that is ready to run. Any number of threads may call `run`.

    name, precision: of the engine; threads: how many it uses; higher_precision: patterns of the layers that "int8" left
        as they are.
    """

    name: str
    precision: str
    threads: int
    higher_precision: tuple[str, ...]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Images of the model's shape and type, at least one -> the outputs by name, in arrays of their own."""

    def close(self) -> None:
        """Give back memory and threads; `run` must not be called any more."""


class Row(NamedTuple):
    """An engine: its module here, the package it needs and the extra that brings it, what it reads and computes in."""

    package: str
    extra: str
    formats: tuple[str, ...]  # the first is the one that a model is written in
    precisions: tuple[str, ...]


ENGINES: dict[str, Row] = {
    "paddle": Row("paddle", "", ("paddle",), ("float32", "bfloat16")),
    "onnxruntime": Row("onnxruntime", "onnxruntime", ("onnx",), ("float32",)),
    "openvino": Row("openvino", "openvino", ("onnx", "openvino"), ("float32", "bfloat16", "int8")),
}


def open_engine(
    name: str, exported: Exported, precision: str, threads: int, calibration: np.ndarray | None = None
) -> Engine:
    """An engine with a model; calibration: images as the model takes them, for "int8".

    Raises ImportError that names the extra of a missing package.
    """
    module = importlib.import_module(f".{name}_engine", __name__)
    return module.open_engine(exported, precision, threads, calibration)


def check_choice(engine: str, precision: str) -> None:
    """Raises ValueError for an engine or precision that is not there, or not here."""
    if engine != "auto" and engine not in ENGINES:
        raise ValueError(f"engine={engine!r}: expected 'auto' or one of {', '.join(map(repr, ENGINES))}")
    known = ("auto", "float32", "bfloat16", "int8")
    if precision not in known:
        raise ValueError(f"precision={precision!r}: expected one of {', '.join(map(repr, known))}")
    able = [name for name, row in ENGINES.items() if precision in ("auto", *row.precisions)]
    if engine not in ("auto", *able):
        raise ValueError(f"engine={engine!r} has no {precision}; {' and '.join(map(repr, able))} have it")
    if precision == "bfloat16" and not has_bfloat16():
        raise ValueError("this processor has no bfloat16 (AVX512-BF16 or AMX); use precision='float32' or 'auto'")


def is_installed(name: str, writes: bool = True) -> bool:
    """Whether an engine's package is there, and, if it writes, what writes its format."""
    needed = ["onnx"] if writes and "onnx" in ENGINES[name].formats else []
    return all(importlib.util.find_spec(package) is not None for package in [ENGINES[name].package, *needed])


def choose_engine(precision: str, format: str | None) -> tuple[str, str]:
    """The fastest engine for this precision that is installed here, and the reason; format: of a model on disk.

    On two cores with AVX-512: OpenVINO first in every precision, onnxruntime before Paddle in float32, and Paddle's
    bfloat16 twice as fast as onnxruntime's float32.
    """
    bfloat16 = has_bfloat16() and precision != "float32"
    order = ("openvino", "paddle", "onnxruntime") if bfloat16 else ("openvino", "onnxruntime", "paddle")
    able = [
        name
        for name in order
        if (format is None or format in ENGINES[name].formats) and precision in ("auto", *ENGINES[name].precisions)
    ]
    for place, name in enumerate(able):
        if is_installed(name, writes=format is None):
            faster = able[:place]
            missing = " and ".join(f"{other} (pip install 'vitlib[{ENGINES[other].extra}]')" for other in faster)
            return name, f"{name} is the fastest installed" + (f"; faster would be {missing}" if missing else "")
    raise ImportError(
        f"no engine for precision={precision!r}{f' and {format} files' if format else ''} is installed; there is "
        + ", ".join(f"{name} (pip install 'vitlib[{ENGINES[name].extra}]')" for name in able)
    )
