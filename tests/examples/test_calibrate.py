"""examples/calibrate.py divides logits by the temperature under which labels are most probable."""

import runpy
import sys
from unittest import mock

import numpy as np
import pytest
from scripts import EXAMPLES, call
from shapes import CLASSES, draw_folder

import vitlib


@pytest.fixture(scope="module")
def script():
    with mock.patch.object(sys, "path", [str(EXAMPLES), *sys.path]):
        return runpy.run_path(str(EXAMPLES / "calibrate.py"))


def test_the_temperature_of_sampled_labels_is_the_one_they_were_sampled_with(script):
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((40_000, 5))
    p = script["probabilities"](logits / 2.5)
    labels = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    assert script["fit_temperature"](logits, labels) == pytest.approx(2.5, rel=0.02)
    assert script["calibration_error"](logits / 2.5, labels) < 1 < 10 < script["calibration_error"](logits, labels)


def test_one_bin_has_the_distance_of_its_confidence_and_accuracy(script):
    logits = np.log([[0.7, 0.3]] * 4)
    assert script["calibration_error"](logits, np.array([0, 0, 1, 1])) == pytest.approx(20)


def test_the_saved_model_has_the_logits_divided(tmp_path):
    folder = draw_folder(tmp_path / "shapes", train=1, validation=4) / "validation"
    model = vitlib.DeiT(img_size=24, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=3)
    model.labels = CLASSES
    model.save_pretrained(tmp_path / "model")
    error, written = call("calibrate.py", tmp_path / "model", folder, "--output", tmp_path / "calibrated", "--half")
    assert error is None, written
    temperature = float(written.split("temperature ")[1].split(",")[0])
    calibrated = vitlib.from_pretrained(tmp_path / "calibrated")
    image = folder / "circle" / "000.png"
    for net in (model, calibrated):
        net.eval()
    before, after = (net(model.preprocess(image)).numpy() for net in (model, calibrated))
    np.testing.assert_allclose(after * temperature, before, rtol=0.02, atol=2e-3)
    assert list(calibrated.labels) == CLASSES
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("model", "calibrated")]
    assert sizes[1] < 0.6 * sizes[0]
