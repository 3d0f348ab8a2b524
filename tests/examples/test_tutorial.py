"""The tutorial notebooks: made of one source of code and two of prose, and they run."""

import re
import sys

import pytest
from scripts import EXAMPLES

nbformat = pytest.importorskip("nbformat")  # extra `test`
pytest.importorskip("nbclient")

sys.path.insert(0, str(EXAMPLES / "tutorial"))
import build  # noqa: E402

LANGUAGES = sorted(build.NOTEBOOKS)


def kept(language):
    return nbformat.read(build.NOTEBOOKS[language], as_version=4)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notebook_is_what_the_script_makes_of_code_and_prose(language):
    expected = build.notebook(language)
    assert [(c.cell_type, c.source) for c in kept(language).cells] == [(c.cell_type, c.source) for c in expected.cells]
    nbformat.validate(kept(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_figure_of_a_notebook_is_kept(language):
    made = kept(language)
    drawing = {cell.id for cell in made.cells if cell.cell_type == "code" and "plt.show()" in cell.source}
    assert len(drawing) >= 7
    assert set(build.pictures(made)) == drawing
    assert all(picture.startswith(b"\x89PNG") for picture in build.pictures(made).values())


def test_the_picture_of_readme_is_the_notebooks():
    assert build.PICTURE.read_bytes() in build.pictures(kept("en")).values()


def test_both_notebooks_give_the_same_figures_and_tables():
    assert build.pictures(kept("en")) == build.pictures(kept("zh"))
    tables = [
        re.findall(r"^\|.*$", (build.HERE / name).read_text("utf-8"), re.MULTILINE) for name in ("en.md", "zh.md")
    ]
    numbers = [[re.findall(r"\d[\d.,]*", row) for row in table] for table in tables]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) >= 7


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notebook_runs(language):
    made = build.execute(build.notebook(language), small=True, timeout=600)
    text = "".join(output.get("text", "") for cell in made.cells for output in cell.get("outputs", []))
    differences = [float(number) for number in re.findall(r"largest difference from .*: ([\d.e-]+)", text)]
    assert len(differences) == 4
    assert max(differences) < 2e-6
    assert "ViT-B/16 by hand: 86,567,656 parameters; 86,567,656 parameters" in text
