"""examples/zero_shot.py with a small CLIP model and text embeddings of which one fits."""

import pathlib

import numpy as np
import paddle
import pytest
from PIL import Image
from scripts import call

import vitlib

CLIP = pathlib.Path(__file__).parents[1] / "weights" / "families" / "huggingface_clip"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype="uint8")).save(path)
    return path


def texts(path, embeddings):
    labels = [f"text {index}" for index in range(len(embeddings))]
    np.savez(path, labels=np.array(labels), embeddings=embeddings.astype("float32"))
    return path


def test_the_text_whose_embedding_points_where_the_image_s_does_wins(photo, tmp_path):
    model = vitlib.from_pretrained(CLIP)
    model.eval()
    with paddle.no_grad():
        image = model(model.preprocess(photo)).numpy()[0]
    others = np.random.default_rng(1).standard_normal((3, 20))
    found = texts(tmp_path / "texts.npz", np.stack([others[0], 7 * image, *others[1:]]))
    error, output = call("zero_shot.py", photo, "--weights", CLIP, "--texts", found)
    assert error is None, output
    lines = [line for line in output.splitlines() if " %  " in line]
    assert lines[0].split("%")[1].strip() == "text 1"
    assert float(lines[0].split("%")[0]) > 90


def test_embeddings_of_another_width_are_refused(photo, tmp_path):
    found = texts(tmp_path / "texts.npz", np.ones((2, 7)))
    error, _ = call("zero_shot.py", photo, "--weights", CLIP, "--texts", found)
    assert "[2, 7], expected [2, 20]" in error
