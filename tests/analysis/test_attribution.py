"""Rollout and relevance leave a model as it was, serve threads at once, and refuse what they cannot show."""

import threading

import numpy as np
import paddle
import pytest
from attention_models import subclass
from conftest import difference, refused

import vitlib

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
