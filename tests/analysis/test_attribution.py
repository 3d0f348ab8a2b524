"""Rollout and relevance equal their closed forms and NumPy from the paper's equations, for every kind of model."""

import threading
from math import erf

import numpy as np
import paddle
import pytest
from conftest import difference, refused
from PIL import Image

import vitlib


def subclass(attention):
    block = type("Block", (vitlib.EncoderBlock,), {"attention_class": attention})
    return type("Net", (vitlib.VisionTransformer,), {"block_class": block})


class Uniform(vitlib.MultiHeadAttention):
    def attend(self, q, k, v, mask=None):
        return v.mean(1, keepdim=True).expand(q.shape)


MODELS = [
    (vitlib.VisionTransformer, {}),
    (vitlib.VisionTransformer, {"fused_attn": False, "reg_tokens": 2, "qk_norm": True}),
    (vitlib.VisionTransformer, {"img_size": (16, 48), "patch_size": (8, 4)}),
    (vitlib.VisionTransformer, {"class_token": False, "global_pool": "avg"}),
    (vitlib.DeiT, {"reg_tokens": 1}),
    (subclass(Uniform), {}),
]


def read_weights(model, tokens):
    """Weights [N] with which the output reads the tokens: class token, class and distillation, or mean of patches."""
    row, prefix = np.zeros(tokens), model.num_prefix_tokens
    if model.config.global_pool == "avg":
        row[prefix:] = 1
    else:
        row[: 2 if isinstance(model, vitlib.DeiT) else 1] = 1
    return row / row.sum()


# Rollout


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


# Relevance


def numpy_model(model):
    """The class logits of one image as a function of additions to the attention weights of each layer [L, H, N, N], and
    the weights themselves; float64, from the parameters alone."""
    p = {name: value.numpy().astype("float64") for name, value in model.state_dict().items()}
    config = model.config
    (rows, columns), heads, depth = model.patch_embed.patch_size, config.num_heads, config.depth

    def norm(t, name):
        t = t - t.mean(-1, keepdims=True)
        return t / np.sqrt((t * t).mean(-1, keepdims=True) + 1e-6) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(t, name):
        return t @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def run(image, additions):
        channels, height, width = image.shape
        patches = image.reshape(channels, height // rows, rows, width // columns, columns)
        patches = patches.transpose(1, 3, 0, 2, 4).reshape(-1, channels * rows * columns)
        kernel = p["patch_embed.proj.weight"]
        tokens = patches @ kernel.reshape(len(kernel), -1).T + p["patch_embed.proj.bias"]
        tokens = np.concatenate([p[name][0] for name in model.prefix_names] + [tokens]) + p["pos_embed"][0]
        weights = []
        for layer in range(depth):
            at = f"blocks.{layer}"
            qkv = linear(norm(tokens, f"{at}.norm1"), f"{at}.attn.qkv").reshape(len(tokens), 3, heads, -1)
            q, k, v = qkv.transpose(1, 2, 0, 3)
            if isinstance(model.blocks[layer].attn, Uniform):
                a = np.full([heads, len(tokens), len(tokens)], 1 / len(tokens))
            else:
                a = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))
                a /= a.sum(-1, keepdims=True)
            weights.append(a)
            mixed = ((a + additions[layer]) @ v).transpose(1, 0, 2).reshape(tokens.shape)
            tokens = tokens + linear(mixed, f"{at}.attn.proj")
            hidden = linear(norm(tokens, f"{at}.norm2"), f"{at}.mlp.fc1")
            hidden = hidden * 0.5 * (1 + np.vectorize(erf)(hidden / np.sqrt(2)))
            tokens = tokens + linear(hidden, f"{at}.mlp.fc2")
        if config.global_pool == "avg":
            return linear(norm(tokens.mean(0), "fc_norm"), "head"), np.stack(weights)
        tokens = norm(tokens, "norm")
        names = ["head", "head_dist"] if isinstance(model, vitlib.DeiT) else ["head"]
        return np.mean([linear(tokens[i], name) for i, name in enumerate(names)], axis=0), np.stack(weights)

    return run


