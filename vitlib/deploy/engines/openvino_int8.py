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
# Layers that stay in higher precision, tried in turn until the classes agree. Patches and heads are a hundredth of the
# work, and half of the deviation; the inputs of an MLP's second layer have the widest range of values in a transformer.
_ENDS = (r"patch_embed\..*", r"head\..*", r"head_dist\..*", r"model\.heads.*")
LEFT = (_ENDS, (*_ENDS, r".*\.mlp\.fc2\..*"), (*_ENDS, r".*\.mlp\.fc2\..*", r".*\.attn\..*"))
_RANGES = 128  # images that the ranges of values are taken from; all of them are for checking the classes
_BATCH = 8


def quantized(core: Any, path: Path, images: np.ndarray, hint: str) -> tuple[Any, tuple[str, ...]]:
    """The 8-bit form of the model in a file, and patterns of the layers that stayed in higher precision.

    images: for calibration, as the model takes them. hint: OpenVINO's name of the higher precision. Without logits,
    nobody can compare classes, and the first choice of layers is taken. Raises RuntimeError when NNCF fails.
    """
    with tempfile.TemporaryDirectory(prefix="vitlib-") as directory:
        task = {"model": str(path), "left": LEFT, "least_agreement": LEAST_AGREEMENT, "hint": hint}
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
    expected = _classes(core, model, images, "f32")
    some = images[:: max(1, len(images) // _RANGES)][:_RANGES]
    for left in task["left"]:
        made = nncf.quantize(
            model.clone(),
            nncf.Dataset([image[None] for image in some]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(some),
            ignored_scope=nncf.IgnoredScope(patterns=left, validate=False) if left else None,
        )
        if expected is None:
            break
        share = (_classes(core, made, images, task["hint"]) == expected).mean()
        # by a standard error more, since images to come agree a little less often than those that it was chosen by
        if share - np.sqrt(share * (1 - share) / len(images)) >= task["least_agreement"]:
            break
    openvino.save_model(made, directory / "int8.xml", compress_to_fp16=False)
    (directory / "left.json").write_text(json.dumps(left))


def _classes(core: Any, model: Any, images: np.ndarray, hint: str) -> np.ndarray | None:
    """The first class of each image; None for a model without logits."""
    names = [name for output in model.outputs for name in output.names]
    if "logits" not in names:
        return None
    request = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint}).create_infer_request()
    found = []
    for start in range(0, len(images), _BATCH):
        request.infer({0: images[start : start + _BATCH]})
        found.append(request.get_tensor("logits").data.argmax(-1))
    return np.concatenate(found)


if __name__ == "__main__":
    _quantize(Path(sys.argv[1]))
