"""Whether an engine computes what the model does."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import paddle

from ..layers.patch_embed import to_pair
from ..models import VisionTransformer
from ..models.evaluation import evaluation_mode, in_full_precision
from .engines import Engine
from .exported import Exported, ExportError
from .outputs import block_of


def sample_images(model: VisionTransformer, exported: Exported, seed: int = 0) -> np.ndarray:
    """Two random images that fit the input, of the model's size where it is open."""
    rng, images = np.random.default_rng(seed), exported.images
    height, width = (given or side for given, side in zip(images.size, to_pair(model.config.img_size), strict=True))
    if images.dtype == "uint8":
        return rng.integers(0, 256, (2, height, width, images.channels), np.uint8)
    return rng.standard_normal((2, images.channels, height, width), np.float32)


def eager_outputs(model: VisionTransformer, images: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The outputs as the model itself computes them in evaluation, float32."""
    if images.dtype == np.uint8:
        record = model.preprocess
        images = (images / np.float32(255) - np.float32(record.mean)) / np.float32(record.std)
        images = images.transpose(0, 3, 1, 2)
    model = in_full_precision(model)
    x = paddle.to_tensor(np.ascontiguousarray(images)).astype(model.parameters()[0].dtype)
    with evaluation_mode(model), paddle.no_grad():
        return {name: _eager_output(model, x, name).astype("float32").numpy() for name in names}


def _eager_output(model: VisionTransformer, x: paddle.Tensor, name: str) -> paddle.Tensor:
    if name == "logits" or (name == "features" and not model.config.num_classes):
        return model(x)
    block = block_of(name)
    if name.startswith("map"):
        return model.intermediates(x, [block], reshape=True)[0]
    if name.startswith("attention"):
        tokens = model.intermediates(x, [block - 1], prefix_tokens=True)[0] if block else model.embed(x)
        attention, options = model.blocks[block].attn, model.block_options(x)
        return attention.attention_weights(model.blocks[block].norm1(tokens), **options)
    tokens = model.forward_features(x)
    return tokens if name == "tokens" else model.forward_head(tokens, pre_logits=True)


def deviation(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest expected number; infinity where numbers are not finite."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))


def largest_deviation(engine: Engine, model: VisionTransformer, exported: Exported) -> float:
    """Of an engine's outputs from the model's, on two random images. Raises `ExportError` for outputs of another shape
    than the model's or that which the export says."""
    images = sample_images(model, exported)
    found = engine.run(images)
    expected = eager_outputs(model, images, found)
    for name, output in exported.outputs.items():
        here, there, said = found[name].shape, expected[name].shape, output.shape
        if here != there or len(said) != len(here) or any(b not in (None, a) for a, b in zip(here, said, strict=True)):
            raise ExportError(
                f"{name} of {engine.name} has the shape {list(here)}, that of the model {list(there)}, and the export "
                f"says {list(said)}",
                way_out="Report it, or skip this check with verify=False",
            )
    return max(deviation(found[name], expected[name]) for name in found)