SMALL = {"img_size": (8, 12), "patch_size": 4, "embed_dim": 8, "num_heads": 2, "depth": 2, "num_classes": 3}


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (vitlib.VisionTransformer, {}),
        (vitlib.VisionTransformer, {"fused_attn": False, "reg_tokens": 1}),
        (vitlib.VisionTransformer, {"class_token": False, "global_pool": "avg"}),
        (vitlib.DeiT, {}),
        (subclass(Uniform), {}),
    ],
    ids=str,
)
def test_relevance_equals_numpy_with_numerical_gradients(tiny, cls, options):
    model = tiny(cls, **SMALL, **options)
    image = np.random.default_rng(2).standard_normal((3, 8, 12))
    run = numpy_model(model)
    _, weights = run(image, np.zeros([2, 2, 1, 1]))
    tokens, step = weights.shape[-1], 1e-5
    expected_logits = run(image, np.zeros_like(weights))[0]
    x = paddle.to_tensor(image[None].astype("float32"))
    np.testing.assert_allclose(model(x)[0].numpy(), expected_logits, rtol=1e-4, atol=1e-4)
    gradient = np.zeros([3, *weights.shape])
    for place in np.ndindex(*weights.shape):
        change = np.zeros_like(weights)
        change[place] = step
        gradient[(slice(None), *place)] = (run(image, change)[0] - run(image, -change)[0]) / (2 * step)
    for label in range(3):
        product = np.eye(tokens)
        for a, slope in zip(weights, gradient[label], strict=True):
            product = product + np.maximum(slope * a, 0).mean(0) @ product
        evidence = read_weights(model, tokens) @ (product - np.eye(tokens))
        expected = evidence[model.num_prefix_tokens :].reshape(2, 3)
        found = vitlib.relevance(model, x, class_index=label).numpy()
        assert found.shape == (1, 2, 3)
        np.testing.assert_allclose(found[0], expected, rtol=2e-3, atol=1e-5 * expected.max())


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
    monkeypatch.setattr("vitlib.analysis.attribution.default_batch_size", lambda model: 3)
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


NOISY = {"drop_rate": 0.5, "proj_drop_rate": 0.5, "attn_drop_rate": 0.5, "drop_path_rate": 0.5, "patch_drop_rate": 0.5}


@pytest.mark.parametrize("frozen", [False, True])
def test_the_model_is_left_as_it_was_and_its_mode_does_not_matter(tiny, images, frozen):
    model, x = tiny(**NOISY), images()
    expected = vitlib.relevance(model, x, 1), vitlib.attention_rollout(model, x)
    model.train()
    model.set_recompute()
    model.blocks[1].eval()
    if frozen:
        for parameter in model.parameters():
            parameter.trainable = False
    modes = [layer.training for layer in model.sublayers(include_self=True)]
    paddle.seed(5)
    draw = paddle.rand([3])
    paddle.seed(5)
    with paddle.no_grad():
        found = vitlib.relevance(model, x, 1), vitlib.attention_rollout(model, x)
    assert difference(paddle.rand([3]), draw) == 0
    assert max(map(difference, found, expected)) < 1e-6
    assert all(result.stop_gradient for result in found)
    assert [layer.training for layer in model.sublayers(include_self=True)] == modes
    assert all(p.grad is None for p in model.parameters())
    assert x.stop_gradient
    assert not any("forward" in vars(layer) for layer in model.sublayers())


def test_paddles_own_norms_give_the_same_relevance_frozen_or_not(tiny, images):
    norm = {"norm_class": paddle.nn.LayerNorm}
    block = type("Block", (vitlib.EncoderBlock,), norm)
    net = type("Net", (vitlib.VisionTransformer,), {**norm, "block_class": block})
    expected = vitlib.relevance(tiny(), images(), 1)
    for frozen in (False, True):
        model = tiny(net)
        for parameter in model.parameters():
            parameter.trainable = not frozen
        assert difference(vitlib.relevance(model, images(), 1), expected) < 1e-6


