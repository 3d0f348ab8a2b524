"""Small models for behaviour, shared by all tests."""

import contextlib
import signal

import numpy as np
import paddle
import pytest

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


def difference(a, b):
    return float((a - b).abs().max())


@contextlib.contextmanager
def refused(error, *words):
    """The block raises this error, and the sentence holds all of the words."""
    with pytest.raises(error) as caught:
        yield
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} missing in: {caught.value}"
