"""Small models for behaviour, shared by all tests."""

import contextlib
import signal

import numpy as np
import paddle
import pytest
from shapes import CLASSES, draw_folder

import vitlib

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process that they start
signal.signal(signal.SIGINT, signal.default_int_handler)

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 7}


@pytest.fixture
def tiny():
    """tiny(cls=VisionTransformer, **options): a small model in eval mode, every parameter large enough to matter."""

    def make(cls=vitlib.VisionTransformer, **options):
        paddle.seed(0)
        model = cls(**{**TINY, **options})
        rng = np.random.default_rng(0)
        for parameter in model.parameters():
            noise = 0.3 * rng.standard_normal(parameter.shape)
            parameter.set_value((parameter.numpy() + noise).astype("float32"))
        model.eval()
        return model

    return make


@pytest.fixture
def images():
    """images(height=32, width=32, batch=2, channels=3): normally distributed [B, C, H, W]."""

    def make(height=32, width=32, batch=2, channels=3):
        rng = np.random.default_rng(1)
        return paddle.to_tensor(rng.standard_normal((batch, channels, height, width)).astype("float32"))

    return make


@pytest.fixture
def write(tmp_path):
    """write(data, name="weights.bin"): the path of a new file."""

    def make(data, name="weights.bin"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return make


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


def difference(a, b):
    return float((a - b).abs().max())


@contextlib.contextmanager
def refused(error, *words):
    """The block raises this error, and the sentence holds all of the words."""
    with pytest.raises(error) as caught:
        yield
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} missing in: {caught.value}"
