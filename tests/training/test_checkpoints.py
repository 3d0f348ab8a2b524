import errno
import math
import mmap
import os
import random
import struct
import warnings

import numpy as np
import paddle
import pytest
from conftest import refused
from safetensors import safe_open

from vitlib.training import CheckpointError, Checkpoints, state_file

STATE = {
    "model": {"blocks.0.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "steps": np.array(7, np.int64)},
    "history": [0.1, 2, "ü", None, True],
}


def equal(a, b):
    """The same types, bits and order."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, float):
        return isinstance(b, float) and struct.pack("d", a) == struct.pack("d", b)
    return type(a) is type(b) and a == b


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "run")


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 2**63, -(2**63), 2**128 + 1, -(10**5000)),
        *(0.1, -0.0, 5e-324, math.inf, -math.inf, math.nan, struct.unpack("d", b"\1\0\0\0\0\0\xf8\xff")[0]),
        *("", '\0\n"\\ü\ud800', None, True, [], {}, [[{"": []}]], {"dict": {"int": 1, "array": "x", "float": 2.0}}),
        *(np.zeros(0, np.float32), np.zeros((2, 0, 3), np.int8), np.array(2.5), np.array([True, False])),
        np.array([math.nan, math.inf, -0.0], np.float16),
        *(np.full(3, 2**64 - 1, np.uint64), np.array([1, 2], np.uint16)),
        {"a/b": np.zeros(1), "a": {"b": np.ones(2)}, "__metadata__": np.ones(3), "'": 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_states_come_back_to_the_bit(checkpoints, value):
    checkpoints.save(3, value)
    step, state = checkpoints.latest()
    assert step == 3
    assert equal(value, state)


def test_what_comes_back_otherwise_is_what_the_documentation_says(checkpoints):
    tensor = paddle.to_tensor([[1.5, -2.0]])
    state = {
        "tensor": tensor,
        "transposed": np.arange(6).reshape(2, 3).T,
        "big_endian": np.array([1, 2], ">i4"),
        "bfloat16": tensor.astype("bfloat16"),
        "tuple": (1, (2,)),
        "scalar": np.float32(0.1),
    }
    checkpoints.save(1, state)
    expected = {
        "tensor": np.array([[1.5, -2.0]], np.float32),
        "transposed": np.array([[0, 3], [1, 4], [2, 5]]),
        "big_endian": np.array([1, 2], np.int32),
        "bfloat16": np.array([[0x3FC0, 0xC000]], np.uint16),
        "tuple": [1, [2]],
        "scalar": float(np.float32(0.1)),
    }
    state = checkpoints.latest()[1]
    assert equal(expected, state)
    state["tensor"][:] = 0  # arrays are of their own


def test_files_open_as_safetensors(checkpoints):
    with safe_open(checkpoints.save(5, STATE), "numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("state/model/blocks.0.weight"), np.arange(12).reshape(3, 4))


@pytest.mark.parametrize("value", [{1: 2}, {"x": object()}, [b"x"], [np.array(["a"])], [np.zeros(1, complex)], [1j]])
def test_what_cannot_be_saved_is_refused_before_a_file_is_made(checkpoints, value):
    with refused(TypeError, "state"):
        checkpoints.save(1, {"deep": value})
    assert list(checkpoints.directory.iterdir()) == []


def test_the_last_ones_are_kept(checkpoints):
    assert checkpoints.latest() is None
    for step in (1, 5, 20, 100):
        checkpoints.save(step, STATE)
    assert checkpoints.steps() == [20, 100]
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == [
        "step-00000020.safetensors",
        "step-00000100.safetensors",
    ]
    assert checkpoints.latest()[0] == 100


def damages(data):
    """(what was done, damaged bytes) at every interesting place: each a flipped bit, a cut, or something else."""
    head = 8 + int.from_bytes(data[:8], "little")
    digest = data.index(b'"sha256":"') + 10
    text = data.index(b'"state":')
    names = data.index(b"data_offsets")
    for place in (0, 3, 7, 8, 9, digest, digest + 63, text + 12, names + 3, names + 20, head - 1, head, len(data) - 1):
        for bit in (0, 5, 7):
            yield f"bit {bit} of byte {place}", data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
    for length in (0, 1, 7, 8, 20, digest + 30, head - 1, head, head + 1, len(data) - 1):
        yield f"cut to {length}", data[:length]
    yield "zeros at the end", data[:-16] + bytes(16)
    yield "all zeros", bytes(len(data))
    yield "longer", data + b"\0"
    yield "twice", data * 2
    yield "a part twice", data[:head] + data[head:][::-1]
    rng = random.Random(0)
    for _ in range(100):
        place = rng.randrange(len(data))
        yield (
            f"random bit of byte {place}",
            data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
        )


def test_any_damage_is_noticed_and_the_checkpoint_before_is_taken(checkpoints):
    checkpoints.save(1, STATE)
    path = checkpoints.save(2, {**STATE, "more": 1})
    data = path.read_bytes()
    for what, damaged in damages(data):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"step-00000002\.safetensors.*(damaged|cannot be read)"):
            step, state = checkpoints.latest()
        assert step == 1, what
        assert equal(STATE, state)
        assert len(checkpoints.damaged) == 1
        assert str(path) in checkpoints.damaged[0]
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints.latest()[0] == 2
    assert checkpoints.damaged == []


def test_a_renamed_checkpoint_is_passed_over(checkpoints):
    checkpoints.save(1, STATE).rename(checkpoints.directory / "step-00000009.safetensors")
    with pytest.warns(UserWarning, match="renamed"), refused(CheckpointError, "no checkpoint", "step 1"):
        checkpoints.latest()


@pytest.mark.parametrize("content", [[1, 2], 7, {}, {"model": 1}, {"step": 9}, {"state": 1}], ids=str)
def test_a_file_of_that_name_with_other_contents_is_passed_over(checkpoints, content):
    checkpoints.save(1, STATE)
    state_file.write_state(checkpoints.directory / "step-00000009.safetensors", content)
    with pytest.warns(UserWarning, match=r"step-00000009\.safetensors was not written by"):
        assert checkpoints.latest()[0] == 1


@pytest.mark.parametrize("error", [OSError(errno.ESTALE, os.strerror(errno.ESTALE)), MemoryError()], ids=repr)
def test_a_read_error_that_passes_costs_no_checkpoint(checkpoints, monkeypatch, error):
    for step in (1, 2):
        checkpoints.save(step, STATE)

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", fails)
        with pytest.raises(type(error)):
            checkpoints.latest()
    assert checkpoints.latest()[0] == 2
    checkpoints.save(3, STATE)
    assert checkpoints.steps() == [2, 3]


def test_a_run_without_a_whole_checkpoint_does_not_start_anew(checkpoints):
    for step in (1, 2):
        checkpoints.save(step, STATE).write_bytes(b"x")
    with (
        pytest.warns(UserWarning, match="cut off"),
        refused(CheckpointError, "step-00000001", "step-00000002", "remove them"),
    ):
        checkpoints.latest()


def test_a_damaged_checkpoint_makes_way_and_does_not_count_as_kept(checkpoints):
    for step in (1, 2, 3):
        path = checkpoints.save(step, STATE)
    path.write_bytes(b"x")
    with pytest.warns(UserWarning, match="cut off"):
        assert checkpoints.latest()[0] == 2
    checkpoints.save(2, STATE)
    assert checkpoints.steps() == [2]
    checkpoints.save(3, STATE)
    assert checkpoints.steps() == [2, 3]


def test_another_run_s_later_checkpoints_are_not_overtaken(checkpoints):
    checkpoints.save(50, STATE)
    with refused(ValueError, "step 50", "later than 10", "empty directory"):
        Checkpoints(checkpoints.directory).save(10, STATE)
    assert checkpoints.steps() == [50]


def test_what_killed_runs_left_is_removed(checkpoints):
    checkpoints.save(1, STATE)
    leftover = checkpoints.directory / ".vitlib-0123456789abcdef.partial"
    leftover.write_bytes(b"x" * 100)
    foreign = checkpoints.directory / "notes.txt"
    foreign.write_text("mine")
    Checkpoints(checkpoints.directory, rank=1)
    assert leftover.exists()
    assert Checkpoints(checkpoints.directory).latest()[0] == 1
    assert not leftover.exists()
    assert foreign.exists()


def test_a_full_disk_costs_the_new_checkpoint_only(checkpoints):
    resource = pytest.importorskip("resource")
    for step in (1, 2):
        checkpoints.save(step, STATE)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            checkpoints.save(3, {"w": np.zeros(5000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == [
        "step-00000001.safetensors",
        "step-00000002.safetensors",
    ]
    assert equal(STATE, checkpoints.latest()[1])


def test_only_the_first_process_writes(tmp_path):
    first, second = Checkpoints(tmp_path), Checkpoints(tmp_path, rank=1)
    assert second.save(1, STATE) is None
    assert first.latest() is None
    assert first.save(1, STATE) == tmp_path / "step-00000001.safetensors"
    assert second.latest()[0] == 1


def test_directories_that_cannot_work_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(NotADirectoryError, "file"):
        Checkpoints(tmp_path / "file")
    with refused(ValueError, "keep=0"):
        Checkpoints(tmp_path, keep=0)
    with refused(ValueError, "step=-1"):
        Checkpoints(tmp_path).save(-1, STATE)
