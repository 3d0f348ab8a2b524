"""Traced models compute the same, train every parameter, and leave sizes open where they should."""

import copy
import pickle
import warnings

import numpy as np
import paddle
import pytest
from conftest import TINY, difference
from paddle.static import InputSpec

import vitlib

SMALL = {"depth": 1}
TINY = {name: value for name, value in TINY.items() if name != "depth"}
BOTH = pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])


def heads(output):
    return list(output) if isinstance(output, (tuple, list)) else [output]


def save_and_load(model, tmp_path, spec):
    path = str(tmp_path / "model")
    paddle.jit.save(model, path, input_spec=[InputSpec(spec, "float32", "image")])
    return paddle.jit.load(path)


@BOTH
def test_a_traced_model_computes_the_same_in_evaluation(tiny, images, cls):
    model = tiny(cls, **SMALL)
    expected = [model(images()), model(images(batch=3))]
    traced = paddle.jit.to_static(model, full_graph=True)
    assert difference(traced(images()), expected[0]) < 1e-5
    assert difference(traced(images(batch=3)), expected[1]) < 1e-5


@pytest.mark.parametrize(
    ("cls", "full_graph", "first"),
    [
        (vitlib.DeiT, False, "eval"),  # by default Paddle traces bytecode, and remembers what it traced in evaluation
        (vitlib.DeiT, True, "eval"),
        (vitlib.VisionTransformer, True, "train"),
    ],
)
def test_a_traced_model_gives_every_parameter_its_gradient(tiny, images, cls, full_graph, first):
    options = {**SMALL, "init_values": 0.5, "qk_norm": True}
    model, traced = tiny(cls, **options), tiny(cls, **options)
    traced = paddle.jit.to_static(traced, full_graph=full_graph)
    if first == "eval":
        assert difference(traced(images()), model(images())) < 1e-5
    for net in (model, traced):
        net.train()
        sum((head**2).sum() for head in heads(net(images()))).backward()
    expected = {name: p.grad.numpy() for name, p in model.named_parameters()}
    largest = max(np.abs(grad).max() for grad in expected.values())
    for name, parameter in traced.named_parameters():
        assert parameter.grad is not None, name
        assert np.abs(parameter.grad.numpy() - expected[name]).max() < 1e-5 * largest, name


def test_models_of_different_widths_and_batches_can_be_traced_by_default_one_after_the_other(tiny):
    # what Paddle's tracer has seen with two sizes it leaves open, and then meets operations that need it closed
    for embed_dim, num_heads, patch_size in ((48, 3, 8), (64, 4, 8), (48, 3, 16)):
        changes = {"embed_dim": embed_dim, "num_heads": num_heads, "patch_size": patch_size}
        model = tiny(vitlib.VisionTransformer, **SMALL, **changes)
        traced = paddle.jit.to_static(copy.deepcopy(model))
        for batch in (2, 3, 5):
            x = paddle.randn([batch, 3, 32, 32])
            for net in (model, traced):
                net.train()
                net.clear_gradients()
                (net(x) ** 2).sum().backward()
            for expected, parameter in zip(model.parameters(), traced.parameters(), strict=True):
                assert difference(parameter.grad, expected.grad) < 1e-5 * max(1, float(expected.grad.abs().max()))


@BOTH
def test_a_saved_model_takes_any_batch(tiny, images, cls, tmp_path):
    model = tiny(cls, **SMALL)
    loaded = save_and_load(model, tmp_path, [None, 3, 32, 32])
    for batch in (1, 2, 5):
        assert difference(loaded(images(batch=batch)), model(images(batch=batch))) < 1e-5


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (vitlib.VisionTransformer, {}),
        (vitlib.VisionTransformer, {"position_resize": "dino", "no_embed_class": True}),
        (vitlib.VisionTransformer, {"position_resize": "bilinear", "dynamic_img_pad": True}),
        (vitlib.VisionTransformer, {"pos_embed": "sincos2d", "class_token": False, "global_pool": "avg"}),
        (vitlib.DeiT, {"position_resize": "torchvision", "reg_tokens": 2, "fused_attn": False}),
    ],
    ids=str,
)
def test_a_saved_model_takes_any_height_and_width(tiny, images, cls, options, tmp_path):
    model = tiny(cls, **SMALL, dynamic_img_size=True, **options)
    loaded = save_and_load(model, tmp_path, [None, 3, None, None])
    sizes = [(32, 32), (16, 64), (56, 40)]
    if "dynamic_img_pad" in options:
        sizes += [(31, 9), (5, 33)]
    for height, width in sizes:
        x = images(height, width, batch=1)
        assert difference(loaded(x), model(x)) < 1e-5, (height, width)


