"""A model whose operations are not known is traced as it computes, and its export says what comes out."""

import numpy as np
import paddle
import pytest
from conftest import TINY, refused
from families import close, eager

import vitlib
from vitlib.deploy import DescriptionError, describe, read_exported


class Unknown(vitlib.VisionTransformer):
    """Nobody knows its operations."""

    def forward_features(self, x, mask=None):
        return super().forward_features(x, mask) ** 2


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"global_pool": "none"}, (None, 17, 7)),
        ({"global_pool": "none", "dynamic_img_size": True}, (None, None, 7)),
        ({"num_classes": 0}, (None, 48)),
        ({"num_classes": 0, "global_pool": "none"}, (None, 17, 48)),
    ],
)
def test_the_export_says_the_shape_of_what_comes_out(options, shape, tiny, images, tmp_path):
    model, x = tiny(Unknown, **options), images()
    vitlib.export(model, tmp_path, "paddle", verify=False)
    (output,) = read_exported(tmp_path).outputs.values()
    assert output.shape == shape
    with vitlib.Predictor(tmp_path, precision="float32") as predictor:
        close(predictor.run(x), eager(model, x))
        if len(shape) == 3 and model.config.num_classes:
            with refused(ValueError, "every token"):
                predictor.predict(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    "options",
    [
        {"reg_tokens": 2, "img_size": (16, 48)},
        {"dynamic_img_size": True},
        {"img_size": (16, 48), "class_token": False, "global_pool": "avg"},
    ],
)
def test_rotary_positions_can_be_traced(options, tiny, images):
    model, x = tiny(Unknown, pos_embed="rotary", **options), images(16, 48)
    with vitlib.Predictor(model, "paddle", "float32", verify=False) as predictor:
        close(predictor.run(x), eager(model, x))


def test_a_weight_that_a_hook_sets_is_traced_as_a_call_would_set_it(tiny, images):
    model, x = tiny(), images()
    layer = model.blocks[0].mlp.fc1
    paddle.nn.utils.weight_norm(layer)
    layer.weight_g.set_value(3 * layer.weight_g)  # the weight follows when the layer is called
    with vitlib.Predictor(model, "paddle", "float32", verify=False) as predictor:
        close(predictor.run(x), eager(model, x))


@pytest.mark.parametrize("options", [{"img_size": (33, 17)}, {"dynamic_img_size": True}])
def test_a_resnet_that_pads_its_images_is_traced(options, tiny, images):
    model, x = tiny(stem_blocks=(1,), dynamic_img_pad=True, **options), images(33, 17)
    with refused(DescriptionError, "ResNet", "dynamic_img_pad=False", "engine='paddle'"):
        describe(model)
    with vitlib.Predictor(model, "paddle", "float32", verify=False) as predictor:
        close(predictor.run(x), eager(model, x))


def test_pixels_are_normalised_in_what_is_traced(tiny):
    model = tiny(Unknown)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    with vitlib.Predictor(model, "paddle", "float32", input_dtype="uint8") as predictor:
        mean, std = (np.float32(getattr(model.preprocess, name)) for name in ("mean", "std"))
        normalised = ((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
        close(predictor.run(pixels), eager(model, paddle.to_tensor(normalised)))


def test_a_traced_model_is_left_as_it_was(tiny, images, tmp_path):
    model, x = tiny(Unknown), images()
    model.train()
    vitlib.export(model, tmp_path, "paddle", verify=False)
    assert model.training
    assert model.blocks[0].training
    assert not any("forward" in vars(layer) for layer in model.sublayers(include_self=True))
    assert len(vitlib.attention_maps(model, x)) == 3


def test_weights_that_cannot_be_traced_are_refused(tiny, tmp_path):
    model = tiny(Unknown)
    model.to(dtype="float64")
    with refused(ValueError, "float64", "model.to(dtype='float32')"):
        vitlib.export(model, tmp_path, "paddle")
    with paddle.LazyGuard():
        empty = Unknown(**TINY)
    with refused(RuntimeError, "no values", "LazyGuard"):
        vitlib.export(empty, tmp_path, "paddle")
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_gives_no_tensor_is_refused(tiny, tmp_path):
    class Pair(vitlib.VisionTransformer):
        def forward(self, x, mask=None):
            return super().forward(x, mask), x

    with refused(TypeError, "Pair", "tuple", "a tensor"):
        vitlib.export(tiny(Pair), tmp_path, "paddle")
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_gives_more_logits_than_classes_is_refused(tiny, images, tmp_path):
    class Doubled(vitlib.VisionTransformer):
        def forward_head(self, tokens, pre_logits=False):
            logits = super().forward_head(tokens)
            return paddle.concat([logits, logits], axis=-1)

    model = tiny(Doubled)
    for call in (lambda: vitlib.predict(model, images()), lambda: vitlib.export(model, tmp_path, "paddle")):
        with refused(ValueError, "the logits is 14", "num_classes=7"):
            call()
    model.config = model.config.replace(num_classes=14)
    vitlib.export(model, tmp_path, "paddle", verify=False)
    assert read_exported(tmp_path).outputs["logits"].shape == (None, 14)
