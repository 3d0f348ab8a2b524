"""examples/compare_runs.py on results that are made here."""

import json

import numpy as np
import pytest
from PIL import Image
from scripts import call


@pytest.fixture
def write(tmp_path):
    """write(name, test=[...], validation=[...]): a result.json in which these images are right."""

    def write(name, **parts):
        result = {"parameters": 1000, "seconds": 60}
        for part, right in parts.items():
            bits = np.packbits(np.array(right, bool)).tobytes().hex()
            result[part] = {"images": len(right), "model": 100 * np.mean(right), "right": {"model": bits}}
        (tmp_path / f"{name}.json").write_text(json.dumps(result))

    return write


def table(tmp_path):
    """{what is in the first column: the others}"""
    error, written = call("compare_runs.py", tmp_path)
    assert error is None, written
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in written.splitlines() if line]
    return {first: others for first, *others in cells}


def test_runs_of_several_labels_an_image_are_refused(tmp_path):
    (tmp_path / "none-seed0.json").write_text(json.dumps({"parameters": 1, "validation": {"images": 2, "map": 50.0}}))
    error, _ = call("compare_runs.py", tmp_path)
    assert "none-seed0.json is of images with several labels" in error


def test_a_gain_has_the_standard_error_over_images(write, tmp_path):
    for seed in range(2):
        write(f"none-seed{seed}", validation=[0, 0, 1, 1], test=[1, 0, 0, 0, 0])
        write(f"soft-seed{seed}", validation=[0, 1, 1, 1], test=[1, 0, 0, 1, 0])
    found = table(tmp_path)
    assert found["on validation and test together"] == ["gain in points", "standard error", "by seed"]
    error = 100 * np.std([0, 1, 0, 0, 0, 0, 0, 1, 0], ddof=1) / np.sqrt(9)
    assert found["soft over none"] == ["+22.2", f"{error:.1f}", "+22.2, +22.2"]
    assert found["soft"][:3] == ["2", "40.0 ± 0.0", "75.0 ± 0.0"]


def test_runs_without_a_test_are_compared_on_validation(write, tmp_path):
    write("none-seed0", validation=[0, 0, 1, 1])
    write("soft-seed0", validation=[0, 1, 1, 1], test=[1, 0])
    found = table(tmp_path)
    assert found["none"][:3] == ["1", "", "50.0"]
    assert found["soft"][:3] == ["1", "50.0", "75.0"]
    assert found["on validation"] == ["gain in points", "standard error", "by seed"]
    assert found["soft over none"][0] == "+25.0"


def test_rows_without_a_common_seed_are_named_as_such(write, tmp_path):
    write("none-seed0", validation=[0, 1])
    write("soft-seed1", validation=[0, 1])
    assert table(tmp_path)["soft over none"] == ["no common seed", "", ""]


def test_files_of_other_names_are_passed_over(write, tmp_path):
    write("none-seed0", validation=[0, 1])
    (tmp_path / "x-seedy.json").write_text("no result")
    assert "none" in table(tmp_path)
    (tmp_path / "none-seed0.json").unlink()
    error, _ = call("compare_runs.py", tmp_path)
    assert "holds no ROW-seedN.json" in error


def test_the_figure_has_a_curve_of_each_row_and_a_band_where_there_are_several_seeds(write, tmp_path):
    for name, accuracies in {"none-seed0": [20, 40], "none-seed1": [30, 60], "teacher-seed0": [50, 70]}.items():
        write(name, validation=[0, 1])
        lines = [f"{epoch},{accuracy}" for epoch, accuracy in enumerate(accuracies, 1)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["epoch,validation_accuracy", *lines]) + "\n")
    error, written = call("compare_runs.py", tmp_path, "--figure", tmp_path / "curves.png")
    assert error is None, written
    with Image.open(tmp_path / "curves.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}
    assert {(31, 119, 180), (153, 153, 153)} <= colours  # of none and of the teacher
    band = [round(255 - 0.25 * (255 - value)) for value in (31, 119, 180)]
    assert any(max(abs(a - b) for a, b in zip(colour, band, strict=True)) <= 1 for colour in colours)
