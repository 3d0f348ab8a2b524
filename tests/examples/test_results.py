"""Every table of examples/results/README.md comes out of the result files beside it."""

import json
import re

import pytest
from scripts import EXAMPLES, call

RESULTS = EXAMPLES / "results"
TEXT = (RESULTS / "README.md").read_text(encoding="utf-8")
FOLDERS = sorted(path for path in RESULTS.iterdir() if path.is_dir())


def tables(text):
    """The rows of every Markdown table."""
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tables_are_what_compare_runs_prints(folder):
    error, written = call("compare_runs.py", folder)
    assert error is None, written
    section = re.search(rf"^## .*`{folder.name}/`.*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, f"README.md has no section on `{folder.name}/`"
    assert tables(written) == tables(section[0])


def test_no_table_is_of_anything_else():
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    known = [f"`{folder.name}/`" for folder in FOLDERS]
    for section in sections:
        if tables(section):
            assert any(name in section.splitlines()[0] for name in known), section.splitlines()[0]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_run_has_its_accuracy_over_epochs(folder):
    for path in folder.glob("*.json"):
        rows = (folder / f"{path.stem}.csv").read_text().splitlines()
        best = json.loads(path.read_text())
        columns = rows[0].split(",")
        found = float(rows[best["epoch"]].split(",")[columns.index("validation_accuracy")])
        assert found == pytest.approx(best["validation"]["model"], abs=0.01)
