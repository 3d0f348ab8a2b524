"""Multiply-accumulates equal the sum written out by hand; published figures are checked beside the presets."""

import paddle
import pytest
from conftest import TINY, refused

import vitlib


def by_hand(*, patches, prefix=1, width=48, depth=3, hidden=192, classes=7, patch_inputs=3 * 8 * 8, heads=1):
    """ViT paper, §3.1: E, then per block q/k/v, two products of attention, output, two layers; then the head."""
    n = patches + prefix
    block = n * width * 3 * width + 2 * n * n * width + n * width * width + 2 * n * width * hidden
    return patches * patch_inputs * width + depth * block + heads * width * classes


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"patches": 16}),
        ({"img_size": (16, 64), "patch_size": (8, 4)}, {"patches": 32, "patch_inputs": 3 * 8 * 4}),
        ({"in_chans": 1, "mlp_ratio": 2.0}, {"patches": 16, "patch_inputs": 64, "hidden": 96}),
        ({"reg_tokens": 4}, {"patches": 16, "prefix": 5}),
        ({"class_token": False, "global_pool": "avg"}, {"patches": 16, "prefix": 0}),
        ({"num_classes": 0}, {"patches": 16, "classes": 0}),
        ({"global_pool": "none"}, {"patches": 16, "heads": 17}),
        ({"img_size": 30, "dynamic_img_pad": True}, {"patches": 16}),
        ({"init_values": 0.1, "qk_norm": True, "pre_norm": True}, {"patches": 16}),
    ],
    ids=str,
)
def test_multiply_adds_are_those_of_the_equations(options, expected):
    model = vitlib.VisionTransformer(**{**TINY, **options})
    assert vitlib.count(model).macs == by_hand(**expected)
    assert vitlib.count(model).parameters == sum(p.size for p in model.parameters())


def test_both_heads_of_a_deit_are_counted():
    assert vitlib.count(vitlib.DeiT(**TINY)).macs == by_hand(patches=16, prefix=2, heads=2)


def test_another_size_is_counted_without_touching_the_model():
    model = vitlib.VisionTransformer(**TINY)
    assert vitlib.count(model, img_size=(64, 16)).macs == by_hand(patches=16)
    assert vitlib.count(model, img_size=64).macs == by_hand(patches=64)
    assert vitlib.count(model, img_size=64).parameters == vitlib.count(model).parameters
    assert model.config.img_size == 32
    with refused(ValueError, "30 x 30", "multiple of 8"):
        vitlib.count(model, img_size=30)


def test_the_published_figure_at_384_follows_from_the_preset_at_224():
    assert abs(vitlib.count("vit_base_patch16_224", img_size=384).macs / 1e9 - 55.484) < 6e-4


def test_an_unfilled_model_is_counted_without_being_filled():
    with paddle.LazyGuard():
        model = vitlib.VisionTransformer(**TINY)
    assert vitlib.count(model) == vitlib.count(vitlib.VisionTransformer(**TINY))
    assert not any(p._is_initialized() for p in model.parameters())


def test_a_count_reads_as_a_sentence():
    assert str(vitlib.count("ViT-B/16")) == "86,567,656 parameters, 17.564 GMACs"


@pytest.mark.parametrize("model", [None, 3, paddle.nn.Linear(2, 2)], ids=["None", "int", "Linear"])
def test_what_is_no_model_is_refused(model):
    with refused(TypeError, "VisionTransformer", type(model).__name__):
        vitlib.count(model)


def test_a_layer_before_both_heads_of_a_deit_is_counted_for_each():
    width = 9
    expected = by_hand(patches=16, prefix=2, heads=0) + 2 * 48 * width + 2 * width * 7
    assert vitlib.count(vitlib.DeiT(**TINY, pre_logits=width)).macs == expected
