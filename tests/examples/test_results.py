"""Every table of examples/results/README.md comes out of the result files beside it."""

import csv
import json
import re
import runpy

import pytest
from scripts import EXAMPLES, call

import vitlib

RESULTS = EXAMPLES / "results"
TEXT = (RESULTS / "README.md").read_text(encoding="utf-8")
FOLDERS = sorted({path.parent for path in RESULTS.glob("*/*-seed*.json")})


def tables(text):
    """The rows of every Markdown table."""
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tables_are_what_compare_runs_prints(folder):
    error, written = call("compare_runs.py", folder)
    assert error is None, written
    section = re.search(rf"^## [^\n]*`{folder.name}/`.*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, f"README.md has no section on `{folder.name}/`"
    assert tables(written) == tables(section[0])


def test_no_table_is_of_anything_else():
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    known = [f"`{folder.name}/`" for folder in FOLDERS]
    for section in sections:
        if tables(section):
            assert any(name in section.splitlines()[0] for name in known), section.splitlines()[0]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_of_several_rows_has_its_figure_on_the_page(folder):
    rows = {path.stem.rpartition("-")[0] for path in folder.glob("*-seed*.json")}
    figure = f"{folder.name}/curves.png"
    assert (f"]({figure})" in TEXT) == (RESULTS / figure).exists() == (len(rows) > 1)


def test_the_card_of_the_shipped_model_says_what_its_run_measured():
    result = json.loads((RESULTS / "clothes" / "clothes-seed0.json").read_text())
    card = " ".join((EXAMPLES / "clothes" / "README.md").read_text(encoding="utf-8").split())
    accuracies = {part: result[part]["model"] for part in ("validation", "test")}
    assert "{validation:.1f} % on validation, {test:.1f} % on the test set".format(**accuracies) in card
    assert f"{result['parameters']:,} parameters" in card
    assert vitlib.count(vitlib.from_pretrained(EXAMPLES / "clothes")).parameters == result["parameters"]
    assert accuracies["test"] >= 72
    assert sum(path.stat().st_size for path in (EXAMPLES / "clothes").iterdir()) <= 4e6


def test_the_shipped_model_is_right_on_the_photographs_that_its_card_says():
    photos = sorted((EXAMPLES / "photos").glob("*.jpg"))
    model = vitlib.from_pretrained(EXAMPLES / "clothes")
    right = sum(row[0].label == photo.stem for row, photo in zip(vitlib.predict(model, photos), photos, strict=True))
    assert len(photos) == 10
    assert right >= 7
    assert f"{right} are right" in " ".join((EXAMPLES / "clothes" / "README.md").read_text(encoding="utf-8").split())
    assert sum(photo.stat().st_size for photo in photos) <= 200e3


@pytest.mark.parametrize("page", ["README.md", "examples/guides/zh/README.md", "examples/guides/deployment.md"])
def test_tables_of_speed_are_made_from_the_measured_files(page):
    speed = runpy.run_path(str(RESULTS / "speed.py"))
    text = (speed["ROOT"] / page).read_text(encoding="utf-8")
    assert "<!-- speed:" in text
    assert speed["with_tables"](text) == text, "run results/speed.py --write"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_result_of_a_run_is_that_of_an_epoch_in_its_log(folder):
    for path in folder.glob("*.json"):
        with open(path.with_suffix(".csv"), newline="") as file:
            accuracies = [float(row["validation_accuracy"]) for row in csv.DictReader(file)]
        result = json.loads(path.read_text())
        epoch = result.get("epoch", len(accuracies))  # the best, or the last in earlier files
        assert result["validation"]["model"] == pytest.approx(accuracies[epoch - 1], abs=1e-3)
