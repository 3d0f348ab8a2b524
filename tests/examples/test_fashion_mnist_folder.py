"""examples/fashion_mnist_folder.py on a small file of its kind."""

from unittest import mock

import numpy as np
import pytest
from PIL import Image
from scripts import call

COUNTS = ["--train", 10, "--validation", 4, "--test", 6]


@pytest.fixture
def npz(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (24, 28, 28), np.uint8)
    x[20:] = x[:4]  # so 20 are unique
    np.savez(tmp_path / "small.npz", x=x, y=np.arange(24) % 10)
    return tmp_path / "small.npz"


def test_every_image_is_in_one_part(npz, tmp_path):
    error, written = call("fashion_mnist_folder.py", npz, tmp_path / "new" / "data", *COUNTS)
    assert error is None, written
    parts = {part: list((tmp_path / "new" / "data" / part).glob("*/*.png")) for part in ("train", "validation", "test")}
    assert {part: len(paths) for part, paths in parts.items()} == {"train": 10, "validation": 4, "test": 6}
    assert len({path.name for paths in parts.values() for path in paths}) == 20


def test_a_folder_that_is_there_is_refused_and_left_as_it_was(npz, tmp_path):
    call("fashion_mnist_folder.py", npz, tmp_path / "data", *COUNTS)
    before = sorted((tmp_path / "data").rglob("*"))
    error, _ = call("fashion_mnist_folder.py", npz, tmp_path / "data", "--train", 6, "--validation", 6, "--test", 6)
    assert "data is there already; remove it" in error
    assert sorted((tmp_path / "data").rglob("*")) == before


@pytest.mark.parametrize("count", [11, 0, -1])
def test_counts_that_cannot_be_are_refused_before_anything_is_written(npz, tmp_path, count):
    error, _ = call("fashion_mnist_folder.py", npz, tmp_path / "data", *COUNTS, "--train", count)
    assert f"'train': {count}" in error
    assert "20 in all at most" in error
    assert list(tmp_path.iterdir()) == [npz]


def test_a_call_that_was_stopped_leaves_no_folder_that_looks_whole(npz, tmp_path):
    save, saved = Image.Image.save, []

    def stopped(image, path):
        if len(saved) == 8:
            raise KeyboardInterrupt
        saved.append(path)
        save(image, path)

    with mock.patch.object(Image.Image, "save", stopped), pytest.raises(KeyboardInterrupt):
        call("fashion_mnist_folder.py", npz, tmp_path / "data", *COUNTS)
    assert not (tmp_path / "data").exists()
    error, written = call("fashion_mnist_folder.py", npz, tmp_path / "data", *COUNTS)
    assert error is None, written
    assert len(list((tmp_path / "data").glob("*/*/*.png"))) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "small.npz"]
