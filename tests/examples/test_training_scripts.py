"""What finetune.py and train_deit.py have in common: options, folders, how they stop and what they print."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from scripts import EXAMPLES, call
from shapes import draw_folder

import vitlib
from vitlib.training import Checkpoints

LENET = ["--model", "paddle:LeNet", "--grey", "--size", 28, "--batch-size", 6, "--mixup", 0, "--cutmix", 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("shapes"), train=20, validation=4, test=5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    directory = tmp_path_factory.mktemp("weights")
    model = vitlib.VisionTransformer(img_size=24, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=2)
    model.save_pretrained(directory)
    return directory


def start(script, *arguments, **environment):
    """The script in a process of its own, with the package of this checkout."""
    return subprocess.Popen(
        list(map(str, [sys.executable, EXAMPLES / script, *arguments])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), **environment},
        start_new_session=True,
    )


def wait_for(condition, process, seconds=100):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)


def lines(text):
    """Without the bar, which is drawn over and over."""
    return [line for line in re.split(r"[\r\n]+", text) if line.strip() and "step/s" not in line and "%|" not in line]


@pytest.mark.parametrize("script", ["train_deit.py", "finetune.py", "classify.py"])
def test_help_shows_groups_an_example_and_the_default_of_each_option(script):
    error, written = call(script, "--help")
    assert error is None
    assert f"    python {script} " in written
    required = {"train_deit.py": ["--output"], "finetune.py": ["--output", "--weights"], "classify.py": []}[script]
    options = re.findall(r"^  (--\S+)( \S.*?)?(?: {2,}|\n {3,})(\S.*(?:\n {3,}.*)*)", written, re.MULTILINE)
    assert len(options) >= (4 if script == "classify.py" else 30)
    for option, value, described in options:
        assert ("(default: " in " ".join(described.split())) == (value != "" and option not in required), option
    if script != "classify.py":
        for group in ("the model:", "the data:", "the training:", "the augmentation:", "the machine:"):
            assert f"\n{group}\n" in written


@pytest.mark.parametrize("epochs", [1, 3])
def test_short_runs_work_and_say_that_the_warm_up_is_a_fifth(folder, tmp_path, epochs):
    error, written = call("train_deit.py", folder, *LENET, "--epochs", epochs, "--output", tmp_path)
    assert error is None, written
    assert f"warm-up: {epochs / 5:g} of {epochs} epochs, a fifth; --warmup-epochs sets it" in written
    said = [line for line in lines(written) if line.startswith("epoch ")]
    number = r"\d+\.\d+"
    pattern = rf"train loss {number}, accuracy {number} %; validation loss {number}, accuracy {number} %"
    for epoch, line in enumerate(said, 1):
        assert re.match(rf"epoch {epoch} of {epochs}: {pattern}", line)
    assert len(said) == epochs
    assert re.search(rf"the best of {epochs} epochs is [1-{epochs}]", written)


@pytest.mark.parametrize("layout", ["val", "train alone", "flat"])
def test_folders_may_be_named_val_or_have_no_validation(folder, weights, tmp_path, layout):
    data = tmp_path / "data"
    if layout == "flat":
        shutil.copytree(folder / "train", data)
    else:
        shutil.copytree(folder / "train", data / "train")
    if layout == "val":
        shutil.copytree(folder / "validation", data / "val")
    options = ["--weights", weights, "--epochs", 1, "--batch-size", 12, "--head-only", "--output", tmp_path / "run"]
    error, written = call("finetune.py", data, *options)
    assert error is None, written
    apart = "there is no folder for validation, so 6 of 60 training images are set apart for it"
    assert (apart in written) == (layout != "val")
    assert f" % of {12 if layout == 'val' else 6} images" in written
    if layout == "flat":
        error, written = call("finetune.py", data, *options[:-1], tmp_path / "more", "--validation-share", 0.5)
        assert error is None, written
        assert "so 30 of 60 training images are set apart" in written


def test_images_of_other_kinds_are_told_and_taken_with_an_option(folder, weights, tmp_path):
    data = shutil.copytree(folder, tmp_path / "data")
    for path in (data / "train" / "circle").glob("*.jpg"):
        path.rename(path.with_suffix(".jfif"))
    options = ["--weights", weights, "--epochs", 1, "--batch-size", 12, "--head-only"]
    error, written = call("finetune.py", data, *options, "--output", tmp_path / "run")
    assert error is None, written
    assert "10 files passed over: 10 .jfif; extensions" in written
    options += ["--extensions", ".jpg", "jfif", ".png"]
    error, written = call("finetune.py", data, *options, "--output", tmp_path / "all")
    assert error is None, written


def test_a_size_that_patches_do_not_divide_is_told_in_the_words_of_the_script(folder, weights, tmp_path):
    options = ["--weights", weights, "--batch-size", 12, "--output", tmp_path / "run"]
    error, _ = call("finetune.py", folder, *options, "--size", 100)
    assert "--size 100: " in error
    assert "8" in error
    assert "dynamic_img_pad" not in error
    error, _ = call("finetune.py", folder, *options, "--size", 24, 25)
    assert "--size 24 25: " in error


def test_the_folder_of_a_run_gives_its_best_model(folder, weights, tmp_path):
    for source, output in ((weights, tmp_path / "first"), (tmp_path / "first", tmp_path / "second")):
        options = ["--epochs", 1, "--batch-size", 12, "--head-only", "--weights", source]
        error, written = call("finetune.py", folder, *options, "--output", output)
        assert error is None, written
    assert "the head is fresh" not in written  # it was for these classes


def test_ctrl_c_saves_and_the_same_command_goes_on_to_the_same_bits(folder, weights, tmp_path):
    def run(name):
        return start("finetune.py", folder, "--weights", weights, *options, "--output", tmp_path / name)

    options = ["--epochs", 2, "--batch-size", 2, "--threads", 1]
    alone, stopped = run("alone"), run("stopped")
    wait_for(lambda: [*(tmp_path / "stopped" / "checkpoints").glob("step-*")], stopped)
    stopped.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, said = stopped.communicate(timeout=100)
    assert time.monotonic() - asked < 15  # on a busy machine; the step and the checkpoint take a moment
    assert stopped.returncode == 130
    steps = Checkpoints(tmp_path / "stopped" / "checkpoints", rank=1).steps()[-1]
    assert lines(said) == [f"finetune.py: stopped; the same command goes on after {steps} steps"]
    assert alone.communicate(timeout=200)[0]
    again = run("stopped")
    written, said = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert f"going on after {steps} steps" in written
    one, other = ((tmp_path / name / "checkpoints" / "step-00000060.safetensors") for name in ("alone", "stopped"))
    first, second = (vitlib.training.state_file.read_state(path)["state"]["model"] for path in (one, other))
    assert all((value == second[name]).all() for name, value in first.items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.2, 0.8])
def test_a_signal_in_the_first_moments_is_one_line_that_is_true(folder, tmp_path, number, seconds):
    process = start("train_deit.py", folder, *LENET, "--output", tmp_path / "run")
    time.sleep(seconds)
    process.send_signal(number)
    written, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    last, checkpoints = (written + said).splitlines()[-1], tmp_path / "run" / "checkpoints"
    if checkpoints.is_dir() and any(checkpoints.iterdir()):  # a quick machine trains by then
        assert re.fullmatch(r"train_deit\.py: stopped; the same command goes on after \d+ steps?", last), last
    else:
        assert last in (
            "train_deit.py: stopped while it was starting",
            "train_deit.py: stopped before the first checkpoint; the same command starts anew",
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_ends_it_with_its_workers_in_one_line(folder, tmp_path, number):
    """As from a terminal, and from schedulers."""
    process = start("train_deit.py", folder, *LENET, "--workers", 2, "--output", tmp_path / "run")
    wait_for(lambda: (tmp_path / "run" / "run.json").exists(), process)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: len(children.read_text().split()) >= 2, process)
    workers = children.read_text().split()
    os.killpg(process.pid, number)
    written, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    (line,) = lines(said)
    assert re.fullmatch(r"train_deit\.py: stopped; the same command goes on after \d+ steps", line)
    assert "Traceback" not in written + said
    until = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{worker}") for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{worker}") for worker in workers)


def test_lines_of_other_packages_are_left_out_and_other_warnings_are_not(folder, tmp_path):
    environment = {"MPLCONFIGDIR": str(tmp_path / "matplotlib")}  # without a font cache yet
    process = start("train_deit.py", folder, *LENET, "--epochs", 1, "--output", tmp_path / "run", **environment)
    written, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert lines(said) == []
    for text in ("ccache", "font cache", "Warning"):
        assert text not in written


def test_a_script_leaves_out_the_same_lines_and_no_others():
    code = (
        "import startup, warnings, logging\n"
        "def main():\n"
        "    warnings.warn('No ccache found. Please'); warnings.warn('something else')\n"
        "    log = logging.getLogger('matplotlib.font_manager')\n"
        "    log.warning('Matplotlib is building the font cache.'); log.warning('another line')\n"
        "startup.end_with_a_sentence(main)"
    )
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=True, env=environment)
    assert "-c: something else\n" in done.stderr
    assert done.stderr.endswith("another line\n")
    assert len(done.stderr.splitlines()) == 2
