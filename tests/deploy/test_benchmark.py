"""The benchmark takes turns, compares within a round, and goes on where a candidate fails."""

import ast
import json
import sys
from pathlib import Path

import pytest
from conftest import refused
from shapes import draw_folder

from vitlib.cli import main
from vitlib.deploy import benchmark, benchmark_peers
from vitlib.deploy.benchmark import Result, ratio, table
from vitlib.deploy.benchmark_candidate import Candidate
from vitlib.deploy.benchmark_folder import FolderResult, folder_table


def result(candidate, seconds, is_peer=False, batch=2):
    return Result(candidate, "float32", "vit_tiny_patch16_224", 224, batch, is_peer, seconds, 5_000_000)


def test_ratios_are_taken_within_a_round():
    mine, other = result("paddle", [1.0, 10.0, 2.0]), result("timm eager", [2.0, 20.0, 3.0], is_peer=True)
    assert ratio(mine, other) == 2.0  # of 2, 2 and 1.5, however slow the second round was


def test_the_table_has_the_fastest_first_beside_the_fastest_peer():
    rows = [result("onnxruntime", [0.2] * 3), result("slow peer", [0.8] * 3, True), result("peer", [0.4] * 3, True)]
    lines = table([*rows, Result("broken", "float32", "vit_tiny_patch16_224", 224, 2, False, error="no such thing")])
    lines = lines.splitlines()
    assert lines[0] == "vit_tiny_patch16_224, 224 x 224, batch 2, float32"
    assert [line.split()[0] for line in lines[2:5]] == ["vitlib", "peer", "slow"]
    assert lines[2].split()[-4:] == ["200.0", "10.0", "2.00", "5"]
    assert lines[5].endswith("failed: no such thing")


def test_a_candidate_that_died_midway_has_no_speed():
    died = result("paddle", [0.1] * 2)
    died.error = "killed"
    lines = table([died, result("peer", [0.4] * 3, True)]).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["peer", "paddle"]
    assert lines[3].endswith("failed: killed")


@pytest.mark.parametrize(
    ("code", "words"), [('print(\'{"error": "cannot"}\')', "cannot"), ("raise SystemExit(3)", "ended")]
)
def test_a_candidate_that_fails_or_dies_says_so(code, words):
    candidate = Candidate("paddle", "float32", [sys.executable, "-c", code], False, {})
    assert candidate.run(1) == {}
    assert words in candidate.error
    candidate.close()
    assert candidate.process.returncode is not None


def test_engines_are_timed_in_turn(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    arguments = ["vit_tiny_patch16_224", "--sizes", "32", "--batches", "1", "2", "--rounds", "1", "--threads", "1"]
    arguments += ["--engines", "paddle", "onnxruntime", "--precisions", "float32", "--json", str(tmp_path / "r.json")]
    assert main(["bench", *arguments]) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert [(row["candidate"], row["batch"], len(row["seconds"]), row["error"]) for row in found["results"]] == [
        ("paddle", 1, 1, ""),
        ("onnxruntime", 1, 1, ""),
        ("paddle", 2, 1, ""),
        ("onnxruntime", 2, 1, ""),
    ]
    assert all(row["peak_bytes"] > 50e6 for row in found["results"])
    assert found["machine"]["threads"] == 1
    assert "vitlib paddle" in capsys.readouterr().out


def test_a_folder_is_timed_from_files_to_outputs_beside_the_engine_alone(tmp_path, capsys):
    folder = draw_folder(tmp_path, train=2, validation=0) / "train"
    arguments = ["vit_tiny_patch16_224", "--sizes", "32", "--batches", "4", "--rounds", "2", "--threads", "1"]
    arguments += ["--engines", "paddle", "--precisions", "float32", "--json", str(tmp_path / "r.json")]
    assert main(["bench", *arguments, "--images", str(folder)]) == 0
    (row,) = json.loads((tmp_path / "r.json").read_text())["results"]
    assert row["num_images"] == len(list(folder.rglob("*.*")))
    assert all(seconds > 0 for seconds in row["alone"] + row["end_to_end"])
    assert len(row["alone"]) == len(row["end_to_end"]) == 2
    assert "vit_tiny_patch16_224, batch 4, paddle float32" in capsys.readouterr().out


def test_the_share_of_a_folders_time_is_taken_within_a_round():
    row = FolderResult("paddle", "float32", "m", 224, 8, 64, [1.0, 4.0, 1.0], [2.0, 5.0, 1.0])
    assert row.share == 0.8
    assert folder_table([row]).splitlines()[1].split()[-3:] == ["64.0", "32.0", "0.80"]


def test_an_unknown_engine_or_peer_is_refused():
    with refused(ValueError, "tensorrt", "'paddle'"):
        benchmark.benchmark(["vit_tiny_patch16_224"], engines=["tensorrt"])
    with refused(ValueError, "timm fast", "'timm eager'"):
        benchmark.benchmark(["vit_tiny_patch16_224"], engines=[], peer_names=["timm fast"])


def test_time_is_plotted_over_batch_or_image_size(tmp_path):
    pytest.importorskip("matplotlib")
    from vitlib.deploy.benchmark_plot import plot

    plot([result("paddle", [0.1], batch=1), result("paddle", [0.3], batch=4)], tmp_path / "batches.png")
    sizes = [Result("paddle", "float32", "m", size, 1, True, [size / 1000]) for size in (224, 448)]
    plot([*sizes, Result("broken", "float32", "m", 224, 1, False, error="no")], tmp_path / "sizes.png")
    for name in ("batches", "sizes"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_peers_file_needs_nothing_but_python_to_be_imported():
    tree = ast.parse(Path(benchmark_peers.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert {module.partition(".")[0] for module in modules} <= set(sys.stdlib_module_names)
