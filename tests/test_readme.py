"""What README says runs."""

import pathlib
import re
import subprocess
import sys

from vitlib.weights.dialects import CODEBASES, NAMES, codebase_table

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tour_runs_as_it_stands(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 6
    program = "\n".join(blocks) + "\nprint('the end')\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("the end\n")
    assert "86,567,656 parameters, 17.564 GMACs" in done.stdout
    assert (tmp_path / "exported" / "deit.pdiparams").exists()


def test_the_table_of_what_loads_from_where_is_the_code_s():
    assert codebase_table() in README
    assert set(CODEBASES) == set(NAMES)


def test_the_set_up_takes_two_commands():
    commands = re.findall(r"^python3 -m venv .* && .*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert "examples/quickstart.py" in commands[0]
    assert "pytest" in commands[1]
