"""examples/results/growth.py on results that are made here."""

import json
import runpy

import pytest
from PIL import Image
from scripts import EXAMPLES


@pytest.fixture
def growth(tmp_path):
    functions = runpy.run_path(str(EXAMPLES / "results" / "growth.py"))
    functions["load"].__globals__["HERE"] = tmp_path
    for folder in ("fashion_mnist", "fashion_mnist_growth"):
        (tmp_path / folder).mkdir()
    return functions


def write(path, accuracy):
    path.write_text(json.dumps({"test": {"model": accuracy}}))


def test_the_points_of_all_images_are_the_runs_of_15_epochs_in_one_panel_and_of_5_in_the_other(growth, tmp_path):
    write(tmp_path / "fashion_mnist" / "none-seed0.json", 50)
    write(tmp_path / "fashion_mnist" / "none-seed1.json", 54)
    write(tmp_path / "fashion_mnist" / "hard-no-token-seed0.json", 1)
    write(tmp_path / "fashion_mnist" / "teacher-seed0.json", 80)
    write(tmp_path / "fashion_mnist_growth" / "none-5epochs-seed0.json", 40)
    write(tmp_path / "fashion_mnist_growth" / "none-2epochs-seed0.json", 30)
    write(tmp_path / "fashion_mnist_growth" / "none-10percent-seed0.json", 20)
    write(tmp_path / "fashion_mnist_growth" / "teacher-10percent-seed0.json", 60)
    assert {place: sorted(values) for place, values in growth["load"]("none", "epochs").items()} == {
        2: [30],
        5: [40],
        15: [50, 54],
    }
    assert growth["load"]("none", "percent") == {10: [20], 100: [40]}
    assert growth["load"]("hard-token", "epochs") == growth["load"]("teacher", "epochs") == {}
    assert growth["load"]("teacher", "percent") == {10: [60], 100: [80]}
    growth["draw"](tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as image:
        assert (31, 119, 180) in {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}


def test_a_panel_without_runs_is_left_out(growth, tmp_path):
    for epochs in (2, 5):
        write(tmp_path / "fashion_mnist_growth" / f"none-{epochs}epochs-seed0.json", 10 * epochs)
    growth["draw"](tmp_path / "one.png")
    write(tmp_path / "fashion_mnist_growth" / "none-10percent-seed0.json", 20)
    growth["draw"](tmp_path / "two.png")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert 2 * one.width == two.width


def test_no_runs_are_told(growth, tmp_path):
    with pytest.raises(SystemExit, match=r"has no runs; make them with growth\.sh"):
        growth["draw"](tmp_path / "growth.png")
