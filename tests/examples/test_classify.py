"""examples/classify.py as its users call it."""

import pathlib
import re
import subprocess
import sys

import paddle
import pytest
from PIL import Image, ImageDraw
from scripts import call

import vitlib

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
    assert done.stderr == ""


def test_the_shipped_model_is_small_and_says_what_it_is():
    folder = SCRIPT.parent / "clothes"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4e6
    card = (folder / "README.md").read_text()
    for word in ("CC0", "372", "Limits"):
        assert word in card


def test_an_image_is_classified_and_random_weights_are_admitted(tmp_path):
    Image.new("RGB", (300, 200), "olive").save(tmp_path / "image.jpg")
    error, written = call("classify.py", tmp_path / "image.jpg", "--top", 3, "--model", "vit_tiny_patch16_224")
    assert error is None, written
    assert "random weights" in written
    assert written.count("%  class") == 3


def test_of_ten_images_the_readable_ones_are_classified_and_the_broken_one_is_named(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        Image.new("RGB", (40, 30), (25 * number, 80, 90)).save(path)
    paths[4].write_text("not an image")
    done = classify(*map(str, paths), "--top", "1", "--look", "look.png", cwd=tmp_path)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.endswith(".png") and line.startswith("/")] == [
        str(path) for path in paths if path != paths[4]
    ]
    assert done.stdout.count(" %  ") == 9
    assert done.stderr.splitlines() == [
        f"classify.py: '{paths[4]}': is not an image that Pillow can read, or its header is damaged "
        "(it begins with b'not an image')"
    ]
    error, written = call("classify.py", tmp_path / "nowhere.jpg")
    assert "No such image file" in error
    assert " %  " not in written


def test_an_image_is_drawn_at_its_own_resolution_and_several_on_a_page_by_folder_and_file(tmp_path, monkeypatch):
    Image.new("RGB", (600, 500), "olive").save(tmp_path / "a.jpg")
    Image.new("RGB", (600, 500), "navy").save(tmp_path / "b.jpg")
    words, text = [], ImageDraw.ImageDraw.text

    def record(self, at, drawn, *args, **options):
        words.append(drawn)
        return text(self, at, drawn, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    error, written = call("classify.py", tmp_path / "a.jpg", "--look", tmp_path / "look.png")
    assert error is None, written
    best = re.search(r"\d+\.\d\d %  (\S+)", written)[1]
    assert words[0].startswith(f"{best} · ")
    with Image.open(tmp_path / "look.png") as picture:
        assert picture.width == 600
        assert picture.height > 500
    words.clear()
    options = ["--look", tmp_path / "look.png", "--method", "rollout"]
    error, written = call("classify.py", tmp_path / "a.jpg", tmp_path / "b.jpg", *options)
    assert error is None, written
    assert [word for word in words if ".jpg" in word] == [f"{tmp_path.name}/a.jpg", f"{tmp_path.name}/b.jpg"]
    assert words.count("attention rollout") == 2


@pytest.fixture
def saved(tmp_path):
    paddle.seed(0)
    model = vitlib.VisionTransformer(img_size=32, patch_size=16, embed_dim=24, depth=1, num_heads=3, num_classes=2)
    model.labels = ["ant", "bee"]
    model.save_pretrained(tmp_path / "run" / "model")
    Image.new("RGB", (300, 200), "olive").save(tmp_path / "image.jpg")
    return tmp_path


def test_the_folder_of_a_run_is_that_of_its_model(saved):
    (saved / "run" / "run.json").write_text("{}")
    for weights in (saved / "run", saved / "run" / "model"):
        error, written = call("classify.py", saved / "image.jpg", "--weights", weights)
        assert error is None, written
        assert "%  ant" in written
    (saved / "run" / "model").rename(saved / "away")
    error, _ = call("classify.py", saved / "image.jpg", "--weights", saved / "run")
    assert f"--weights {saved / 'run'}: this run has no model/" in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--model", "vit_tiny_patch16_225"],
            ["patch16_225: there is no preset", "vit_tiny_patch16_224"],
        ),
        (["--weights", "nope"], ["--weights nope: there is no such file or folder", '"vitlib list" shows them']),
        (["--weights", "vit_tinny_patch16_224"], ["no preset of that name; the nearest are vit_tiny_patch16_224"]),
        (
            ["--weights", "vit_tiny_patch16_224", "--model", "deit_tiny_patch16_224"],
            ["is a preset's name", "leave --preset deit_tiny_patch16_224 out"],
        ),
        (["--weights", "nowhere/model.safetensors"], ["--weights nowhere/model.safetensors: there is no such file"]),
    ],
)
def test_wrong_names_are_told_in_the_words_of_the_script(saved, options, words):
    error, _ = call("classify.py", saved / "image.jpg", *options)
    for word in ("classify.py: ", *words):
        assert word in error
    assert "pretrained" not in error
    assert "list_models" not in error
