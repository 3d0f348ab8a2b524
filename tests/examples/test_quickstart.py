"""examples/quickstart.py: what it refuses before it trains, and how it ends."""

from unittest import mock

import pytest
from PIL import Image
from scripts import call


@pytest.mark.parametrize(
    ("option", "path", "words"),
    [
        ("--photos", "missing.jpg", ["missing.jpg"]),
        ("--photos", "text.jpg", ["text.jpg"]),
        ("--picture", "nowhere/picture.png", ["nowhere", "no folder"]),
    ],
)
def test_a_wrong_path_is_told_before_the_training(tmp_path, monkeypatch, option, path, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jpg").write_text("no picture")
    with mock.patch("sklearn.datasets.load_digits", side_effect=AssertionError("it went on to train")):
        error, _ = call("quickstart.py", option, path)
    for word in ("quickstart.py: ", option, *words):
        assert word in error


def test_it_ends_with_what_the_shipped_model_says_of_the_photographs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error, written = call("quickstart.py", "--epochs", 1)
    assert error is None, written
    for name in ("dress", "hat", "t-shirt"):
        assert f"  {name}.jpg: " in written
    with Image.open("quickstart-photos.png") as page:
        assert page.height > 10 * page.width / 5  # a row for each of ten
