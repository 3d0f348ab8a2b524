"""examples/quickstart.py: what it refuses before it trains."""

from unittest import mock

import pytest
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
