"""Relevance equals its closed forms and NumPy from the paper's equations, for every kind of model."""

import numpy as np
import paddle
import pytest
from attention_models import MODELS, SMALL, Uniform, numpy_model, read_weights, subclass
from conftest import difference, refused
from PIL import Image

import vitlib


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (vitlib.VisionTransformer, {}),
        (vitlib.VisionTransformer, {"fused_attn": False, "reg_tokens": 1}),
        (vitlib.VisionTransformer, {"class_token": False, "global_pool": "avg"}),
        (vitlib.VisionTransformer, {"class_token": False, "global_pool": "map"}),
        (vitlib.VisionTransformer, {"global_pool": "map"}),
        (vitlib.VisionTransformer, {"pos_embed": "rotary", "reg_tokens": 1}),
        (vitlib.DeiT, {}),
        (subclass(Uniform), {}),
    ],
    ids=str,
)
def test_relevance_equals_numpy_with_numerical_gradients(tiny, cls, options):
    model = tiny(cls, **SMALL, **options)
    image = np.random.default_rng(2).standard_normal((3, 8, 12))
    run = numpy_model(model)
    logits, weights, pool_weights = run(image, np.zeros([2, 2, 1, 1]))
    tokens, prefix = weights.shape[-1], model.num_prefix_tokens
    x = paddle.to_tensor(image[None].astype("float32"))
    np.testing.assert_allclose(model(x)[0].numpy(), logits, rtol=1e-4, atol=1e-4)
    gradient = numerical_gradient(lambda change: run(image, change)[0], weights)
    if pool_weights is not None:
        pool_gradient = numerical_gradient(lambda change: run(image, 0 * weights, change)[0], pool_weights)
    for label in range(3):
        product = np.eye(tokens)
        for a, slope in zip(weights, gradient[label], strict=True):
            product = product + np.maximum(slope * a, 0).mean(0) @ product
        if pool_weights is None:
            evidence = read_weights(model, tokens) @ (product - np.eye(tokens))
        else:
            evidence = np.maximum(pool_gradient[label] * pool_weights, 0).mean(0)[0] @ product[prefix:]
        expected = evidence[prefix:].reshape(2, 3)
        found = vitlib.relevance(model, x, class_index=label).numpy()
        assert found.shape == (1, 2, 3)
        np.testing.assert_allclose(found[0], expected, rtol=2e-3, atol=1e-5 * expected.max())


def numerical_gradient(function, weights, step=1e-5):
    """[classes, *weights.shape]: central differences of a function of an addition to the weights."""
    found = np.zeros([3, *weights.shape])
    for place in np.ndindex(*weights.shape):
        change = np.zeros_like(weights)
        change[place] = step
        found[(slice(None), *place)] = (function(change) - function(-change)) / (2 * step)
    return found


def test_relevance_of_one_layer_of_uniform_attention_in_closed_form(tiny, images):
    """The logit is linear in what the class token reads if the MLP and the last norm are off: with A = 1/N everywhere,
    the evidence in patch m is the mean over the heads of (gradient of the class token's head · v_m)⁺ / N."""
    model = tiny(subclass(Uniform), depth=1)
    block = model.blocks[0]
    model.norm = paddle.nn.Identity()
    block.mlp.fc2.weight.set_value(paddle.zeros([192, 48]))
    x = images()
    v = block.attn.project_qkv(block.norm1(model.embed(x)))[2].numpy().astype("float64")  # [B, N, H, d]
    for label in (0, 5):
        slope = (block.attn.proj.weight.numpy().astype("float64") @ model.head.weight.numpy()[:, label]).reshape(3, 16)
        expected = np.maximum(np.einsum("hd,bmhd->bmh", slope, v), 0).mean(-1) / 17
        found = vitlib.relevance(model, x, class_index=label).numpy()
        np.testing.assert_allclose(found, expected[:, 1:].reshape(2, 4, 4), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("cls", "options"), MODELS, ids=str)
def test_relevance_has_the_grid_of_the_image_and_is_for_a_class(tiny, images, cls, options):
    model = tiny(cls, **options)
    x = images(*model.patch_embed.img_size, batch=3)
    found = vitlib.relevance(model, x, class_index=[0, 1, 2])
    assert found.shape == [3, *model.patch_embed.grid_size]
    assert float(found.min()) >= 0
    for sample in range(3):
        alone = vitlib.relevance(model, x[sample : sample + 1], class_index=sample)
        assert difference(alone[0], found[sample]) < 1e-4 * float(found.max())
    own = vitlib.relevance(model, x)
    assert difference(own, vitlib.relevance(model, x, model(x).argmax(-1))) < 1e-6 * float(own.max())
    if cls is not MODELS[-1][0]:
        other = vitlib.relevance(model, x, class_index=np.int64(3))
        assert difference(found, other) > 1e-2 * float(found.max())


def test_images_of_any_size_are_taken_where_the_model_takes_them(tiny, images):
    model = tiny(dynamic_img_size=True, dynamic_img_pad=True)
    assert vitlib.relevance(model, images(24, 61)).shape == [2, 3, 8]
    assert vitlib.attention_rollout(model, images(24, 61)).shape == [2, 25]
    with refused(ValueError, "expected images of 32 x 32"):
        vitlib.relevance(tiny(), images(24, 56))


def test_many_images_go_through_in_batches(tiny, images, monkeypatch):
    model = tiny()
    x = images(batch=7)
    rollout, evidence = (
        vitlib.attention_rollout(model, x),
        vitlib.relevance(model, x, class_index=[0, 1, 2, 3, 4, 5, 6]),
    )
    for module in ("rollout", "class_relevance"):
        monkeypatch.setattr(f"vitlib.analysis.{module}.default_batch_size", lambda model: 3)
    assert difference(vitlib.attention_rollout(model, x), rollout) < 1e-6
    found = vitlib.relevance(model, x, class_index=paddle.arange(7))
    assert difference(found, evidence) < 1e-5 * float(evidence.max())


def test_other_images_go_through_the_models_own_preprocessing_and_precision(tiny):
    model = tiny()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, [50, 70, 3], np.uint8))
    evidence, rollout = vitlib.relevance(model, image, 2), vitlib.attention_rollout(model, [image])
    assert difference(evidence, vitlib.relevance(model, model.preprocess(image), 2)) == 0
    model.to(dtype="float64")
    assert difference(vitlib.relevance(model, [image], 2).astype("float32"), evidence) < 1e-4 * float(evidence.max())
    assert difference(vitlib.attention_rollout(model, image), rollout) < 1e-5
