"""examples/classify.py as its users call it."""

import pathlib
import subprocess
import sys

from PIL import Image

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "classify.py"


def classify(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_a_photo_is_classified_and_random_weights_are_admitted(tmp_path):
    Image.new("RGB", (300, 200), "olive").save(tmp_path / "photo.jpg")
    done = classify("photo.jpg", "--top", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "random weights" in done.stdout
    assert done.stdout.count("%  class") == 3


def test_an_unreadable_photo_ends_in_one_sentence_that_names_it(tmp_path):
    (tmp_path / "photo.jpg").write_text("not a picture")
    done = classify("photo.jpg", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "photo.jpg" in done.stderr


def test_an_unknown_preset_ends_in_one_sentence_with_the_nearest(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.png")
    done = classify("photo.png", "--model", "vit_tiny_patch16_225", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "vit_tiny_patch16_224" in done.stderr
