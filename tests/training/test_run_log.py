"""log.csv, the curve, the bar and VisualDL, as far as a person or a program reads them."""

import csv
import sys
import types

import pytest
from conftest import refused
from PIL import Image

from vitlib.training import RunLog


def rows(directory):
    with open(directory / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def epoch(log, losses, evaluation=None):
    for loss in losses:
        log.step(loss, right=3, images=4)
    return log.epoch(evaluation)


def test_a_row_has_means_over_the_images_of_its_epoch(tmp_path):
    log = RunLog(tmp_path, 6)
    log.step(1.0, right=1, images=1)
    log.step(3.0, right=1, images=3)
    row = log.epoch({"validation_loss": 0.5, "validation_accuracy": 87.5})
    assert row["train_loss"] == pytest.approx((1 * 1 + 3 * 3) / 4)
    assert row["train_accuracy"] == pytest.approx(50)
    epoch(log, [7.0], {"validation_loss": 0.25, "validation_accuracy": 90.0})
    log.close()
    written = rows(tmp_path)
    assert [row["epoch"] for row in written] == ["1", "2"]
    assert [float(row["train_loss"]) for row in written] == [2.5, 7.0]
    assert [float(row["validation_accuracy"]) for row in written] == [87.5, 90.0]


def test_the_bar_shows_epoch_loss_accuracy_speed_and_time_left(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log = RunLog(tmp_path, 4)
    epoch(log, [2.0, 1.0])
    log.step(3.0, right=0, images=4)
    log.close()
    bar = capsys.readouterr().err.split("\r")[-1]
    for word in ("epoch 2: ", "3/4", "loss 2.000", "accuracy 50.0 %", "images/s", "<"):
        assert word in bar


def test_there_is_no_bar_in_a_file_or_a_pipe(tmp_path, capsys):
    log = RunLog(tmp_path, 4)
    epoch(log, [2.0, 1.0])
    log.message("a line")
    log.close()
    assert capsys.readouterr() == ("a line\n", "")


def test_a_log_that_goes_on_forgets_what_is_done_again(tmp_path):
    log = RunLog(tmp_path, 9)
    epoch(log, [3.0, 2.0], {"validation_loss": 2.0})
    log.step(2.0, right=1, images=4)
    state = log.state_dict()
    log.step(100.0, right=4, images=4)
    log.epoch({"validation_loss": 100.0})
    log.close()

    again = RunLog(tmp_path, 9)
    again.set_state_dict(state)
    epoch(again, [1.0], {"validation_loss": 1.0})
    again.close()
    assert [float(row["train_loss"]) for row in rows(tmp_path)] == [2.5, 1.5]
    assert [float(row["validation_loss"]) for row in rows(tmp_path)] == [2.0, 1.0]


def test_unreadable_images_are_counted_each_time_and_named_once(tmp_path, capsys):
    log = RunLog(tmp_path, 9)
    for _ in range(2):
        log.unreadable(["'a.jpg' is broken", "'b.jpg' is broken"])
        log.step(1.0, right=1, images=2)
        log.epoch()
    log.name_unreadable(["'c.jpg' is broken", "'a.jpg' is broken"])
    log.close()
    said = capsys.readouterr().out
    assert [said.count(f"left out: '{name}.jpg' is broken") for name in "abc"] == [1, 1, 1]
    assert [row["unreadable"] for row in rows(tmp_path)] == ["2", "2"]


def test_the_curve_is_an_image_that_changes_with_the_epochs(tmp_path):
    log = RunLog(tmp_path, 9)
    seen = set()
    for loss in (3.0, 2.0):
        epoch(log, [loss], {"validation_loss": loss, "validation_accuracy": None})
        with Image.open(tmp_path / "curve.png") as image:
            assert image.format == "PNG"
            seen.add(image.convert("RGB").tobytes())
    log.close()
    assert len(seen) == 2


def test_a_process_that_does_not_show_writes_nothing(tmp_path, capsys):
    log = RunLog(tmp_path / "run", 9, show=False)
    epoch(log, [1.0])
    log.close()
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr() == ("", "")


def test_a_missing_package_is_named_with_the_extra_that_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "matplotlib" else object())
    with refused(ImportError, "matplotlib", "vitlib[train]"):
        RunLog(tmp_path, 9)


@pytest.fixture
def visualdl(monkeypatch):
    """A stand-in for the package; its list of files, each with the (tag, value, step) written to it."""
    files = []

    class LogWriter:
        def __init__(self, logdir):
            self.logdir, self.scalars, self.flushed, self.closed = logdir, [], 0, False
            files.append(self)

        def add_scalar(self, tag, value, step):
            self.scalars.append((tag, value, step))

        def flush(self):
            self.flushed = len(self.scalars)

        def close(self):
            self.closed = True

    module = types.ModuleType("visualdl")
    module.LogWriter, module.__spec__ = LogWriter, types.SimpleNamespace(name="visualdl")
    monkeypatch.setitem(sys.modules, "visualdl", module)
    return files


def test_visualdl_gets_every_row_in_one_file_also_when_the_log_goes_on(tmp_path, visualdl):
    """Of several files in a folder VisualDL shows the newest alone."""
    log = RunLog(tmp_path, 9)
    epoch(log, [3.0], {"validation_accuracy": 50.0})
    epoch(log, [2.0], {"validation_accuracy": None})
    state = log.state_dict()
    log.close()
    again = RunLog(tmp_path, 9)
    again.set_state_dict(state)
    epoch(again, [1.0], {"validation_accuracy": 75.0})
    again.close()

    assert [file.logdir for file in visualdl] == [str(tmp_path / "visualdl")] * 2
    for file, losses in zip(visualdl, ([3.0, 2.0], [3.0, 2.0, 1.0]), strict=True):
        steps = range(1, len(losses) + 1)
        assert [s for s in file.scalars if s[0] == "train_loss"] == [
            ("train_loss", loss, step) for loss, step in zip(losses, steps, strict=True)
        ]
        assert file.flushed == len(file.scalars)
        assert file.closed
    accuracies = [s for s in visualdl[1].scalars if s[0] == "validation_accuracy"]
    assert accuracies == [("validation_accuracy", 50.0, 1), ("validation_accuracy", 75.0, 3)]