def test_a_traced_model_of_dynamic_size_computes_the_same(tiny, images):
    model = tiny(**SMALL, dynamic_img_size=True)
    sizes = [(32, 32), (16, 64), (48, 24)]
    expected = [model(images(*size)) for size in sizes]
    traced = paddle.jit.to_static(model, full_graph=True, input_spec=[InputSpec([None, 3, None, None])])
    for size, logits in zip(sizes, expected, strict=True):
        assert difference(traced(images(*size)), logits) < 1e-5


def test_patches_are_dropped_by_their_number_at_run_time(tiny, images):
    model = tiny(**SMALL, dynamic_img_size=True, patch_drop_rate=0.5)
    model.train()
    traced = paddle.jit.to_static(
        model.forward_features, full_graph=True, input_spec=[InputSpec([None, 3, None, None])]
    )
    for height, width in ((32, 32), (16, 64), (48, 24)):
        patches = (height // 8) * (width // 8)
        assert traced(images(height, width)).shape[1] == 1 + patches // 2


def test_a_fixed_model_given_an_open_size_says_so_in_a_sentence(tiny, tmp_path):
    with pytest.raises(
        Exception, match=r"images of 32 x 32, found.*leaves height or width open.*dynamic_img_size=True"
    ):
        save_and_load(tiny(**SMALL), tmp_path, [None, 3, None, None])


def test_a_model_still_runs_step_by_step_after_it_was_saved(tiny, images, tmp_path):
    model = tiny(**SMALL)
    expected = model(images())
    save_and_load(model, tmp_path, [None, 3, 32, 32])
    assert difference(model(images()), expected) == 0
    model.train()
    model(images()).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_overridden_attention_is_traced_too(tiny, images, tmp_path):
    class Uniform(vitlib.MultiHeadAttention):
        def attend(self, q, k, v, mask=None):
            return v.mean(1, keepdim=True).expand_as(q)

    class Block(vitlib.EncoderBlock):
        attention_class = Uniform

    class Net(vitlib.VisionTransformer):
        block_class = Block

    model = tiny(Net, **SMALL)
    loaded = save_and_load(model, tmp_path, [None, 3, 32, 32])
    assert difference(loaded(images()), model(images())) < 1e-5


def from_file(tmp_path):
    vitlib.VisionTransformer(**TINY, **SMALL).save_pretrained(tmp_path / "saved")
    return vitlib.from_pretrained(tmp_path / "saved")


def with_a_fresh_head(tmp_path):
    with paddle.LazyGuard():
        model = vitlib.VisionTransformer(**TINY, **SMALL)
        model.reset_head(5)
    for parameter in model.parameters():
        parameter.initialize()
    return model


def reset_after_loading(tmp_path):
    model = from_file(tmp_path)
    model.reset_head(5)
    return model


@pytest.mark.parametrize(
    ("make", "way"),
    [
        (from_file, "jit.save"),
        (from_file, "to_static"),
        (from_file, "to_static, full graph"),
        (from_file, "Model.save"),
        (with_a_fresh_head, "jit.save"),
        (reset_after_loading, "jit.save"),
        (lambda path: copy.deepcopy(from_file(path)), "jit.save"),
        (lambda path: pickle.loads(pickle.dumps(from_file(path))), "to_static, full graph"),
    ],
    ids=["", "to_static", "full graph", "Model.save", "LazyGuard", "reset_head", "deepcopy", "pickle"],
)
def test_a_filled_model_is_traced_before_it_was_called_once(images, make, way, tmp_path):
    model = make(tmp_path)
    model.eval()
    x, path = images(), str(tmp_path / "traced")
    spec = [InputSpec([None, 3, 32, 32], "float32", "image")]
    if way == "jit.save":
        paddle.jit.save(model, path, input_spec=spec)
        found = paddle.jit.load(path)(x)
    elif way == "Model.save":
        paddle.Model(model, inputs=spec).save(path, training=False)
        found = paddle.jit.load(path)(x)
    else:
        found = paddle.jit.to_static(copy.deepcopy(model), full_graph="full" in way)(x)
    assert difference(found, model(x)) < 1e-5


@pytest.mark.parametrize("way", ["jit.save", "to_static"])
def test_a_deit_that_is_traced_in_training_mode_says_so(tiny, images, way, tmp_path):
    model = tiny(vitlib.DeiT, **SMALL)

    def trace(model):
        if way == "jit.save":
            return save_and_load(model, tmp_path, [None, 3, 32, 32])
        return paddle.jit.to_static(model, full_graph=True)(images())

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "Tensor do not have 'place'")
        trace(copy.deepcopy(model))
    model.train()
    with pytest.warns(UserWarning, match=r"training mode.*model\.eval\(\)"):
        trace(model)
