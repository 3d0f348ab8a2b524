"""Every engine gives what the eager model gives, for every family, size and batch."""

import importlib.util
from pathlib import Path

import numpy as np
import paddle
import pytest
from conftest import TINY, refused
from families import ENGINES, EVERY_ENGINE, EVERY_FAMILY, FAMILIES, build, close, eager, need
from PIL import Image
from shapes import draw_folder

import vitlib
from vitlib.deploy.cpu import has_bfloat16
from vitlib.models.config import CHOICES
from vitlib.models.preset_table import FAMILIES as PRESET_FAMILIES
from vitlib.models.preset_table import PRESETS

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


def test_the_families_have_every_choice_that_changes_an_answer():
    configs = [vitlib.ViTConfig().to_dict() | options for options, _ in FAMILIES.values()]
    for option in ("activation", "pos_embed", "position_resize", "global_pool"):
        assert {config[option] for config in configs} == set(CHOICES[option])
    for option in (name for name, value in configs[0].items() if isinstance(value, bool)):
        if option not in ("distillation_token", "fused_attn"):  # set by DeiT; a matter of speed alone
            assert {config[option] for config in configs} >= {True, False}, option


@pytest.mark.parametrize(
    ("engine", "precision"),
    [*((engine, "float32") for engine in ENGINES)]
    + [pytest.param(engine, "bfloat16", marks=BFLOAT16) for engine in ("paddle", "openvino")],
)
@pytest.mark.parametrize("family", PRESET_FAMILIES)
def test_an_engine_equals_the_eager_model_for_every_family_of_presets(family, engine, precision, images):
    need(engine)
    name = next(name for name, preset in PRESETS.items() if preset.family == family)
    config = vitlib.get_config(name)
    classes = 7 if config.num_classes else 0
    paddle.seed(0)
    patch = 8 if config.stem_blocks is None else 32  # the stride of a hybrid's ResNet divides it
    size = (3 * patch, 5 * patch)
    sizes = {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": size, "patch_size": patch}
    model, x = vitlib.create_model(name, num_classes=classes, **sizes), images(*size)
    model.eval()
    with vitlib.Predictor(model, engine, precision, verify=False) as predictor:
        close(predictor.run(x), eager(model, x), *[0.03] * (precision == "bfloat16"))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_equals_the_eager_model_with_trained_weights(engine, tmp_path):
    need(engine)
    photos = draw_folder(tmp_path, train=2, validation=0) / "train"
    model = vitlib.from_pretrained(Path(__file__).parents[2] / "examples" / "clothes")
    model.eval()
    paths = sorted(photos.rglob("*.*"))
    with vitlib.Predictor(model, engine, "float32", outputs=("logits", "features")) as predictor:
        x = model.preprocess(paths)
        close(predictor.run(x)["logits"], eager(model, x))
        found, expected = predictor.predict(paths, 3), vitlib.predict(model, paths, 3)
        assert [[p.label for p in row] for row in found] == [[p.label for p in row] for row in expected]


@pytest.mark.parametrize("options", [{}, {"pos_embed": "rotary", "reg_tokens": 2, "init_values": 0.2}])
@EVERY_ENGINE
def test_every_output_is_the_eager_models(engine, options, tiny, images):
    need(engine)
    model, x = tiny(vitlib.DeiT, dynamic_img_size=True, **options), images(16, 48)
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
        close(found[name], value.numpy())


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
        photo = Image.new("RGB", (64, 48), "teal")
        assert predictor.predict([photo])[0][0].label
        assert predictor.exported.preprocess.target_size == (height, width)


@BFLOAT16
@pytest.mark.parametrize("engine", ["paddle", "openvino"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dynamic_img_size": True},
        {"dynamic_img_size": True, "pos_embed": "rotary"},
        {"global_pool": "avg", "class_token": False},
        {"global_pool": "map", "gated_mlp": True},
    ],
)
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


@pytest.fixture
def shapes(tmp_path):
    return draw_folder(tmp_path, train=8, validation=0) / "train"


@pytest.fixture
def untrained():
    paddle.seed(0)
    model = vitlib.VisionTransformer(**TINY)
    model.eval()
    return model


def need_int8():
    need("openvino")
    if importlib.util.find_spec("nncf") is None:  # not imported: see openvino_int8
        pytest.skip("nncf is not installed")


def test_int8_says_how_far_it_is_on_the_images_for_calibration(untrained, shapes):
    need_int8()
    with vitlib.Predictor(untrained, "openvino", "int8", calibration=shapes) as predictor:
        report = predictor.report
        found = predictor.predict(shapes, 7)
    assert (report.precision, report.comparison.num_images) == ("int8", len(list(shapes.rglob("*.*"))))
    assert 0 < report.comparison.deviation < 0.3
    expected = vitlib.predict(untrained, shapes, 7)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(sorted(p.probability for p in one), sorted(p.probability for p in other), atol=0.02)
    with refused(ValueError, "calibration"):
        vitlib.Predictor(untrained, "openvino", "int8")


def test_int8_leaves_layers_in_higher_precision_where_classes_would_change(untrained, shapes, monkeypatch):
    need_int8()
    monkeypatch.setattr("vitlib.deploy.engines.openvino_int8.LEAST_AGREEMENT", 2.0)
    monkeypatch.setattr("vitlib.deploy.engines.openvino_int8.LEFT", ((), (r".*mlp\.fc2.*",)))
    with vitlib.Predictor(untrained, "openvino", "int8", calibration=shapes) as predictor:
        nodes = predictor._engine._engine._quantized.get_ops()
        quantized = [node.get_friendly_name() for node in nodes if node.get_type_name() == "FakeQuantize"]
        assert any("norm2" in name for name in quantized)  # the input of fc1
        assert not any("gelu" in name for name in quantized)  # that of fc2
        assert predictor.report.higher_precision == (r".*mlp\.fc2.*",)
        assert "left in higher precision" in str(predictor.report)
