"""Make the tutorial notebooks, tutorial.ipynb and tutorial_zh.ipynb: python build.py

Their code cells are those of code.py, their prose is that of en.md and zh.md, where `<!-- cell -->` marks the place of
a code cell. Both are run, with their outputs kept, and the picture of README is taken out of them.
Needs the extra `test` (nbclient, nbformat, ipykernel).
"""

import base64
import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).parent
NOTEBOOKS = {"en": HERE.parent / "tutorial.ipynb", "zh": HERE.parent / "tutorial_zh.ipynb"}
PICTURE = HERE.parent / "guides" / "images" / "overview.png"
MARK = re.compile(r"^<!-- cell -->$", re.MULTILINE)


def code_cells() -> list[str]:
    """The code of each cell, in order."""
    return [cell.strip() for cell in (HERE / "code.py").read_text(encoding="utf-8").split("# %%\n")[1:]]


def notebook(language: str) -> nbformat.NotebookNode:
    """The notebook in a language, "en" or "zh", without outputs.

    Raises ValueError when its prose has places for another number of code cells than there are.
    """
    prose, code = MARK.split((HERE / f"{language}.md").read_text(encoding="utf-8")), code_cells()
    if len(prose) != len(code) + 1:
        raise ValueError(f"{language}.md has {len(prose) - 1} places for code cells, and code.py has {len(code)}")
    cells = []
    for number, text in enumerate(prose):
        if text.strip():
            cells.append(new_markdown_cell(text.strip(), id=f"text-{number}"))
        if number < len(code):
            cells.append(new_code_cell(code[number], id=f"code-{number}"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def execute(made: nbformat.NotebookNode, small: bool = False, timeout: int | None = None) -> nbformat.NotebookNode:
    """Run a notebook in place, from the folder of the notebooks.

    small: with its short setting; timeout: of a cell, in seconds.
    Raises nbclient.exceptions.CellExecutionError when a cell fails.
    """
    from nbclient import NotebookClient

    if small:
        made.cells[1].source = made.cells[1].source.replace("SMALL = False", "SMALL = True")
    NotebookClient(made, timeout=timeout, resources={"metadata": {"path": str(HERE.parent)}}).execute()
    return made


def without_traces(made: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without times, warnings, and names of Python's version."""
    made.metadata.language_info = {"name": "python"}
    for cell in made.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return made


def pictures(made: nbformat.NotebookNode) -> dict[str, bytes]:
    """{id of the cell: the PNG that it shows}"""
    return {
        cell.id: base64.b64decode(output.data["image/png"])
        for cell in made.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    }


def main() -> None:
    made = without_traces(execute(notebook("en")))
    twin = notebook("zh")
    outputs = {cell.id: cell for cell in made.cells if cell.cell_type == "code"}
    twin.cells = [outputs.get(cell.id, cell) for cell in twin.cells]  # the same code has the same outputs
    for language, finished in {"en": made, "zh": twin}.items():
        nbformat.validate(finished)
        NOTEBOOKS[language].write_text(nbformat.writes(finished) + "\n", encoding="utf-8")
        print(f"wrote {NOTEBOOKS[language].name}")
    overview = next(cell.id for cell in made.cells if "12 encoder blocks" in cell.source and cell.cell_type == "code")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(pictures(made)[overview])
    print(f"wrote {PICTURE.name}")


if __name__ == "__main__":
    main()
