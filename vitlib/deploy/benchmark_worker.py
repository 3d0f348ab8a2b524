"""vitlib's own candidates of `benchmark`, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from .benchmark_peers import serve
from .cpu import tune_cpu
from .export_model import export


def make_candidate(spec: dict[str, Any]) -> Callable[[int], Any]:
    """spec: name ("eager", "eager tuned" or an engine), precision, model, img_size, threads, export (a directory)."""
    size = spec["img_size"]

    def images(batch: int) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)

    if spec["name"].startswith("eager"):
        if "tuned" in spec["name"]:
            tune_cpu(spec["threads"], keep_memory=True)
        model = random_model(spec["model"], spec["img_size"])

        def prepare_eager(batch: int) -> Callable[[], Any]:
            x = paddle.to_tensor(images(batch))

            def run() -> Any:
                with paddle.no_grad():
                    return model(x).numpy()

            return run

        return prepare_eager

    from .predictor import Predictor

    calibration = None
    if spec["precision"] == "int8":
        rng = np.random.default_rng(1)
        calibration = [rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(16)]
    predictor = Predictor(spec["export"], spec["name"], spec["precision"], spec["threads"], calibration=calibration)

    def prepare(batch: int) -> Callable[[], Any]:
        x = images(batch)
        return lambda: predictor.run(x)

    return prepare


def write_exports(spec: dict[str, Any], exports: dict[str, tuple[str, str]]) -> None:
    """Export a model once for all candidates that need the same: {directory: (format, output)}."""
    model = random_model(spec["model"], spec["img_size"])
    for directory, (format, output) in exports.items():
        export(model, directory, format, outputs=output, verify=False)


def random_model(name: str, img_size: int) -> Any:
    """A preset with random weights, in evaluation mode."""
    paddle.seed(0)
    from ..pretrained import create_model

    model = create_model(name, img_size=img_size)
    model.eval()
    return model


if __name__ == "__main__":
    serve(make_candidate)
