"""Weight files appear whole or not at all, and say what they were given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from vitlib.checkpoint import BFloat16, open_weights, write_npz, write_pdparams, write_safetensors
from vitlib.checkpoint.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX

ROOT = Path(__file__).parents[2]
ARRAYS = {
    "half": np.array([0.5, 65504], np.float16),
    "weight": np.arange(600, dtype=np.float32).reshape(20, 30),
    "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "foreign": np.arange(4, dtype=">i4"),
    "scalar": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "flag": np.array([True]),
}
WRITERS = {"safetensors": write_safetensors, "npz": write_npz, "pdparams": write_pdparams}


@pytest.mark.parametrize("as_functions", [False, True])
@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_written_is_read_again(tmp_path: Path, kind: str, as_functions: bool) -> None:
    given: dict[str, Any] = {n: (lambda a=a: a) for n, a in ARRAYS.items()} if as_functions else ARRAYS
    WRITERS[kind](tmp_path / "file", given)
    with open_weights(tmp_path / "file") as weights:
        assert weights.format == kind
        assert set(weights) == set(ARRAYS)
        for name, array in ARRAYS.items():
            assert weights.spec(name) == (array.shape, array.dtype.name)
            np.testing.assert_array_equal(weights.read(name), array)


def test_safetensors_reads_what_is_written(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", ARRAYS, {"format": "np", "note": "é"})
    arrays = safetensors.numpy.load_file(tmp_path / "file")
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
    with safetensors.safe_open(tmp_path / "file", "np") as file:
        assert file.metadata() == {"format": "np", "note": "é"}


def test_numpy_reads_what_is_written(tmp_path: Path) -> None:
    write_npz(tmp_path / "w.npz", {"Transformer/encoder_norm/scale": ARRAYS["weight"]})
    with np.load(tmp_path / "w.npz") as file:
        np.testing.assert_array_equal(file["Transformer/encoder_norm/scale"], ARRAYS["weight"])


def test_paddle_reads_what_is_written(tmp_path: Path) -> None:
    paddle = pytest.importorskip("paddle")
    bits = np.array([0x3F80, 0xC000], np.uint16)  # 1 and -2 in bfloat16
    write_pdparams(tmp_path / "w.pdparams", {"weight": ARRAYS["weight"], "lazy": lambda: ARRAYS["half"], "bits": bits})
    state = paddle.load(str(tmp_path / "w.pdparams"))
    np.testing.assert_array_equal(state["weight"].numpy(), ARRAYS["weight"])
    np.testing.assert_array_equal(state["lazy"].numpy(), ARRAYS["half"])
    np.testing.assert_array_equal(state["bits"].astype("float32").numpy(), [1, -2])


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_bfloat16_is_written_exactly(tmp_path: Path, kind: str, as_function: bool) -> None:
    bits = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    numbers = (bits.astype(np.uint32) << 16).view(np.float32)
    given = BFloat16(bits.T)
    WRITERS[kind](tmp_path / "file", {"w": (lambda: given) if as_function else given, "flag": ARRAYS["flag"]})
    with open_weights(tmp_path / "file") as weights:
        assert weights.spec("w") == ((256, 256), "float32" if kind == "npz" else "bfloat16")
        assert weights.read("w").tobytes() == np.ascontiguousarray(numbers.T).tobytes()


def test_bfloat16_of_safetensors_has_the_type_and_bits_that_the_format_gives_it(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", {"w": BFloat16(np.array([0x3F80, 0xC000, 0x3F00], np.uint16))})
    data = (tmp_path / "file").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert json.loads(data[8 : 8 + length]) == {"w": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    assert data[8 + length :] == bytes.fromhex("803f 00c0 003f")  # 1, -2 and 0.5


def test_bfloat16_is_made_of_uint16_alone() -> None:
    with pytest.raises(TypeError, match="expected an array of uint16, found float32"):
        BFloat16(np.ones(2, np.float32))


@pytest.mark.parametrize("kind", WRITERS)
def test_equal_weights_make_equal_files(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        WRITERS[kind](tmp_path / name, ARRAYS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("value", [np.ones(2, np.complex64), np.array([{}], object), [1.0], lambda: "text"])
def test_what_is_no_array_of_numbers_is_refused_and_the_old_file_stays(tmp_path: Path, kind: str, value: Any) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises((ValueError, TypeError), match="'w'"):
        WRITERS[kind](tmp_path / "file", {"a": np.ones(3), "w": value})
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_safetensors_metadata_must_be_strings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="strings by strings"):
        write_safetensors(tmp_path / "file", ARRAYS, {"epoch": 3})  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", WRITERS)
def test_functions_are_called_one_after_the_other_and_their_arrays_let_go(tmp_path: Path, kind: str) -> None:
    code = f"""
import numpy as np, re, sys
from vitlib.checkpoint import write_{kind} as write
# Not getrusage: its peak is inherited from the process that started this one
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
before = peak()
write(sys.argv[1], {{str(i): lambda i=i: np.full(4 << 20, i, np.float32) for i in range(12)}})
print(peak() - before)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc")
    growth = int(python(code, tmp_path / "file").stdout)
    # 12 arrays of 16 MiB; one of them, and for a pickle its bytes beside
    assert growth < 80 << 20


def python(code: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=check)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_killed_writer_leaves_the_old_file_and_a_recognisable_rest(tmp_path: Path, kind: str) -> None:
    code = f"""
import numpy as np, sys, time
from vitlib.checkpoint import write_{kind} as write
def slow():
    print("writing", flush=True)
    time.sleep(60)
write(sys.argv[1], {{"first": np.ones(1 << 20), "second": slow}})
"""
    (tmp_path / "file").write_bytes(b"old")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert (tmp_path / "file").read_bytes() == b"old"
    (rest,) = set(os.listdir(tmp_path)) - {"file"}
    assert rest.startswith(TEMPORARY_PREFIX)
    assert rest.endswith(TEMPORARY_SUFFIX)


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_raises_the_system_s_error_and_leaves_the_old_file(tmp_path: Path, kind: str) -> None:
    code = f"""
import numpy as np, resource, signal, sys
from vitlib.checkpoint import write_{kind} as write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    write(sys.argv[1], {{"w": np.ones(1 << 20)}})
except OSError as error:
    print(error.errno)
"""
    (tmp_path / "file").write_bytes(b"old")
    result = python(code, tmp_path / "file")
    assert result.stdout.strip() == "27"  # EFBIG, which such a limit gives in place of ENOSPC
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
