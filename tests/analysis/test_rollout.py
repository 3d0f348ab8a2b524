"""Rollout equals its closed forms and NumPy from the paper's equations, for every kind of model."""

import numpy as np
import paddle
import pytest
from attention_models import MODELS, SMALL, Uniform, numpy_model, read_weights, subclass

import vitlib


@pytest.mark.parametrize(
    ("cls", "options", "ratio"),
    [(*model, ratio) for model in MODELS[:-1] for ratio in (0.0, 0.3, 0.9)] + [(*MODELS[-1], 0.0)],
    ids=str,
)
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rollout_is_the_product_of_the_layers_with_their_residual_connection(tiny, images, cls, options, fusion, ratio):
    model = tiny(cls, **options)
    x = images(*model.patch_embed.img_size)
    found = vitlib.attention_rollout(model, x, head_fusion=fusion, discard_ratio=ratio).numpy()
    maps = [layer.numpy().astype("float64") for layer in vitlib.attention_maps(model, x)]
    tokens = maps[0].shape[-1]
    for sample in range(2):
        product = np.eye(tokens)
        for layer in maps:
            fused = getattr(np, fusion)(layer[sample], axis=0)
            smallest = np.argsort(fused, axis=None)[: int(ratio * tokens * tokens)]
            fused.flat[smallest] = 0
            matrix = fused + np.eye(tokens)
            product = matrix / matrix.sum(1, keepdims=True) @ product
        np.testing.assert_allclose(found[sample], read_weights(model, tokens) @ product, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_rollout_of_uniform_attention_in_closed_form(tiny, images, depth):
    """(U + I) / 2 with U = 1/N everywhere has the power 2⁻ᴸ I + (1 - 2⁻ᴸ) U, since U² = U."""
    found = vitlib.attention_rollout(tiny(subclass(Uniform), depth=depth), images()).numpy()
    expected = np.full(17, (1 - 2.0**-depth) / 17)
    expected[0] += 2.0**-depth
    np.testing.assert_allclose(found, [expected] * 2, rtol=1e-5)


def test_rollout_of_a_model_without_pooling_is_that_of_the_mean_token(tiny, images):
    found = vitlib.attention_rollout(tiny(subclass(Uniform), global_pool="none"), images()).numpy()
    np.testing.assert_allclose(found, 1 / 17, rtol=1e-5)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("options", [{"class_token": False}, {}], ids=str)
def test_rollout_with_attention_pooling_is_read_by_the_pooling_query(tiny, options, fusion):
    model = tiny(**SMALL, global_pool="map", **options)
    image = np.random.default_rng(2).standard_normal((3, 8, 12))
    _, weights, pool_weights = numpy_model(model)(image, np.zeros([2, 2, 1, 1]))
    tokens, fuse = weights.shape[-1], getattr(np, fusion)
    product = np.eye(tokens)
    for layer in weights:
        matrix = fuse(layer, axis=0) + np.eye(tokens)
        product = matrix / matrix.sum(1, keepdims=True) @ product
    read = np.concatenate([np.zeros(model.num_prefix_tokens), fuse(pool_weights, axis=0)[0]])
    found = vitlib.attention_rollout(model, paddle.to_tensor(image[None].astype("float32")), head_fusion=fusion)
    np.testing.assert_allclose(found[0].numpy(), read / read.sum() @ product, rtol=1e-4)
