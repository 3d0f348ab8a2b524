"""examples/results/relevance.py as it is run for its figures."""

import numpy as np
import paddle
import pytest
from scripts import call
from shapes import CLASSES, draw_folder

import vitlib


def test_pasting_and_covering_are_measured_with_their_controls(tmp_path):
    paddle.seed(0)
    model = vitlib.VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=3)
    model.labels = CLASSES
    model.save_pretrained(tmp_path / "model")
    draw_folder(tmp_path, train=3)
    error, written = call("results/relevance.py", tmp_path / "train", "--weights", tmp_path / "model")
    assert error is None, written
    lines = written.splitlines()
    assert [line for line in lines if "photographs" in line] == [
        "pasted into 3 photographs",
        "covered in 3 photographs",
        "methods on 6 photographs",
    ]
    assert [line.split("n = ")[1] for line in lines if "n = " in line] == ["6", "6", "3", "3", *4 * ["6"]]
    assert [line.split()[0] for line in lines if "n = " in line] == ["evidence", "control"] * 2 + [
        "relevance",
        "rollout",
        "attention",
        "drawn",
    ]


@pytest.fixture
def script(monkeypatch):
    from runpy import run_path

    from scripts import EXAMPLES

    return run_path(str(EXAMPLES / "results" / "relevance.py"))


def test_the_window_is_that_with_the_largest_sum_and_its_pixels_are_those_of_its_patches(script):
    model = vitlib.VisionTransformer(img_size=(32, 64), patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=2)
    photographs = script["Photographs"](model)
    assert photographs.window == (2, 4)
    values = np.ones([8, 16])
    values[3:5, 9:13] = 2
    values[6, 2] = 0
    assert photographs.place(values, best=True) == (3, 9)
    rows, columns = photographs.place(values, best=False)
    assert rows in (5, 6)
    assert columns <= 2
    assert photographs.pixels((3, 9)) == (slice(12, 20), slice(36, 52))
    assert photographs.share(values, (3, 9)) == pytest.approx(16 / (128 + 8 - 1))
