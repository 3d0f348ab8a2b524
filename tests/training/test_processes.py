"""Several processes: `paddle.distributed.launch` with two of them on the CPU, against one process."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

import vitlib
from vitlib.images import ImageFolder
from vitlib.training import EpochSampler
from vitlib.training.state_file import read_state, write_state

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "train_deit.py"
CHECKS = Path(__file__).with_name("in_processes.py")
NETWORK = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


def environment():
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PADDLE_")}
    return {**alone, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def run(command, directory, seconds=300):
    """(exit code, what it printed); whatever is left of it after that time is killed."""
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output = process.communicate(timeout=seconds)[0]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


def launch(script, *arguments, directory):
    """As `run`, in two processes, with what each of them printed."""
    logs = directory / "log"
    shutil.rmtree(logs, ignore_errors=True)
    # The launcher takes a free port by itself, at random
    command = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", logs, script, *arguments]
    code, output = run(command, directory)
    return code, output, [(logs / f"workerlog.{rank}").read_text() for rank in range(2)]


def last_state(directory):
    return read_state(max((directory / "checkpoints").glob("*.safetensors")))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """126 images to train on, 7 to validate: an odd number, and less than a batch of two processes."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    for part, counts in {"train": (42, 42, 42), "validation": (2, 3, 2)}.items():
        for label, count in enumerate(counts):
            (folder / part / "abc"[label]).mkdir(parents=True)
            for number in range(count):
                pixels = 60 + 50 * label + 40 * rng.standard_normal((20, 20, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / part / "abc"[label] / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Arguments of a small DeiT with a teacher, Mixup, CutMix, repeats, averages, accumulation and clipping."""
    directory = tmp_path_factory.mktemp("teacher")
    paddle.seed(1)
    teacher = vitlib.create_model("vit_tiny_patch16_224", num_classes=3, **NETWORK)
    (directory / "checkpoints").mkdir()
    write_state(directory / "checkpoints" / "best.safetensors", {"epoch": 1, "model": dict(teacher.state_dict())})
    arguments = {"model": "vit_tiny_patch16_224", "set": NETWORK}
    (directory / "run.json").write_text(json.dumps({"arguments": arguments, "classes": ["a", "b", "c"]}))
    (directory / "result.json").write_text("{}")  # it has finished
    network = [f"{name}={value}" for name, value in (NETWORK | {"drop_path_rate": 0}).items()]
    text = (
        "--epochs 2 --warmup-epochs 1 --threads 1 --repeats 3 --ema 0.9 --accumulate 2 --clip 1 --save-every 0 --strict"
    )
    model = ["--model", "deit_tiny_distilled_patch16_224"]
    return [*model, "--teacher", directory, "--set", *network, *text.split()]


@pytest.fixture(scope="module")
def alone(data, options, tmp_path_factory):
    """The run of one process: 2 epochs of 10 batches of 12 images, 10 steps."""
    directory = tmp_path_factory.mktemp("alone")
    code, output = run([SCRIPT, data, *options, "--batch-size", "12", "--output", directory / "run"], directory)
    assert code == 0, output
    return directory / "run"


@pytest.fixture(scope="module")
def together(data, options, tmp_path_factory):
    """The same of two processes."""
    directory = tmp_path_factory.mktemp("together")
    command = [SCRIPT, data, *options, "--batch-size", "6", "--output", directory / "run"]
    code, output, logs = launch(*command, directory=directory)
    assert code == 0, output
    return {"run": directory / "run", "logs": logs}


def test_two_processes_train_as_one_that_takes_their_batches_together(alone, together):
    one, two = (last_state(directory) for directory in (alone, together["run"]))
    assert one["step"] == two["step"] == 10
    for part in (lambda state: state["model"], lambda state: state["ema"]["average"]):
        expected, found = part(one["state"]), part(two["state"])
        assert expected.keys() == found.keys()
        for name in expected:
            if name.endswith("qkv.bias"):  # the keys' has no effect, and Adam makes steps of its gradient's rounding
                query, _, value = np.split(expected[name] - found[name], 3)
                assert np.abs([query, value]).max() < 1e-6, name
            else:
                assert np.abs(expected[name] - found[name]).max() < 1e-6, name


def test_two_processes_find_the_metrics_of_one(alone, together):
    rows = [
        [{name: value for name, value in row.items() if name != "images_per_second"} for row in log["rows"]]
        for log in (last_state(directory)["state"]["extra"]["log"] for directory in (alone, together["run"]))
    ]
    assert len(rows[0]) == 2
    for one, two in zip(*rows, strict=True):
        assert one == pytest.approx(two, abs=2e-5)
    one, two = (
        json.loads((directory / "result.json").read_text())["validation"] for directory in (alone, together["run"])
    )
    assert two["images"] == 7
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
    assert two["right"] == one["right"]


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others_and_the_same_command_goes_on(data, options, together, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    train = ImageFolder(tmp_path / "data" / "train")
    broken = Path(train.samples[list(EpochSampler(126, 12, repeats=3))[2][4][0]][0])  # in the third batch
    whole = broken.read_bytes()
    broken.write_bytes(b"nothing")
    command = [SCRIPT, tmp_path / "data", *options, "--batch-size", "6", "--output", tmp_path / "run"]
    code, output, _ = launch(*command, directory=tmp_path)
    assert code != 0
    assert broken.name in output
    assert "train_deit.py: " in output
    assert last_state(tmp_path / "run")["step"] == 1
    broken.write_bytes(whole)
    code, output, logs = launch(*command, directory=tmp_path)
    assert code == 0, output
    assert "going on after 1 steps" in logs[0]
    assert "going on" not in logs[1]
    expected, found = (last_state(run)["state"]["model"] for run in (together["run"], tmp_path / "run"))
    assert all(np.abs(expected[name] - found[name]).max() < 1e-6 for name in expected)


def test_only_the_first_process_writes(alone, together):
    def names(directory):
        return {str(path.relative_to(directory)) for path in directory.rglob("*")}

    assert names(together["run"]) == names(alone)
    first, second = together["logs"]
    assert "validation: model" in first
    for word in ("step/s", "validation", "thread on"):
        assert word not in second


def test_processes_agree(tmp_path):
    """The checks in in_processes.py."""
    code, output, logs = launch(CHECKS, tmp_path, directory=tmp_path)
    assert code == 0, output
    for log in logs:
        assert "every check passed" in log
