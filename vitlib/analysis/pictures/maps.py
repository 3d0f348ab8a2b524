"""The maps of patches that pictures show: relevance, rollout, attention."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import paddle

from ...images import ImageSource
from ...images.checks import check_name, did_you_mean, is_whole
from ...models import Prediction, VisionTransformer, predict
from ..attention import attention_maps
from ..class_relevance import relevance
from ..reading import output_row
from ..rollout import attention_rollout
from .captions import Scale

METHODS = ("relevance", "rollout", "attention")


class PatchMap(NamedTuple):
    """A map of the patches of one image.

    values: [h, w].
    scale: of a rollout from the least to the largest value, else from 0.
    about: its name.
    prediction: of the class that it is for, else of the most probable class; None for a model without classes.
    """

    values: np.ndarray
    scale: Scale
    about: str
    prediction: Prediction | None


def patch_map(
    model: VisionTransformer,
    image: ImageSource,
    method: str = "relevance",
    class_index: int | str | None = None,
    layer: int = -1,
) -> PatchMap:
    """The map of one image by a method of `METHODS`.

    class_index: of relevance; an index or a label, None for the most probable class.
    layer: of attention.

    Raises ValueError for another method, for a class or layer that does not exist, for a class with a method that does
    not depend on one, and what `relevance`, `attention_rollout` and `attention_maps` raise.
    """
    check_name("method", method, METHODS)
    if method != "relevance" and class_index is not None:
        raise ValueError(
            f"method={method!r} does not depend on a class, found class_index={class_index!r}; use relevance"
        )
    classes = model.config.num_classes and model.config.global_pool != "none"
    chosen = resolve_class(model, class_index)
    prediction = None
    if classes:
        rows = predict(model, image, top_k=1 if chosen is None else model.config.num_classes)[0]
        prediction = next((row for row in rows if chosen in (None, row.index)), None)
    x = model.preprocess(image).astype(model.parameters()[0].dtype)
    grid = model.patch_embed.grid_for(x)
    if method == "relevance":
        index = prediction.index if prediction is not None else chosen
        values = relevance(model, x, index)[0].numpy().astype("float32")
        return PatchMap(values, Scale(0.0, float(values.max())), "relevance", prediction)
    if method == "rollout":
        tokens = attention_rollout(model, x)[0].numpy()
    else:
        (weights,) = attention_maps(model, x, [layer])
        weights = weights.astype("float32").mean(axis=1)  # of the heads
        tokens = paddle.matmul(output_row(model, weights.shape[-1]), weights)[0, 0].numpy()
    values = 100 * tokens[model.num_prefix_tokens :].reshape(grid)
    low = float(values.min()) if method == "rollout" else 0.0
    return PatchMap(values, Scale(low, float(values.max()), "%"), _ABOUT[method], prediction)


_ABOUT = {"rollout": "attention rollout", "attention": "attention"}


def resolve_class(model: VisionTransformer, class_index: Any) -> int | None:
    """A class as its index among the logits, from an index or a label. Raises ValueError for an unknown label."""
    if class_index is None or is_whole(class_index):
        return class_index
    labels = list(model.labels or [])
    if class_index in labels:
        return labels.index(class_index)
    if not isinstance(class_index, str) or not labels:
        raise ValueError(
            f"class_index={class_index!r}: expected an index from 0 to {model.config.num_classes - 1}"
            f"{' or a label' if labels else ''}"
        )
    raise ValueError(f"class_index={class_index!r}: no label of this model{did_you_mean(class_index, labels)}")
