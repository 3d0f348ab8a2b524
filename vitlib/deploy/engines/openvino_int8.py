"""8-bit quantisation of an OpenVINO model after training, by NNCF."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ..extras import require

LEAST_AGREEMENT = 0.99  # of the first class with float32's, on the images for calibration
# Layers that stay in higher precision, tried in turn until the classes agree. The inputs of an MLP's second layer have
# the widest range of values in a transformer.
_LEFT = ((), (r".*\.mlp\.fc2\..*",), (r".*\.mlp\.fc2\..*", r".*\.attn\..*"))
_BATCH = 8


def quantized(core: Any, model: Any, images: np.ndarray) -> tuple[Any, tuple[str, ...]]:
    """An 8-bit model, and patterns of the layers that stayed in higher precision; the model itself is not changed.

    images: for calibration, as the model takes them. Without logits, all layers are quantised.
    """
    nncf = require("nncf", extra="openvino")
    nncf.set_log_level(logging.ERROR)
    expected = _classes(core, model, images)
    for left in _LEFT:
        made = nncf.quantize(
            model.clone(),
            nncf.Dataset([image[None] for image in images]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(patterns=list(left), validate=False) if left else None,
        )
        if expected is None or (_classes(core, made, images) == expected).mean() >= LEAST_AGREEMENT:
            break
    return made, left


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