def test_threads_get_their_own_relevance_while_others_predict(tiny, images):
    model, x = tiny(**NOISY), images()
    expected = [vitlib.relevance(model, x, label) for label in range(4)]
    probabilities = [row[0].probability for row in vitlib.predict(model, x, top_k=1)]
    model.train()
    errors = []

    def run(label):
        try:
            for _ in range(4):
                assert difference(vitlib.relevance(model, x, label), expected[label]) < 1e-6
                found = [row[0].probability for row in vitlib.predict(model, x, top_k=1)]
                np.testing.assert_allclose(found, probabilities, rtol=1e-5)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[label]) for label in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert model.training


@pytest.mark.parametrize("class_index", [7, -1, 1.5, "cat", [0], [0, 1, 2], [0, 7], True, [[0, 1]], [0.0, 1.0]])
def test_a_class_that_does_not_exist_is_refused(tiny, images, class_index):
    with refused(ValueError, "class_index", "0 to 6", "2 images"):
        vitlib.relevance(tiny(), images(), class_index)


def test_models_without_relevance_are_refused_with_the_reason(tiny, images):
    with refused(ValueError, "num_classes=0"):
        vitlib.relevance(tiny(num_classes=0), images())
    with refused(ValueError, "global_pool='none'"):
        vitlib.relevance(tiny(global_pool="none"), images())

    class Sharpened(vitlib.MultiHeadAttention):
        def forward(self, x, mask=None):
            return self.merge(self.attend(*self.project_qkv(3 * x), mask=mask))

    with refused(TypeError, "block 0", "Sharpened", "attend"):
        vitlib.relevance(tiny(subclass(Sharpened)), images())
    with refused(TypeError, "Sharpened"):
        vitlib.attention_rollout(tiny(subclass(Sharpened)), images())

    class Silent(vitlib.EncoderBlock):
        def forward(self, x, mask=None):
            return x + self.mlp(self.norm2(x))

    net = type("Net", (vitlib.VisionTransformer,), {"block_class": Silent})
    for look in (vitlib.relevance, vitlib.attention_rollout):
        with refused(ValueError, "block 0 did not call its attn"):
            look(tiny(net), images())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head_fusion": "median"}, ["head_fusion='median'", "'mean', 'max', 'min'"]),
        ({"discard_ratio": 1.0}, ["discard_ratio=1.0", "[0, 1)"]),
        ({"discard_ratio": -0.1}, ["discard_ratio=-0.1"]),
    ],
)
def test_options_that_cannot_work_are_refused(tiny, images, options, words):
    with refused(ValueError, *words):
        vitlib.attention_rollout(tiny(), images(), **options)


def test_masks_of_a_block_and_shared_blocks_are_followed(tiny, images):
    class Causal(vitlib.EncoderBlock):
        def forward(self, x, mask=None):
            return super().forward(x, paddle.tril(paddle.ones([x.shape[1]] * 2, "bool")))

    model = tiny(type("Net", (vitlib.VisionTransformer,), {"block_class": Causal}))
    rollout = vitlib.attention_rollout(model, images()).numpy()
    np.testing.assert_allclose(rollout, np.eye(17)[[0, 0]], atol=1e-6)  # the class token sees itself alone
    assert float(vitlib.relevance(model, images()).abs().max()) < 1e-6
    model = tiny(depth=2)
    twice = tiny(depth=2)
    model.blocks[1].set_state_dict(model.blocks[0].state_dict())
    twice.blocks[0].set_state_dict(model.blocks[0].state_dict())
    twice.blocks[1] = twice.blocks[0]
    assert difference(vitlib.relevance(twice, images(), 1), vitlib.relevance(model, images(), 1)) < 1e-5
    assert difference(vitlib.attention_rollout(twice, images()), vitlib.attention_rollout(model, images())) < 1e-6
