"""Relevance: the evidence for a class in each patch."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..images.checks import is_whole
from ..layers import LayerNorm, MultiHeadAttention
from ..layers.norm import layer_norm_in_steps
from ..layers.rotary import RotaryAttention
from ..models import VisionTransformer
from ..models.evaluation import evaluation_mode
from ..models.predictions import default_batch_size
from ..models.structure import check_classes
from .attention import as_tensor, check_called, diverted, intercepted
from .reading import LayerProduct, batches, beside_prefix, output_row, pool_diverted

_ONE_GRADIENT = threading.Lock()  # paddle.grad keeps its state in a global: two at once end the process


def relevance(model: VisionTransformer, images: Any, class_index: Any = None) -> paddle.Tensor:
    """Evidence for a class in each patch [B, h, w], at least 0 (Chefer et al. 2021, arXiv 2103.15679, equations 5, 6).

    With A the attention weights of a layer and ∇A the gradient of the class's logit with respect to them, the positive
    part of ∇A ⊙ A, averaged over the heads, is rolled out over the layers: R ← R + mean((∇A ⊙ A)⁺) · R, starting from
    R = I. The result is the row of R - I that the output reads (see `attention_rollout`), for the patches; with
    global_pool="map" it is mean((∇A ⊙ A)⁺) · R with the attention A of the pooling query. The logit of a DeiT is the
    mean of both heads, as in evaluation.

    Args:
        model: the model. It is left as it was (modes, gradients, random state), and other threads may evaluate it
            meanwhile.
        images: a tensor [B, C, H, W], or images as `model.preprocess` takes them (paths, Pillow images, arrays).
        class_index: the class, as its index among the logits, for all images; or [B] of them; None for the most
            probable class of each image.

    Values are comparable within an image, not between models. Raises ValueError for a class that does not exist, for a
    model without classes or with a head of another number of classes, and for global_pool="none", TypeError for an
    attention with a forward of its own, and what the model raises for images that do not fit.
    """
    config = model.config
    if not config.num_classes or config.global_pool == "none":
        raise ValueError(
            f"relevance needs the logits of classes, and this model has num_classes={config.num_classes} and "
            f"global_pool={config.global_pool!r}"
        )
    for index, block in enumerate(model.blocks):
        kind = type(getattr(block, "attn", None))
        if getattr(kind, "forward", None) not in (MultiHeadAttention.forward, RotaryAttention.forward):
            raise TypeError(
                f"block {index} uses {kind.__name__}, whose forward is not that of vitlib.MultiHeadAttention: derive "
                "it from that class and override project_qkv, attend or merge"
            )
    tensor = as_tensor(model, images)
    classes = _classes(class_index, tensor.shape[0], config.num_classes)
    maps, start = [], 0
    # a gradient keeps the activations of every layer, so the batches are smaller than for prediction
    for batch in batches(tensor, max(1, default_batch_size(model) // 16)):
        chosen = None if classes is None else classes[start : start + batch.shape[0]]
        maps.append(_relevance(model, batch, chosen))
        start += batch.shape[0]
    return paddle.concat(maps)


def _relevance(model: VisionTransformer, batch: paddle.Tensor, classes: np.ndarray | None) -> paddle.Tensor:
    calls: list[tuple[int, Callable[[], paddle.Tensor], paddle.Tensor, paddle.Tensor]] = []
    reading: list[paddle.Tensor] = []

    def record(
        index: int, attention: Any, call: Callable[..., Any], x: paddle.Tensor, mask: Any = None, **rotary: Any
    ) -> Any:
        q, k, v = attention.project_qkv(x, **rotary)  # the steps of `MultiHeadAttention.forward`
        heads = attention.attend(q, k, v, mask=mask)
        weights = functools.partial(attention.attention_weights, x.detach(), mask, **rotary)
        calls.append((index, weights, v.detach(), heads))
        return attention.merge(heads)

    def read(pool: Any, call: Callable[..., Any], x: paddle.Tensor) -> Any:
        result, weights = pool.pooled_with_weights(x)
        reading.append(weights)
        return result

    batch = batch.detach()
    batch.stop_gradient = False  # so that there is a gradient where every parameter is frozen
    steps = LayerProduct()
    with evaluation_mode(model):
        with paddle.enable_grad(), intercepted(model, record), pool_diverted(model, read), ExitStack() as stack:
            for layer in model.sublayers():
                if type(layer).forward in (nn.LayerNorm.forward, LayerNorm.forward) and layer.weight is not None:
                    stack.enter_context(diverted(layer, lambda layer, call, x: layer_norm_in_steps(layer, x)))
            logits = model.forward_head(model.forward_features(batch))
            check_classes(model, logits.shape[-1])
            indices = logits.argmax(axis=-1) if classes is None else paddle.to_tensor(classes)
            score = paddle.take_along_axis(logits, indices.unsqueeze(-1), axis=-1).sum()
            check_called(model, [index for index, *_ in calls])
            with _ONE_GRADIENT:
                gradients = paddle.grad(score, [heads for *_, heads in calls] + reading, allow_unused=True)
        with paddle.no_grad():
            for (index, weights_of, v, heads), gradient in zip(calls, gradients[: len(calls)], strict=True):
                if gradient is None:  # the logit does not depend on this layer
                    gradient = paddle.zeros_like(heads)
                weights = weights_of().astype("float32")
                # the heads are A·v, so that the gradient with respect to A is (gradient of the heads)·vᵀ
                gradient = paddle.einsum("bnhd,bmhd->bhnm", gradient, v).astype("float32")
                matrix = paddle.clip(gradient * weights, min=0).mean(axis=1)
                steps.multiply(index, matrix + paddle.eye(matrix.shape[-1]))
            if reading:  # the query is no token, so there is no identity of its own to take away
                evidence = steps.matrix
                row = paddle.clip(gradients[-1] * reading[0], min=0).astype("float32").mean(axis=1)
                row = beside_prefix(model, row)
            else:
                evidence = steps.matrix - paddle.eye(steps.matrix.shape[-1])
                row = output_row(model, evidence.shape[-1])
            row = paddle.matmul(row, evidence).squeeze(1)
    return row[:, model.num_prefix_tokens :].reshape([batch.shape[0], *model.patch_embed.grid_for(batch)])


def _classes(class_index: Any, count: int, num_classes: int) -> np.ndarray | None:
    """[B] indices, or None for the model's own choice."""
    if class_index is None:
        return None
    values = class_index.numpy() if isinstance(class_index, paddle.Tensor) else class_index
    values = np.asarray([values] * count if is_whole(values) else values)
    if values.ndim == 0 and values.dtype.kind in "iu":
        values = values.repeat(count)
    good = values.dtype.kind in "iu" and values.shape == (count,)
    if not good or ((values < 0) | (values >= num_classes)).any():
        raise ValueError(
            f"class_index={class_index!r}: expected an index from 0 to {num_classes - 1}, or one for each of the "
            f"{count} images"
        )
    return values.astype("int64")
