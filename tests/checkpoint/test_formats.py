"""Every format is read exactly, lazily and as data; what cannot be read is refused by a sentence."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import fuzz_formats
import numpy as np
import pytest
from hostile_files import Calls, torch_archive
from reading import ARRAYS, ROOT, WRITERS, W, archive, as_npz, as_safetensors, npy, read_all, refusal

from vitlib.checkpoint import WeightsError, open_weights
from vitlib.checkpoint import tensors as tensor_module
from vitlib.checkpoint.errors import listed


@pytest.mark.parametrize("kind", WRITERS)
def test_values_shapes_and_types_are_those_that_were_written(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "file")
    with open_weights(tmp_path / "file") as weights:
        assert set(weights) == set(ARRAYS)
        assert len(weights) == len(ARRAYS)
        for name, array in ARRAYS.items():
            assert weights.spec(name) == (array.shape, array.dtype.name)
            read = weights.read(name)
            assert read.dtype == array.dtype
            assert not read.flags.writeable
            np.testing.assert_array_equal(read, array)
        assert weights.format == {"s": "safetensors", "n": "npz", "d": "npz", "p": "pdparams"}[kind[0]]
        assert (weights.wrapper, weights.extras) == ("", [])


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in ("deflated npz", "pickle 2")])
def test_tensors_are_windows_on_the_file(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "file")
    with open_weights(tmp_path / "file") as weights:
        first, again = weights.read("float32"), weights.read("float32")
    assert np.shares_memory(first, again)


@pytest.mark.parametrize("kind", WRITERS)
def test_specs_are_known_without_reading_any_tensor(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[kind](tmp_path / "file")
    monkeypatch.setattr(tensor_module.np, "ndarray", None)
    with open_weights(tmp_path / "file") as weights:
        assert {name: weights.spec(name)[0] for name in weights} == {n: a.shape for n, a in ARRAYS.items()}


def test_arrays_outlive_the_file_that_they_came_from(tmp_path: Path) -> None:
    as_safetensors(tmp_path / "file")
    arrays = read_all(tmp_path / "file")
    (tmp_path / "file").unlink()
    np.testing.assert_array_equal(arrays["float32"], ARRAYS["float32"])


def test_a_closed_file_says_so(tmp_path: Path) -> None:
    as_npz(tmp_path / "file")
    with open_weights(tmp_path / "file") as weights:
        pass
    with pytest.raises(ValueError, match="is closed"):
        weights.read("float32")


def test_a_name_that_is_not_there_is_a_key_error(tmp_path: Path) -> None:
    as_npz(tmp_path / "file")
    with open_weights(tmp_path / "file") as weights, pytest.raises(KeyError, match="absent"):
        weights.read("absent")


def test_a_missing_file_is_reported_as_the_system_does(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_weights(tmp_path / "absent")


def bfloat16_patterns() -> tuple[np.ndarray, np.ndarray]:
    bits = np.arange(65536, dtype=np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32)


def test_every_bfloat16_of_a_safetensors_file_is_widened_exactly(write: Callable[..., Path]) -> None:
    bits, wide = bfloat16_patterns()
    header = json.dumps({"w": {"dtype": "BF16", "shape": [256, 256], "data_offsets": [0, 131072]}}).encode()
    path = write(len(header).to_bytes(8, "little") + header + bits.tobytes())
    with open_weights(path) as weights:
        assert weights.spec("w") == ((256, 256), "bfloat16")
        read = weights.read("w")
    assert read.dtype == np.float32
    assert read.tobytes() == wide.tobytes()


def test_bfloat16_of_jax_in_an_npz_is_widened_exactly(tmp_path: Path) -> None:
    bits, wide = bfloat16_patterns()
    np.savez(tmp_path / "w.npz", w=bits.view("V2"))
    with open_weights(tmp_path / "w.npz") as weights:
        assert weights.spec("w") == ((65536,), "bfloat16")
        assert weights.read("w").tobytes() == wide.tobytes()


def test_uint16_of_paddle_is_bfloat16(write: Callable[..., Path]) -> None:
    bits, wide = bfloat16_patterns()
    assert read_all(write(pickle.dumps({"w": np.array(0x3FC0, np.uint16)})))["w"] == np.float32(1.5)
    assert read_all(write(pickle.dumps({"w": bits})))["w"].tobytes() == wide.tobytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "is an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is an XML page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x1f\x8b\x08" + bytes(100), "gzip"),
        (b"x" * 257 + b"ustar" + bytes(300), "tar archive"),
        (b"\x08\x07\x12\x07pytorch\x1a\x05" + bytes(50), "ONNX"),
        (b"\x82\xa6params\xc0\xa3opt\xc0", "msgpack"),
        (bytes(100) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "TensorFlow"),
        (bytes(16) + b"\x0a\0\0\0\x08\x05" + bytes(20), ".pdiparams"),
        (b'{"architectures": ["ViTModel"]}', "without a weight_map"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "single NumPy array"),
        (b"hello, world", "is of no format that is read"),
        (archive(("notes.txt", b"x")), "holds no weights of a known format"),
        (archive(("model.pdparams", b"x")), "zip archive with weight files inside"),
        (archive(("model.weights.h5", b"x")), "Keras 3"),
        (pickle.dumps([np.ones(3)]), "holds no table of named tensors"),
        (pickle.dumps({"w": 1}), "holds no table of named tensors; its keys are 'w'"),
    ],
)
def test_what_is_not_weights_is_called_by_its_name(write: Callable[..., Path], data: bytes, reason: str) -> None:
    assert reason in refusal(write(data))


def test_a_directory_is_refused_and_the_files_in_it_are_named(tmp_path: Path) -> None:
    as_safetensors(tmp_path / "model.safetensors")
    assert "model.safetensors" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")


def test_a_path_below_a_file_is_refused_as_such(tmp_path: Path) -> None:
    as_npz(tmp_path / "file")
    assert "Not a directory" in refusal(tmp_path / "file" / "x")


def test_using_the_bytes_of_a_small_file_too_many_times_is_refused(
    write: Callable[..., Path],
) -> None:
    zeros = np.zeros(8 << 20, np.uint8)
    assert len(read_all(write(pickle.dumps({str(i): zeros for i in range(8)})))) == 8
    header = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (8388608,), }\n", bytes(8 << 20))
    bombs = [(f"{i}.npy", header) for i in range(40)]
    path = write(archive(*bombs, method=zipfile.ZIP_DEFLATED))
    assert "declares 335,544,320 bytes of tensors" in refusal(path)


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Calls(os.system, "touch ran"), f"{os.system.__module__}.system"),
        (Calls(exec, "open('ran', 'w')"), "builtins.exec"),
        (Calls(getattr, "x", "upper"), "builtins.getattr"),
        (Calls(subprocess.Popen, ["touch", "ran"]), "subprocess.Popen"),
        (Calls(pickle.loads, pickle.dumps(1)), "_pickle.loads"),
    ],
)
def test_a_call_in_place_of_the_weights_is_refused_by_its_name_and_not_run(
    write: Callable[..., Path], call: Calls, name: str, archived: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for tree in ({"model": call}, call):
        data = pickle.dumps(tree, 4)
        path = write(torch_archive(data) if archived else data)
        assert f"refuses to run `{name}`" in refusal(path)
    data = pickle.dumps({"model": W, "args": call}, 4)
    with open_weights(write(torch_archive(data) if archived else data)) as weights:
        assert (list(weights), weights.extras) == (["w"], ["args"])
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", fuzz_formats.FORMATS)
def test_damaged_and_hostile_files_are_read_or_refused_in_bounded_time_and_memory(kind: str) -> None:
    script = Path(fuzz_formats.__file__)
    command = [sys.executable, str(script), "--format", kind, "--count", "250", "--seed", "7"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    figures = json.loads(result.stdout)
    assert figures["refused"] > 100
    assert figures["unforeseen"] == {}


@pytest.mark.parametrize("path", sorted((ROOT / "vitlib" / "checkpoint").glob("*.py")), ids=lambda path: path.stem)
def test_the_package_needs_numpy_alone_and_knows_nothing_else_of_vitlib(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, ast.unparse(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert {name.split(".")[0] for name in names} <= {"numpy", *sys.stdlib_module_names}, ast.unparse(node)


def test_names_from_a_file_are_listed_on_one_short_line() -> None:
    names = [f"a\n\x1b[31m{'x' * 2000}{i}" for i in range(300)]
    text = listed(names)
    assert text.isprintable()
    assert len(text) < 1000
    assert text.startswith("'a\\n\\x1b[31mxxx")
    assert text.endswith(" and 292 more")
    assert listed(["a", 5], limit=2) == "'a', '<int>'"
    assert listed([]) == ""


def test_an_error_survives_pickling_and_shows_names_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb"
    path.write_bytes(b"")
    with pytest.raises(WeightsError) as caught:
        open_weights(path)
    assert "a\\nb is empty." in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.path) == (str(caught.value), str(path))
