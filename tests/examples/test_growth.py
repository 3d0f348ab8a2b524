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
    for folder in ("clothing10", "clothing10_growth"):
        (tmp_path / folder).mkdir()
    return functions


def write(path, accuracy):
    path.write_text(json.dumps({"test": {"model": accuracy}}))


def test_points_are_the_runs_of_a_kind_and_the_last_is_the_whole_run(growth, tmp_path):
    write(tmp_path / "clothing10" / "none-seed0.json", 50)
    write(tmp_path / "clothing10" / "none-seed1.json", 54)
    write(tmp_path / "clothing10" / "hard-no-token-seed0.json", 1)
    write(tmp_path / "clothing10_growth" / "none-15epochs-seed0.json", 30)
    write(tmp_path / "clothing10_growth" / "none-10percent-seed0.json", 20)
    assert growth["load"]("none", "epochs") == {15: [30], 60: [50, 54]}
    assert growth["load"]("none", "percent") == {10: [20], 100: [50, 54]}
    assert growth["load"]("hard-token", "epochs") == {}
    growth["draw"](tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as image:
        assert (31, 119, 180) in {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}


def test_no_runs_are_told(growth, tmp_path):
    with pytest.raises(SystemExit, match=r"has no runs; make them with growth\.sh"):
        growth["draw"](tmp_path / "growth.png")
