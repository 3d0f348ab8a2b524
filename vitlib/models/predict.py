"""From photographs to class names."""

from __future__ import annotations

from typing import Any, NamedTuple

import paddle
import paddle.nn.functional as F

from .vision_transformer import VisionTransformer


class Prediction(NamedTuple):
    """A class and the probability that the model gives it, in [0, 1]; index is the class's place among the logits."""

    label: str
    probability: float
    index: int


def predict(model: VisionTransformer, images: Any, top_k: int = 5) -> list[list[Prediction]]:
    """The top_k most probable classes of each image, the most probable first: one list an image.

    images: whatever `model.preprocess` takes (a path, bytes, a Pillow image, a uint8 array, or a list of them), or a
        tensor [B, C, H, W] that went through it. Labels are `model.labels`, or "class 17" where the model has none.

    The model computes in evaluation mode without gradients, and is left in the mode that it was in. Raises ValueError
    for a model without classes, labels that do not fit and a top_k below 1, and what `Preprocess` and the model raise.
    """
    if not model.config.num_classes:
        raise ValueError("this model has num_classes=0 and says nothing of classes; reset_head(n) gives it a head")
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise ValueError(f"top_k={top_k!r}: expected an int of at least 1")
    if model.config.global_pool == "none":
        raise ValueError("global_pool='none' classifies every token; build the model with 'token' or 'avg'")
    if not isinstance(images, paddle.Tensor):
        images = model.preprocess(images)
    images = images.astype(model.parameters()[0].dtype)
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    model.eval()
    try:
        with paddle.no_grad():
            probabilities = F.softmax(model(images), axis=-1)
    finally:
        for layer, training in modes:
            layer.training = training
    classes = probabilities.shape[-1]
    if model.labels is not None and len(model.labels) != classes:
        raise ValueError(f"model.labels has {len(model.labels)} names for {classes} classes; set it anew, or to None")
    values, indices = probabilities.topk(min(top_k, classes), axis=-1)
    return [
        [Prediction(_label(model, index), value, index) for value, index in zip(row, places, strict=True)]
        for row, places in zip(values.tolist(), indices.tolist(), strict=True)
    ]


def _label(model: VisionTransformer, index: int) -> str:
    return model.labels[index] if model.labels is not None else f"class {index}"
