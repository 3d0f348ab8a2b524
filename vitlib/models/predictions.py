"""From images to class names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F

from ..images import ImageError
from ..images.checks import check_count
from ..images.progress import with_progress
from ..images.sources import as_sources
from .evaluation import evaluation_mode
from .structure import check_classes
from .vision_transformer import VisionTransformer

_BATCH_BYTES = 1 << 28  # of the largest tensors of a block, for the default batch size
_LARGEST_BATCH = 64


class Prediction(NamedTuple):
    """A class with its probability in [0, 1]; index is its place among the logits."""

    label: str
    probability: float
    index: int


def predict(
    model: VisionTransformer,
    images: Any,
    top_k: int = 5,
    *,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> list[list[Prediction]]:
    """The top_k most probable classes of each image, the most probable first: one list per image.

    The model runs in evaluation mode without gradients, and is left in the mode that it was in. Several threads may
    call it at once (see `vitlib.models.evaluation.evaluation_mode`).

    Args:
        model: the model; labels are `model.labels`, or "class 17" where it has none.
        images: an image as `model.preprocess` takes it (path, bytes, open file, Pillow image, uint8 array); a list or
            another iterable of them, such as a generator or an array [B, H, W, C]; a folder, whose image files at any
            depth are taken in the order of their paths; or a tensor [B, C, H, W] that is preprocessed already.
        top_k: number of classes; all of them where the model has fewer.
        batch_size: images that the model gets at once, from which memory follows. None: as many as keep the largest
            tensors of a block below 256 MiB, at most 64.
        progress: whether to show progress on standard error, with tqdm where it is installed. None: on a terminal, for
            more than one batch.

    Raises ValueError for a model without classes, labels or a head that do not fit, and a top_k or batch_size below 1;
    `ImageError` for a folder without images, and what `Preprocess` and the model raise for an image.
    """
    classes = model.config.num_classes
    if not classes:
        raise ValueError("this model has num_classes=0 and gives features; reset_head(n) gives it a head")
    if model.config.global_pool == "none":
        raise ValueError("global_pool='none' classifies every token; build the model with 'token' or 'avg'")
    check_labels(model)
    top_k = min(check_count("top_k", top_k, 1), classes)
    batch_size = default_batch_size(model) if batch_size is None else check_count("batch_size", batch_size, 1)
    rows: list[list[Prediction]] = []
    with evaluation_mode(model), paddle.no_grad():
        batches, total = _batches(model, images, batch_size)
        for batch in with_progress(batches, lambda batch: batch.shape[0], total, progress):
            logits = model(batch)
            check_classes(model, logits.shape[-1])
            values, indices = F.softmax(logits, axis=-1).topk(top_k, axis=-1)
            for row, places in zip(values.tolist(), indices.tolist(), strict=True):
                rows.append([Prediction(_label(model, i), p, i) for p, i in zip(row, places, strict=True)])
    return rows


def check_labels(model: VisionTransformer) -> None:
    """Raises ValueError for labels that are not as many as the classes."""
    labels, classes = model.labels, model.config.num_classes
    if labels is not None and len(labels) != classes:
        raise ValueError(f"model.labels has {len(labels)} names for {classes} classes; set it anew, or to None")


def _label(model: VisionTransformer, index: int) -> str:
    return model.labels[index] if model.labels is not None else f"class {index}"


def default_batch_size(model: VisionTransformer) -> int:
    """As many images as keep the largest tensors of a block below 256 MiB in float32, at most 64."""
    config = model.config
    tokens = math.prod(model.patch_embed.grid_size) + config.num_prefix_tokens
    hidden = tokens * config.embed_dim * (config.mlp_ratio + 3)  # of the MLP; input, norm and output of the block
    attention = tokens * (2 * config.num_heads * tokens + 4 * config.embed_dim)  # logits and weights; q, k, v, output
    return max(1, min(_LARGEST_BATCH, int(_BATCH_BYTES / (4 * max(hidden, attention)))))


def _batches(model: VisionTransformer, images: Any, size: int) -> tuple[Iterator[paddle.Tensor], int | None]:
    """Tensors [B, C, H, W] of at most `size` images, and the number of images where it is known."""
    dtype = model.parameters()[0].dtype
    if isinstance(images, paddle.Tensor):
        if "float" in str(images.dtype):
            images = images.astype(dtype)
        starts = range(0, max(1, images.shape[0]), size)
        return (images[start : start + size] for start in starts), images.shape[0]
    sources, total = as_sources(images)
    # one image, and the files of a folder, are named by their errors; those of a list are told by their place, too
    arrays = _arrays(model, sources, with_place=sources is images)
    return _tensors(arrays, size, dtype), total


def _arrays(model: VisionTransformer, images: Iterable[Any], with_place: bool) -> Iterator[np.ndarray]:
    for index, image in enumerate(images):
        try:
            array = model.preprocess.array(image)
        except ImageError as error:
            if not with_place:
                raise
            raise ImageError(f"item {index}, counted from 0: {error}") from error
        yield array


def _tensors(arrays: Iterator[np.ndarray], size: int, dtype: paddle.dtype) -> Iterator[paddle.Tensor]:
    first = True
    while batch := list(islice(arrays, size)):
        yield paddle.to_tensor(np.stack(batch)).astype(dtype)
        first = False
    if first:
        raise ImageError("there are no images; expected at least one")
