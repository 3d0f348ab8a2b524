"""DeiT: two tokens, two heads, one forward pass (arXiv 2012.12877)."""

import numpy as np
import paddle
import pytest
from conftest import TINY, difference, refused

import vitlib


@pytest.fixture
def model(tiny):
    return tiny(vitlib.DeiT)


def test_training_gives_the_pair_and_evaluation_its_mean(model, images):
    pair = model(images(), return_heads=True)
    assert isinstance(pair, vitlib.DeiTLogits)
    mean = model(images())
    assert difference(mean, (pair.logits + pair.distillation_logits) / 2) < 1e-6
    assert difference(pair.logits, pair.distillation_logits) > 1e-2
    model.train()
    trained = model(images())
    assert isinstance(trained, vitlib.DeiTLogits)
    for found, expected in zip(trained, pair, strict=True):
        assert difference(found, expected) == 0


def test_each_head_reads_its_own_token(model, images):
    tokens = model.forward_features(images())
    pair = model.forward_head(tokens, return_heads=True)
    assert difference(pair.logits, model.head(tokens[:, 0])) == 0
    assert difference(pair.distillation_logits, model.head_dist(tokens[:, 1])) == 0


def test_the_token_order_is_class_distillation_registers_patches(tiny, images):
    model = tiny(vitlib.DeiT, pos_embed="none", reg_tokens=3)
    tokens = model.embed(images())
    assert list(tokens.shape) == [2, 1 + 1 + 3 + 16, 48]
    expected = [model.cls_token, model.dist_token, model.reg_token, model.patch_embed(images())]
    start = 0
    for part in expected:
        assert difference(tokens[:, start : start + part.shape[1]], part) == 0
        start += part.shape[1]
    assert list(model(images()).shape) == [2, 7]


@pytest.mark.parametrize(("head", "other"), [("logits", "head_dist"), ("distillation_logits", "head")])
def test_the_loss_on_one_head_leaves_the_other_alone(model, images, head, other):
    model.train()
    getattr(model(images()), head).sum().backward()
    for name, parameter in model.named_parameters():
        if name in (f"{other}.weight", f"{other}.bias"):
            assert parameter.grad is None or float(parameter.grad.abs().max()) == 0, name
        else:
            assert float(parameter.grad.abs().max()) > 0, name


def test_both_heads_are_reset_and_removed(model, images):
    model.reset_head(5)
    assert [list(p.shape) for p in (model.head.weight, model.head_dist.weight)] == [[48, 5]] * 2
    assert list(model(images()).shape) == [2, 5]
    assert difference(model.head.weight, model.head_dist.weight) > 1e-3
    tokens = model.forward_features(images())
    model.reset_head(0)
    assert difference(model(images()), (tokens[:, 0] + tokens[:, 1]) / 2) < 1e-6
    assert not any(name.startswith("head") for name in model.state_dict())


def test_a_subclass_may_pool_otherwise(tiny, images):
    class Swapped(vitlib.DeiT):
        def pool(self, tokens):
            return tokens[:, [1, 0]]

    plain, swapped = tiny(vitlib.DeiT), tiny(Swapped)
    tokens = plain.forward_features(images())
    pair = swapped.forward_head(tokens, return_heads=True)
    assert difference(pair.logits, plain.head(tokens[:, 1])) < 1e-6
    assert difference(pair.distillation_logits, plain.head_dist(tokens[:, 0])) < 1e-6


@pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])
def test_a_new_head_is_in_the_mode_of_the_model(cls):
    class Dropping(cls):
        def make_head(self):
            return paddle.nn.Sequential(paddle.nn.Dropout(0.5), super().make_head())

    model = Dropping(img_size=16, patch_size=8, embed_dim=12, depth=1, num_heads=2, num_classes=3)
    for set_mode, training in ((model.eval, False), (model.train, True)):
        set_mode()
        model.reset_head(4)
        assert all(layer.training == training for layer in model.sublayers(include_self=True))


def test_a_deit_without_the_option_sets_it():
    model = vitlib.DeiT(**TINY)
    assert model.config.distillation_token
    assert model.config.num_prefix_tokens == 2
    config = vitlib.ViTConfig(**TINY)
    assert vitlib.DeiT(config).config == config.replace(distillation_token=True)


def test_a_deit_has_two_rows_and_one_head_more_than_a_vit():
    """5,910,800 - 5,717,416 for DeiT-Ti: a token, a position and a head of 1,000 classes."""
    tiny, distilled = (vitlib.count(name).parameters for name in ("DeiT-Ti", "DeiT-Ti⚗"))
    assert distilled - tiny == 192 + 192 + (192 + 1) * 1000


def test_pooling_that_leaves_no_token_for_a_head_is_refused():
    for pool in ("avg", "none"):
        with refused(ValueError, "distillation_token", pool):
            vitlib.DeiT(**TINY, global_pool=pool)


def test_pre_logits_and_dropout_stand_before_both_heads(tiny, images):
    model = tiny(vitlib.DeiT, pre_logits=20)
    pair = model(images(), return_heads=True)
    tokens = model.forward_features(images())
    assert difference(pair.distillation_logits, model.head_dist(model.pre_logits(tokens[:, 1]))) == 0
    dropping = tiny(vitlib.DeiT, drop_rate=0.5)
    dropping.train()
    first, second = dropping(images()), dropping(images())
    assert difference(first.logits, second.logits) > 1e-3
    assert difference(first.distillation_logits, second.distillation_logits) > 1e-3


def test_a_mask_reaches_the_blocks(model, images):
    mask = paddle.to_tensor(np.tril(np.ones([18, 18], bool)))
    changed = model(images(), mask=mask, return_heads=True)
    assert difference(changed.logits, model(images(), return_heads=True).logits) > 1e-3
    # under a causal mask the class token sees itself alone, so that every image gives the same
    assert difference(changed.logits[0], changed.logits[1]) < 1e-5
