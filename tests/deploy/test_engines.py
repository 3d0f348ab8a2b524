"""Every engine gives what the eager model gives, for every family, size and batch."""

import numpy as np
import paddle
import pytest
from conftest import refused
from families import EVERY_ENGINE, EVERY_FAMILY, build, close, eager, need

import vitlib
from vitlib.deploy.cpu import has_bfloat16

BFLOAT16 = pytest.mark.skipif(not has_bfloat16(), reason="needs a processor with bfloat16")


@EVERY_FAMILY
@EVERY_ENGINE
def test_an_engine_equals_the_eager_model(engine, family, tiny, images):
    need(engine)
    model, sizes = build(tiny, family)
    with vitlib.Predictor(model, engine, "float32", verify=False) as predictor:
        for size in sizes:
            for batch in (1, 3):
                x = images(*size, batch=batch)
                close(predictor.run(x), eager(model, x))


@EVERY_ENGINE
def test_every_output_is_the_eager_models(engine, tiny, images):
    need(engine)
    model, x = tiny(vitlib.DeiT, dynamic_img_size=True), images(16, 48)
    names = ("logits", "features", "tokens", "map_0", "map_-1", "attention_1", "attention_2")
    with vitlib.Predictor(model, engine, "float32", outputs=names, verify=False) as predictor:
        found = predictor.run(x)
    with paddle.no_grad():
        tokens = model.forward_features(x)
        expected = {
            "logits": model(x),
            "features": tokens[:, :2].mean(1),
            "tokens": tokens,
            "map_0": model.intermediates(x, [0], reshape=True)[0],
            "map_2": model.intermediates(x, [2], reshape=True)[0],
        }
        expected["attention_1"], expected["attention_2"] = vitlib.attention_maps(model, x, [1, 2])
    assert list(found) == list(expected) or set(found) == set(expected)
    for name, value in expected.items():
        close(found[name], value.numpy(), 2e-5)


@EVERY_ENGINE
@pytest.mark.parametrize("options", [{}, {"dynamic_img_size": True, "dynamic_img_pad": True}, {"in_chans": 1}])
def test_uint8_images_are_normalised_in_the_engine(engine, options, tiny):
    need(engine)
    model = tiny(preprocess=vitlib.Preprocess(mean=(0.2, 0.5, 0.7), std=(0.3, 0.2, 0.5)), **options)
    size = (27, 37) if options.get("dynamic_img_pad") else (32, 32)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, model.config.in_chans), np.uint8)
    record = model.preprocess
    normalised = (pixels / np.float32(255) - np.float32(record.mean)) / np.float32(record.std)
    with vitlib.Predictor(model, engine, "float32", input_dtype="uint8") as predictor:
        close(predictor.run(pixels), eager(model, paddle.to_tensor(normalised.transpose(0, 3, 1, 2))))
        with refused(TypeError, "uint8", "float32"):
            predictor.run(normalised)


@EVERY_ENGINE
@pytest.mark.parametrize("img_size", [(24, 40), 32])
def test_a_size_can_be_fixed_where_any_is_accepted(engine, img_size, tiny, images):
    need(engine)
    model = tiny(dynamic_img_size=True)
    height, width = img_size if isinstance(img_size, tuple) else (img_size, img_size)
    with vitlib.Predictor(model, engine, "float32", img_size=img_size) as predictor:
        x = images(height, width)
        close(predictor.run(x), eager(model, x))
        with refused(ValueError, f"{height} x {width}", "8 x 8"):
            predictor.run(images(8, 8))


@BFLOAT16
@pytest.mark.parametrize("engine", ["paddle", "openvino"])
@pytest.mark.parametrize("options", [{}, {"dynamic_img_size": True}, {"global_pool": "avg", "class_token": False}])
def test_bfloat16_stays_near_float32_at_any_size(engine, options, tiny, images):
    need(engine)
    paddle.seed(0)
    model = vitlib.VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, **options)
    model.eval()
    with vitlib.Predictor(model, engine, "bfloat16") as predictor:
        for size in [(32, 32), (16, 48)] if "dynamic_img_size" in options else [(32, 32)]:
            x = images(*size)
            close(predictor.run(x), eager(model, x), 0.03)
        assert 0 < predictor.report.comparison.deviation < 0.03
        assert predictor.report.precision == "bfloat16"
