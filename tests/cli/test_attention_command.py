"""attention: pictures of what a model sees."""

import json
import shutil

import numpy as np
import pytest
from commands import fail, run, succeed
from PIL import Image

from vitlib import analysis


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_picture_is_that_of_the_python_api(photos, model, network):
    done = succeed("attention", "a.png", "--model", model, "--class", "square")
    assert done.out == "attention.png\n"
    expected = analysis.draw_attention(network, "a.png", class_index="square")
    assert (pixels("attention.png") == np.asarray(expected)).all()
    succeed("attention", "a.png", "--model", model, "--class", 1, "--output", "index.png")
    assert (pixels("index.png") == np.asarray(expected)).all()


def test_two_classes_stand_side_by_side_and_several_images_on_a_page(photos, model, network):
    succeed("attention", "a.png", "--model", model, "--class", "square", "circle", "--output", "two.png")
    assert (pixels("two.png") == np.asarray(analysis.draw_classes(network, "a.png", ("square", "circle")))).all()
    done = run(
        "attention", "a.png", "bad.png", "b.png", "--model", model, "--method", "rollout", "--output", "page.png"
    )
    assert done.code == 1
    assert "'bad.png'" in done.err
    expected = analysis.draw_page(network, ["a.png", "b.png"], method="rollout")
    assert (pixels("page.png") == np.asarray(expected)).all()


@pytest.mark.parametrize("method", ["attention", "heads", "features", "distance", "positions", "filters"])
def test_every_method_draws_a_picture(photos, model, method):
    image = [] if method in ("positions", "filters") else ["a.png"]
    succeed("attention", *image, "--model", model, "--method", method, "--output", f"{method}.jpg")
    with Image.open(f"{method}.jpg") as picture:
        assert picture.format == "JPEG"
        assert len(picture.getcolors(1 << 24)) > 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["a.png", "--class", "sqare"], ["--class 'sqare'", "did you mean 'square'"]),
        (["a.png", "--class", "3"], ["--class 3: the model has 3 classes, counted from 0"]),
        (["a.png", "--class", "square", "--method", "rollout"], ["--method relevance"]),
        (["a.png", "--layer", "1"], ["--layer: --method relevance has none"]),
        (["a.png", "--output", "a.txt"], ["--output a.txt: expected a picture"]),
        (["a.png", "--output", "a.psd"], ["--output a.psd: expected a picture that can be written"]),
        (["a.png", "--output", "a.h5"], ["--output a.h5: expected a picture that can be written"]),
        (["a.png", "--method", "distance", "--output", "a.bmp"], ["--output a.bmp: expected a picture"]),
        (["a.png", "b.png", "--method", "heads"], ["expected one image"]),
        (["--method", "heads"], ["--method heads needs an image"]),
        (["a.png", "--method", "filters"], ["leave the image out"]),
    ],
)
def test_what_cannot_be_drawn_is_told(photos, model, options, words):
    fail(2, "attention", *options, "--model", model, words=words)


def test_a_label_that_two_classes_have_is_not_chosen_between(photos, model, tmp_path):
    shutil.copytree(model, tmp_path / "cranes")
    config = json.loads((tmp_path / "cranes" / "config.json").read_text())
    config["labels"] = ["crane", "dog", "crane"]
    (tmp_path / "cranes" / "config.json").write_text(json.dumps(config))
    options = ["a.png", "--model", "cranes", "--class", "crane"]
    fail(2, "attention", *options, words=["--class crane: the model calls the classes 0 and 2 so"])


def test_an_image_that_cannot_be_read_leaves_no_picture(photos, model):
    assert run("attention", "bad.png", "--model", model).code == 1
    assert not (photos / "attention.png").exists()
