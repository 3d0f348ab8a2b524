"""8-bit quantisation of an OpenVINO model after training, by NNCF.

It runs in a process of its own, as `python openvino_int8.py DIRECTORY`: a process that had used NNCF crashed later, in
operations of Paddle.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

LEAST_AGREEMENT = 0.99  # of the first class with float32's, on the images for calibration
# Layers that stay in higher precision, tried in turn until the classes agree. The inputs of an MLP's second layer have
# the widest range of values in a transformer.
LEFT = ((), (r".*\.mlp\.fc2\..*",), (r".*\.mlp\.fc2\..*", r".*\.attn\..*"))
_BATCH = 8


def quantized(core: Any, path: Path, images: np.ndarray) -> tuple[Any, tuple[str, ...]]:
    """The 8-bit form of the model in a file, and patterns of the layers that stayed in higher precision.

    images: for calibration, as the model takes them. Without logits, all layers are quantised. Raises RuntimeError when
    NNCF fails.
    """
    with tempfile.TemporaryDirectory(prefix="vitlib-") as directory:
        task = {"model": str(path), "left": LEFT, "least_agreement": LEAST_AGREEMENT}
        Path(directory, "task.json").write_text(json.dumps(task))
        np.save(Path(directory, "images.npy"), images)
        done = subprocess.run([sys.executable, __file__, directory], capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise RuntimeError(f"NNCF could not quantise the model: {reason}")
        left = tuple(json.loads(Path(directory, "left.json").read_text()))
        # by content, since the files go
        weights = Path(directory, "int8.bin").read_bytes()
        return core.read_model(Path(directory, "int8.xml").read_bytes(), weights), left


def _quantize(directory: Path) -> None:
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    task, images = json.loads((directory / "task.json").read_text()), np.load(directory / "images.npy")
    core = openvino.Core()
    model = core.read_model(task["model"])
    expected = _classes(core, model, images)
    for left in task["left"]:
        made = nncf.quantize(
            model.clone(),
            nncf.Dataset([image[None] for image in images]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(patterns=left, validate=False) if left else None,
        )
        if expected is None or (_classes(core, made, images) == expected).mean() >= task["least_agreement"]:
            break
    openvino.save_model(made, directory / "int8.xml", compress_to_fp16=False)
    (directory / "left.json").write_text(json.dumps(left))


def _classes(core: Any, model: Any, images: np.ndarray) -> np.ndarray | None:
    """The first class of each image; None for a model without logits."""
    names = [name for output in model.outputs for name in output.names]
    if "logits" not in names:
        return None
    request = core.compile_model(model, "CPU").create_infer_request()
    found = []
    for start in range(0, len(images), _BATCH):
        request.infer({0: images[start : start + _BATCH]})
        found.append(request.get_tensor("logits").data.argmax(-1))
    return np.concatenate(found)


if __name__ == "__main__":
    _quantize(Path(sys.argv[1]))
