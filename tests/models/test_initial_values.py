"""Parameters are drawn anew by name, as the class draws them when it builds a model."""

import numpy as np
import paddle
import pytest
from conftest import TINY, refused

import vitlib
from vitlib.layers.initialization import SCHEMES

FULL = {
    **TINY,
    "embed_dim": 96,
    "depth": 1,
    "num_classes": 300,
    "pre_logits": 64,
    "qk_norm": True,
    "pre_norm": True,
    "init_values": 0.3,
    "reg_tokens": 2,
}


def spread(values):
    """Mean, deviation and the largest value of an array, which tell one initialiser from another."""
    return np.array([values.mean(), values.std(), np.abs(values).max()])


@pytest.mark.parametrize("options", [{}, {"pos_embed": "sincos2d"}], ids=str)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_parameter_is_drawn_from_the_distribution_that_a_new_model_has(scheme, options):
    paddle.seed(0)
    new, drawn = (vitlib.DeiT(**FULL, weight_init=scheme, **options) for _ in range(2))
    for parameter in drawn.parameters():
        parameter.set_value(paddle.full(parameter.shape, 7.0))
    objects = [id(p) for p in drawn.parameters()]
    drawn.reinitialise(name for name, _ in drawn.named_parameters())
    assert [id(p) for p in drawn.parameters()] == objects
    for name, parameter in drawn.named_parameters():
        found, expected = parameter.numpy().astype("float64"), dict(new.named_parameters())[name].numpy()
        if np.ptp(expected) == 0:
            assert (found == expected).all(), name
            continue
        scale = np.abs(expected).max()
        # means of n draws differ by 1/sqrt(n), deviations by 1/sqrt(2 n); the largest of n more
        tolerance = 6 * scale / np.sqrt(found.size)
        assert (np.abs(spread(found) - spread(expected)) < [tolerance, tolerance, 0.5 * scale]).all(), name
        assert (found != expected).any() or name == "pos_embed", name


def test_the_others_stay_and_precision_and_freezing_are_kept():
    model = vitlib.VisionTransformer(**TINY)
    model.to(dtype="float16")
    model.freeze()
    before = {name: p.numpy() for name, p in model.named_parameters()}
    model.reinitialise(["head.weight", "blocks.1.attn.qkv.weight"])
    for name, parameter in model.named_parameters():
        changed = name in ("head.weight", "blocks.1.attn.qkv.weight")
        assert (parameter.numpy() != before[name]).any() == changed, name
        assert parameter.dtype == paddle.float16
    assert not model.blocks[1].attn.qkv.weight.trainable


def test_parameters_without_values_get_them_whatever_their_names():
    class Prompted(vitlib.VisionTransformer):
        def __init__(self, config=None, *, prompts, **overrides):
            super().__init__(config, **overrides)
            start = paddle.nn.initializer.Constant(0.25)
            self.prompt = self.create_parameter([prompts, 48], attr=paddle.ParamAttr(initializer=start))

    with paddle.LazyGuard():
        model = Prompted(prompts=3, **TINY)
    model.reinitialise(["prompt", "head.weight"])
    assert (model.prompt.numpy() == 0.25).all()
    assert float(model.head.weight.std()) == pytest.approx(0.02, rel=0.2)
    assert not model.norm.weight._is_initialized()
    with refused(ValueError, "'prompt'", "Prompted"):
        model.reinitialise(["prompt"])
    with refused(ValueError, "'head.wieght'", "did you mean 'head.weight'"):
        model.reinitialise(["head.wieght"])
