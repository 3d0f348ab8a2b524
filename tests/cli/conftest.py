"""A small model and a few images, for all commands."""

import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from shapes import CLASSES, draw_folder

import vitlib

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """train/ and validation/, of three classes of shapes."""
    return draw_folder(tmp_path_factory.mktemp("shapes"), train=8, validation=4)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a model that knows the three shapes by name, and nothing about them."""
    paddle.seed(3)
    network = vitlib.VisionTransformer(
        img_size=24, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=len(CLASSES)
    )
    rng = np.random.default_rng(0)
    for parameter in network.parameters():
        parameter.set_value((parameter.numpy() + 0.3 * rng.standard_normal(parameter.shape)).astype("float32"))
    network.labels = CLASSES
    folder = tmp_path_factory.mktemp("model")
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def network(model):
    """The same, opened in Python."""
    opened = vitlib.from_pretrained(model)
    opened.eval()
    return opened


@pytest.fixture
def photos(data, tmp_path, monkeypatch):
    """Three images a.png, b.png, c.png and a broken one, bad.png, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, kind in zip("abc", CLASSES, strict=True):
        (tmp_path / f"{name}.png").write_bytes((data / "validation" / kind / "000.png").read_bytes())
    (tmp_path / "bad.png").write_text("no image")
    return tmp_path
