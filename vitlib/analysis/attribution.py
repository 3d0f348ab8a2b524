"""How much each token or patch contributes to a model's output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..images.checks import check_name, check_number, is_whole
from ..layers import LayerNorm, MultiHeadAttention
from ..models import DeiT, VisionTransformer
from ..models.evaluation import evaluation_mode
from ..models.predictions import default_batch_size
from .attention import as_tensor, check_attention, check_called, diverted, intercepted

_ONE_GRADIENT = threading.Lock()  # paddle.grad keeps its state in a global: two at once end the process
_FUSIONS: dict[str, Callable[[paddle.Tensor], paddle.Tensor]] = {
    "mean": lambda weights: weights.mean(axis=1),
    "max": lambda weights: weights.max(axis=1),
    "min": lambda weights: weights.min(axis=1),
}


def attention_rollout(
    model: VisionTransformer, images: Any, *, head_fusion: str = "mean", discard_ratio: float = 0.0
) -> paddle.Tensor:
    """How much the output attends to each token through all layers [B, N]; each row sums to 1 (Abnar & Zuidema, arXiv
    2005.00928).

    The attention of a layer, with its heads fused to one matrix A, is (A + I) / 2, where I stands for the residual
    connection; rollout is the product of these matrices over the layers, and the row of it that the output reads: that
    of the class token, the mean of class and distillation token of a DeiT, the mean of the patches with
    global_pool="avg", the mean of all tokens with "none". N counts all tokens (class, distillation, registers, patches
    row by row). It does not depend on a class: for that, see `relevance`.

    Args:
        model: the model. It is left as it was, and other threads may evaluate it meanwhile.
        images: a tensor [B, C, H, W], or images as `model.preprocess` takes them (paths, Pillow images, arrays).
        head_fusion: "mean", "max" or "min" over the heads.
        discard_ratio: share of the smallest entries of each fused matrix that is set to 0, in [0, 1).

    Raises ValueError and TypeError as `attention_maps` does, and ValueError for another head_fusion or discard_ratio.
    """
    fuse = _FUSIONS[check_name("head_fusion", head_fusion, _FUSIONS)]
    discard_ratio = check_number("discard_ratio", discard_ratio, "[0, 1)")
    for index in range(len(model.blocks)):
        check_attention(model, index)
    return paddle.concat(
        [
            _rollout(model, batch, fuse, discard_ratio)
            for batch in batches(as_tensor(model, images), default_batch_size(model))
        ]
    )


def _rollout(
    model: VisionTransformer, batch: paddle.Tensor, fuse: Callable[[paddle.Tensor], paddle.Tensor], ratio: float
) -> paddle.Tensor:
    steps, called = _Product(), []

    def record(index: int, attention: Any, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        fused = fuse(attention.attention_weights(*args, **options).astype("float32"))
        matrix = _without_smallest(fused, ratio) + paddle.eye(fused.shape[-1])
        steps.multiply(index, matrix / matrix.sum(axis=-1, keepdim=True))
        called.append(index)
        return call(*args, **options)

    with evaluation_mode(model), paddle.no_grad(), intercepted(model, record):
        model.forward_features(batch)
    check_called(model, called)
    return paddle.matmul(output_row(model, steps.matrix.shape[-1]), steps.matrix).squeeze(1)


def relevance(model: VisionTransformer, images: Any, class_index: Any = None) -> paddle.Tensor:
    """Evidence for a class in each patch [B, h, w], at least 0 (Chefer et al. 2021, arXiv 2103.15679, equations 5, 6).

    With A the attention weights of a layer and ∇A the gradient of the class's logit with respect to them, the positive
    part of ∇A ⊙ A, averaged over the heads, is rolled out over the layers: R ← R + mean((∇A ⊙ A)⁺) · R, starting from
    R = I. The result is the row of R - I that the output reads (see `attention_rollout`), for the patches. The logit
    of a DeiT is the mean of both heads, as in evaluation.

    Args:
        model: the model. It is left as it was (modes, gradients, random state), and other threads may evaluate it
            meanwhile.
        images: a tensor [B, C, H, W], or images as `model.preprocess` takes them (paths, Pillow images, arrays).
        class_index: the class, as its index among the logits, for all images; or [B] of them; None for the most
            probable class of each image.

    Values are comparable within an image, not between models. Raises ValueError for a class that does not exist, for a
    model without classes and for global_pool="none", TypeError for an attention with a forward of its own, and what
    the model raises for images that do not fit.
    """
    config = model.config
    if not config.num_classes or config.global_pool == "none":
        raise ValueError(
            f"relevance needs the logits of classes, and this model has num_classes={config.num_classes} and "
            f"global_pool={config.global_pool!r}"
        )
    for index, block in enumerate(model.blocks):
        kind = type(getattr(block, "attn", None))
        if getattr(kind, "forward", None) is not MultiHeadAttention.forward:
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
    calls: list[tuple[int, Any, paddle.Tensor, Any, paddle.Tensor, paddle.Tensor]] = []

    def record(index: int, attention: Any, call: Callable[..., Any], x: paddle.Tensor, mask: Any = None) -> Any:
        q, k, v = attention.project_qkv(x)  # the steps of `MultiHeadAttention.forward`
        heads = attention.attend(q, k, v, mask=mask)
        calls.append((index, attention, x.detach(), mask, v.detach(), heads))
        return attention.merge(heads)

    batch = batch.detach()
    batch.stop_gradient = False  # so that there is a gradient where every parameter is frozen
    steps = _Product()
    with evaluation_mode(model):
        with paddle.enable_grad(), intercepted(model, record), ExitStack() as stack:
            for layer in model.sublayers():
                if type(layer).forward in (nn.LayerNorm.forward, LayerNorm.forward) and layer.weight is not None:
                    stack.enter_context(diverted(layer, _layer_norm))
            logits = model.forward_head(model.forward_features(batch))
            indices = logits.argmax(axis=-1) if classes is None else paddle.to_tensor(classes)
            score = paddle.take_along_axis(logits, indices.unsqueeze(-1), axis=-1).sum()
            check_called(model, [index for index, *_ in calls])
            with _ONE_GRADIENT:
                gradients = paddle.grad(score, [heads for *_, heads in calls], allow_unused=True)
        with paddle.no_grad():
            for (index, attention, x, mask, v, heads), gradient in zip(calls, gradients, strict=True):
                if gradient is None:  # the logit does not depend on this layer
                    gradient = paddle.zeros_like(heads)
                weights = attention.attention_weights(x, mask).astype("float32")
                # the heads are A·v, so that the gradient with respect to A is (gradient of the heads)·vᵀ
                gradient = paddle.einsum("bnhd,bmhd->bhnm", gradient, v).astype("float32")
                matrix = paddle.clip(gradient * weights, min=0).mean(axis=1)
                steps.multiply(index, matrix + paddle.eye(matrix.shape[-1]))
            evidence = steps.matrix - paddle.eye(steps.matrix.shape[-1])
            row = paddle.matmul(output_row(model, evidence.shape[-1]), evidence).squeeze(1)
    return row[:, model.num_prefix_tokens :].reshape([batch.shape[0], *model.patch_embed.grid_for(batch)])


def _layer_norm(layer: nn.LayerNorm, call: Callable[..., Any], x: paddle.Tensor) -> paddle.Tensor:
    """Layer normalisation whose gradient is right: Paddle's on a CPU (3.0 to 3.3) leaves the weight out of the gradient
    for the input, where none for the weight is asked for."""
    y = F.layer_norm(x, layer._normalized_shape, None, None, layer._epsilon) * layer.weight
    return y if layer.bias is None else y + layer.bias


class _Product:
    """The product of the layers' matrices [B, N, N], the last on the left."""

    def __init__(self) -> None:
        self.matrix: Any = None

    def multiply(self, index: int, matrix: paddle.Tensor) -> None:
        if self.matrix is not None and matrix.shape != self.matrix.shape:
            raise ValueError(
                f"block {index} attends to {matrix.shape[-1]} tokens and the one before to {self.matrix.shape[-1]}, so "
                "their attention cannot be multiplied"
            )
        self.matrix = matrix if self.matrix is None else paddle.matmul(matrix, self.matrix)


def batches(tensor: paddle.Tensor, size: int) -> Iterator[paddle.Tensor]:
    for start in range(0, max(1, tensor.shape[0]), size):
        yield tensor[start : start + size]


def output_row(model: VisionTransformer, tokens: int) -> paddle.Tensor:
    """Weights [1, N] with which the output reads the tokens after the last block."""
    prefix = model.num_prefix_tokens
    chosen = {
        "token": slice(0, 2 if isinstance(model, DeiT) else 1),
        "avg": slice(prefix, None),
        "none": slice(None),
    }[model.config.global_pool]
    row = np.zeros([1, tokens], "float32")
    row[:, chosen] = 1
    return paddle.to_tensor(row / row.sum())


def _without_smallest(matrix: paddle.Tensor, ratio: float) -> paddle.Tensor:
    """[B, N, N] with a share of the smallest entries of each sample set to 0."""
    flat = matrix.flatten(1)
    count = int(ratio * flat.shape[1])
    if not count:
        return matrix
    smallest = flat.argsort(axis=-1)[:, :count]
    return paddle.put_along_axis(flat, smallest, paddle.zeros([], flat.dtype), axis=1).reshape(matrix.shape)


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
