"""Workers of a loader: how they end, and what they do without."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from vitlib.images import ImageFolder, Preprocess, load_batches

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import sys, time
from vitlib.images import ImageFolder, Preprocess, load_batches

def keys():
    while True:
        yield [0, 1]

class Sampler:
    __iter__ = lambda self: keys()
    __len__ = lambda self: 1 << 30

for _ in load_batches(ImageFolder(sys.argv[1], preprocess=Preprocess(8)), Sampler(), num_workers=2):
    print("a batch", flush=True)
    time.sleep(0.05)
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), name == "ant" and "red").save(tmp_path / name / "0.png")
    return tmp_path


def running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="finds processes as Linux has them")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent_however_it_ends(folder, sent):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout.readline() == "a batch\n"
    workers = children(program.pid)
    assert len(workers) == 2
    program.send_signal(sent)
    program.communicate(timeout=60)
    until = time.monotonic() + 20
    while any(map(running, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(running, workers))


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="finds processes as Linux has them")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_signals_of_others_than_the_parent_do_not_end_workers(folder, sent):
    """As of Ctrl-C and of schedulers, which signal all processes: the parent may still save, and needs a batch to."""
    before = set(children(os.getpid()))
    batches = load_batches(ImageFolder(folder, preprocess=Preprocess(8)), [[0, 1]] * 50, num_workers=2)
    next(batches)
    for worker in set(children(os.getpid())) - before:
        subprocess.run(["kill", f"-{sent.name[3:]}", str(worker)], check=True)
    assert len(list(batches)) == 49


@pytest.mark.parametrize(("free", "shared"), [(64 << 20, False), (8 << 30, True)])
def test_shared_memory_is_used_where_there_is_enough_of_it(folder, free, shared):
    dataset = ImageFolder(folder, preprocess=Preprocess(224))  # 0.6 MB an image
    with (
        mock.patch("shutil.disk_usage", return_value=mock.Mock(free=free)),
        mock.patch("os.path.isdir", return_value=True),
        mock.patch("paddle.io.DataLoader", return_value=[]) as loader,
    ):
        list(load_batches(dataset, [[0, 1] * 16] * 4, num_workers=2))
        assert loader.call_args.kwargs["use_shared_memory"] is shared


def test_batches_are_the_same_without_shared_memory(folder):
    dataset = ImageFolder(folder, preprocess=Preprocess(8))
    found = []
    for free in (0, 8 << 30):
        with mock.patch("shutil.disk_usage", return_value=mock.Mock(free=free)):
            found.append([batch[0].numpy() for batch in load_batches(dataset, [[0], [1], [1, 0]], num_workers=2)])
    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))
    assert len(found[0]) == 3
