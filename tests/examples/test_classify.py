"""examples/classify.py as its users call it."""

import pathlib
import subprocess
import sys

from PIL import Image, ImageDraw

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "classify.py"
CLOTHES = ["dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"]


def classify(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_without_further_arguments_an_image_of_clothes_is_classified_by_the_shipped_model(tmp_path):
    image = Image.new("RGB", (480, 480), "white")
    sleeves, body = [60, 90, 420, 200], [150, 90, 330, 420]
    for box in (sleeves, body):
        ImageDraw.Draw(image).rectangle(box, fill="firebrick")
    image.save(tmp_path / "shirt.png")
    done = classify("shirt.png", "--top", "10", "--look", "look.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = dict(line.split(" %  ")[::-1] for line in done.stdout.splitlines() if " %  " in line)
    assert sorted(found) == sorted(CLOTHES)
    assert abs(sum(map(float, found.values())) - 100) < 0.1
    tops = ("t-shirt", "shirt", "longsleeve", "dress")
    assert max(found, key=lambda name: float(found[name])) in tops
    with Image.open(tmp_path / "look.png") as look:
        assert len(look.convert("RGB").getcolors(1 << 20)) > 100  # an image, not an empty page


def test_the_shipped_model_is_small_and_says_what_it_is():
    folder = SCRIPT.parent / "clothes"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4e6
    card = (folder / "README.md").read_text()
    for word in ("CC0", "372", "Limits"):
        assert word in card


def test_an_image_is_classified_and_random_weights_are_admitted(tmp_path):
    Image.new("RGB", (300, 200), "olive").save(tmp_path / "image.jpg")
    done = classify("image.jpg", "--top", "3", "--model", "vit_tiny_patch16_224", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "random weights" in done.stdout
    assert done.stdout.count("%  class") == 3


def test_an_unreadable_photo_ends_in_one_sentence_that_names_it(tmp_path):
    (tmp_path / "image.jpg").write_text("not an image")
    done = classify("image.jpg", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "image.jpg" in done.stderr


def test_an_unknown_preset_ends_in_one_sentence_with_the_nearest(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "image.png")
    done = classify("image.png", "--model", "vit_tiny_patch16_225", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "vit_tiny_patch16_224" in done.stderr
