"""JSON objects in files."""

from __future__ import annotations

import json
from pathlib import Path

from vitlib.checkpoint.json_file import read_json, write_json


def test_names_of_files_that_are_not_utf8_are_written_as_utf8_and_read_again(tmp_path: Path) -> None:
    values = {"labels": ["caf\udce9", "café"]}  # the first as Python reads the name b"caf\xe9"
    write_json(tmp_path / "config.json", values)
    written = (tmp_path / "config.json").read_text("utf-8")
    assert r"caf\udce9" in written
    assert "café" in written
    assert json.loads(written) == read_json(tmp_path / "config.json") == values
