"""A layer that computes something else than its class says is followed or refused, never left out."""

import types

import paddle
import pytest
from conftest import TINY, refused
from families import close, computed, eager
from paddle import nn

import vitlib
from vitlib.deploy import DescriptionError, describe

D = TINY["embed_dim"]


def changed(output):
    return output + 0.5 * paddle.arange(output.shape[-1]).astype(output.dtype)


def put_hook(layer):
    layer.register_forward_post_hook(lambda layer, inputs, output: changed(output))


def derive(layer):
    kind = type(layer)
    forward = {"forward": lambda self, *args, **options: changed(kind.forward(self, *args, **options))}
    layer.__class__ = type("Foreign", (kind,), forward)


def replace_forward(layer):
    forward = layer.forward
    layer.forward = lambda *args, **options: changed(forward(*args, **options))


@pytest.mark.parametrize("change", [put_hook, derive, replace_forward])
@pytest.mark.parametrize(
    "options",
    [
        {"init_values": 0.5, "qk_norm": True, "pre_norm": True, "pre_logits": 20},
        {"model_class": vitlib.DeiT},
        {"model_class": vitlib.DeiT, "num_classes": 0},
        {"global_pool": "map", "gated_mlp": True},
        {"global_pool": "avg", "class_token": False},
        {"pos_embed": "rotary"},
        {"conv_stem": (6, 8, 10)},
        {"stem_blocks": (1,)},
    ],
)
def test_a_change_of_any_layer_is_refused(options, change, tiny):
    options = {"depth": 1, **options}
    make = options.pop("model_class", vitlib.VisionTransformer)
    unseen = []
    for name, _ in tiny(make, **options).named_sublayers():
        model = tiny(make, **options)
        change(dict(model.named_sublayers())[name])
        try:
            describe(model, "logits" if model.config.num_classes else "features")
        except DescriptionError:
            continue
        unseen.append(name)
    # a list that is not called, and a layer that is called when the graph is made
    assert set(unseen) <= {"blocks", "attn_pool.q"}


@pytest.mark.parametrize(
    ("part", "method"),
    [("", "pool"), ("", "embed"), ("blocks.0.attn", "attend"), ("blocks.0.attn", "merge"), ("attn_pool", "project")],
)
def test_a_method_replaced_on_an_instance_is_refused(part, method, tiny):
    model = tiny(global_pool="map")
    layer = dict(model.named_sublayers(include_self=True))[part]
    setattr(layer, method, types.MethodType(lambda self, *args, **options: None, layer))
    with refused(DescriptionError, type(layer).__name__, method, "was replaced", "engine='paddle'"):
        describe(model)


def test_methods_that_compute_nothing_may_be_replaced(tiny, images):
    model, x = tiny(), images()
    model.train = lambda: model
    model.no_weight_decay = set
    close(computed(describe(model), x), eager(model, x))


def test_a_model_that_to_static_has_run_is_described(tiny, images):
    model, x = tiny(depth=1), images()
    expected = eager(model, x)
    paddle.jit.to_static(model)(x)
    close(computed(describe(model), x), expected)


@pytest.mark.parametrize(
    "projection",
    [
        lambda: nn.Conv2D(3, D, 12, stride=8, padding=2),
        lambda: nn.Conv2D(3, D, 7, stride=8),
        lambda: nn.Conv2D(3, D, 4, stride=8, dilation=2),
        lambda: nn.Conv2D(3, D, 8, stride=8, groups=3),
        lambda: nn.Conv2D(3, D, 8, stride=8, padding="SAME"),
        lambda: nn.Sequential(nn.Conv2D(3, D, 8, stride=8)),
    ],
)
def test_a_patch_projection_that_cuts_other_patches_is_refused(projection, tiny):
    model = tiny()
    model.patch_embed.proj = projection()
    with refused(DescriptionError, "engine='paddle'"):
        describe(model)


def test_a_patch_projection_of_another_kernel_is_traced(tiny, images):
    model, x = tiny(), images()
    model.patch_embed.proj = nn.Conv2D(3, D, 12, stride=8, padding=2)
    with vitlib.Predictor(model, "paddle", "float32", verify=False) as predictor:
        close(predictor.run(x), eager(model, x))


def test_a_convolutional_stem_computes_with_the_convolution_and_epsilon_that_it_has(tiny, images):
    model, x = tiny(conv_stem=(6, 8, 10)), images()
    layer = model.patch_embed.stem[0]
    layer.conv = nn.Conv2D(3, 6, 5, stride=2, padding=2)  # with a bias
    layer.norm = nn.BatchNorm2D(6, epsilon=0.5)
    layer.norm._mean.set_value(paddle.linspace(-1, 1, 6))
    layer.norm._variance.set_value(paddle.linspace(0.1, 2, 6))
    model.eval()
    close(computed(describe(model), x), eager(model, x))


def test_a_stem_of_other_layers_is_refused(tiny):
    model = tiny(conv_stem=(6, 8, 10))
    model.patch_embed.stem[1].norm = nn.GroupNorm(2, 8)
    with refused(DescriptionError, "GroupNorm"):
        describe(model)


@pytest.mark.parametrize("place", ["head_drop", "pos_drop"])
def test_a_dropout_that_scales_in_evaluation_is_refused(place, tiny):
    model = tiny()
    setattr(model, place, nn.Dropout(0.5, mode="downscale_in_infer"))
    with refused(DescriptionError, "downscale_in_infer", "upscale_in_train"):
        describe(model)


def test_a_to_graph_of_a_whole_model_is_refused_since_it_would_not_be_called(tiny):
    class Net(vitlib.VisionTransformer):
        def forward_features(self, x, mask=None):
            return super().forward_features(x, mask) * 2

        def to_graph(self, graph, x):
            return x

    with refused(DescriptionError, "Net", "to_graph", "layers", "engine='paddle'"):
        describe(tiny(Net))
