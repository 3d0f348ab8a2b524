"""Every format is read exactly, lazily and as data; what cannot be read is refused by a sentence."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_formats
import numpy as np
import pytest
import safetensors.numpy
from hostile_files import Calls, array_of_shape, torch_archive

from vitlib.checkpoint import WeightsError, open_weights
from vitlib.checkpoint import tensors as tensor_module
from vitlib.checkpoint.errors import listed

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[2]


def read_all(path: Path, **options: Any) -> dict[str, np.ndarray]:
    with open_weights(path, **options) as weights:
        return {name: weights.read(name) for name in weights}


def refusal(path: Path, **options: Any) -> str:
    """The sentence with which `path` is refused, without the path."""
    with pytest.raises(WeightsError) as caught:
        read_all(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert "\n" not in message
    return message.removeprefix(f"{path} ")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(data: bytes, name: str = "weights.bin") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return make


ARRAYS = {
    "float32": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "float16": np.array([0.5, -2, 65504, np.inf], np.float16),
    "float64": np.array([[np.pi]], np.float64),
    "int64": np.array(-(2**62), np.int64),
    "uint8": np.arange(5, dtype=np.uint8),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "nested/name": np.array([1.5], np.float32),
}


def as_safetensors(path: Path) -> None:
    safetensors.numpy.save_file(ARRAYS, path)


def as_npz(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, **ARRAYS)


def as_deflated_npz(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **ARRAYS)


def as_pickle(protocol: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(pickle.dumps(ARRAYS, protocol)) and None


WRITERS = {
    "safetensors": as_safetensors,
    "npz": as_npz,
    "deflated npz": as_deflated_npz,
    **{f"pickle {protocol}": as_pickle(protocol) for protocol in (2, 3, 4, 5)},
}


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


# bfloat16


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


# safetensors


def test_metadata_of_safetensors_are_given(tmp_path: Path) -> None:
    safetensors.numpy.save_file(ARRAYS, tmp_path / "file", metadata={"format": "pt", "note": "é"})
    assert open_weights(tmp_path / "file").metadata == {"format": "pt", "note": "é"}


def safetensors_file(entries: str, data: bytes = b"") -> bytes:
    header = ("{" + entries + "}").encode()
    return len(header).to_bytes(8, "little") + header + data


def entry(name: str, shape: str, start: int, end: int, dtype: str = "F32") -> str:
    return f'"{name}": {{"dtype": "{dtype}", "shape": [{shape}], "data_offsets": [{start}, {end}]}}'


@pytest.mark.parametrize(
    ("entries", "size", "reason"),
    [
        (entry("a", "1", 0, 4) + "," + entry("a", "1", 4, 8), 8, "names 'a' twice"),
        (entry("a", "1", 0, 4) + "," + entry("b", "1", 0, 4), 4, "overlap"),
        (entry("a", "1", 4, 8), 8, "hole"),
        (entry("a", "1", 0, 4), 8, "4 bytes that belong to no tensor"),
        (entry("a", "2", 0, 4), 4, "of shape .2,. and float32 4 bytes"),
        (entry("a", "1", 0, 4), 3, "bytes 0 to 4 of 3"),
        (entry("a", "-1", 0, 4), 4, "something else than sizes"),
        (entry("a", "1", 0, 1, "F8_E4M3"), 1, "'a', which has the type 'F8_E4M3'"),
        (entry("a", "1", 0, 8, "C64"), 8, "'a', which has the type 'C64'"),
        ('"__metadata__": {"a": 1}', 0, "not a table of strings"),
        ('"__metadata__": {}', 0, "holds no tensors"),
    ],
)
def test_a_safetensors_header_that_is_wrong_is_refused(
    write: Callable[..., Path], entries: str, size: int, reason: str
) -> None:
    path = write(safetensors_file(entries, bytes(size)))
    with pytest.raises(WeightsError, match=reason):
        open_weights(path)


# Shards


def sharded(directory: Path, **changes: Any) -> Path:
    names = list(ARRAYS)
    weight_map = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for i in range(2):
        safetensors.numpy.save_file({name: ARRAYS[name] for name in names[i::2]}, directory / f"part-{i}.safetensors")
    weight_map.update(changes)
    index = directory / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": {k: v for k, v in weight_map.items() if v}})
    )
    return index


def test_shards_are_read_as_one_file(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    arrays = read_all(index)
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_shards_of_pytorch_are_read_as_one_file(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model-1.bin").write_bytes((DATA / "shared.pth").read_bytes())
    (tmp_path / "pytorch_model-2.bin").write_bytes((DATA / "uint16.pth").read_bytes())
    index = tmp_path / "pytorch_model.bin.index.json"
    weight_map = dict.fromkeys(("a", "b", "row"), "pytorch_model-1.bin") | {"w": "pytorch_model-2.bin"}
    index.write_text(json.dumps({"weight_map": weight_map | {"f": "pytorch_model-2.bin"}}))
    with open_weights(index) as weights:
        assert (weights.format, set(weights)) == ("torch", {"a", "b", "row", "w", "f"})
        np.testing.assert_array_equal(weights.read("row"), [8, 9, 10, 11])


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    (tmp_path / "part-1.safetensors").unlink()
    assert "'part-1.safetensors'" in refusal(index)


def test_a_damaged_shard_is_named_with_its_own_path(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    (tmp_path / "part-1.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"part-1\.safetensors is empty"):
        open_weights(index)


def test_data_that_are_damaged_in_a_shard_are_reported_with_the_shard_s_path(tmp_path: Path) -> None:
    data = bytearray((DATA / "shared.pth").read_bytes())
    data[data.find(np.arange(4, dtype="<f4").tobytes()) + 2] ^= 1
    (tmp_path / "part.bin").write_bytes(data)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(("a", "b", "row"), "part.bin")}))
    with open_weights(index) as weights, pytest.raises(WeightsError, match=r"part\.bin is damaged: the checksum"):
        weights.read("a")


def test_a_tensor_that_only_the_index_knows_is_named(tmp_path: Path) -> None:
    assert "'ghost', which is not in 'part-0.safetensors'" in refusal(sharded(tmp_path, ghost="part-0.safetensors"))


def test_a_tensor_that_the_index_does_not_know_is_named(tmp_path: Path) -> None:
    assert "does not list the tensor 'float32'" in refusal(sharded(tmp_path, float32=None))


def test_a_tensor_in_another_shard_than_the_index_says_is_named(tmp_path: Path) -> None:
    assert "'float32'" in refusal(sharded(tmp_path, float32="part-1.safetensors"))


@pytest.mark.parametrize("name", ["/etc/passwd", "../part-0.safetensors", "a/../../x", "C:\\x", "\\\\host\\x\\y", ""])
def test_a_shard_outside_of_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "inner").mkdir()
    index = tmp_path / "inner" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": name}}))
    assert "not a name inside its own directory" in refusal(index)


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    index = sharded(tmp_path / "inner")
    (tmp_path / "inner" / "part-1.safetensors").rename(tmp_path / "elsewhere")
    (tmp_path / "inner" / "part-1.safetensors").symlink_to(tmp_path / "elsewhere")
    assert "a link that leads out of its directory" in refusal(index)


def test_the_links_of_the_hugging_face_cache_are_followed(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "0123", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    index = sharded(snapshot)
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(Path("..", "..", "blobs", str(number)))
    assert set(read_all(index)) == set(ARRAYS)


def test_an_index_that_names_a_tensor_twice_is_refused(write: Callable[..., Path]) -> None:
    assert "names 'w' twice" in refusal(write(b'{"weight_map": {"w": "a", "w": "b"}}'))


def test_an_index_that_lists_itself_is_refused(tmp_path: Path) -> None:
    index = sharded(tmp_path, ghost="model.safetensors.index.json")
    with pytest.raises(WeightsError, match="JSON file where a file of weights is expected"):
        open_weights(index)


# npz


def npy(header: str, data: bytes, version: int = 1) -> bytes:
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode("utf-8") + data


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("order", [True, False])
def test_all_header_versions_and_both_orders_of_npy_are_read(
    write: Callable[..., Path], version: int, order: bool
) -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    header = f"{{'descr': '<f4', 'fortran_order': {order}, 'shape': (2, 3), }}   \n"
    path = write(archive(("a/b.npy", npy(header, array.tobytes("F" if order else "C"), version))))
    np.testing.assert_array_equal(read_all(path)["a/b"], array)


def test_npy_headers_of_python_2_are_read(write: Callable[..., Path]) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 2L), }\n"
    np.testing.assert_array_equal(read_all(write(archive(("w.npy", npy(header, bytes(8))))))["w"], [[0, 0]])


def test_foreign_byte_order_becomes_native(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=np.arange(5, dtype=">f8"))
    read = read_all(tmp_path / "w.npz")["w"]
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, np.arange(5))


def test_text_in_an_npz_is_listed_beside_the_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=np.ones(3), note=np.array("trained long"))
    with open_weights(tmp_path / "w.npz") as weights:
        assert (list(weights), weights.extras) == (["w"], ["note"])


def test_pickled_objects_in_an_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=np.array([{}, None], object))
    assert "pickled Python objects" in refusal(tmp_path / "w.npz")


@pytest.mark.parametrize("descr", ["'<c8'", "[('a', '<f4')]", "'<f16'"])
def test_npy_types_that_are_no_weights_are_refused(write: Callable[..., Path], descr: str) -> None:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n"
    assert "weights are real numbers" in refusal(write(archive(("w.npy", npy(header, bytes(16))))))


def test_numbers_that_a_zip_archive_keeps_in_64_bits_are_read(write: Callable[..., Path]) -> None:
    content = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", np.float32([1, 2]).tobytes())
    data = archive(("w.npy", content))
    start = data.rfind(b"PK\x01\x02")
    entry = bytearray(data[start : start + 46])
    entry[20:28] = b"\xff" * 8  # both sizes
    entry[30:32] = struct.pack("<H", 20)
    entry[42:46] = b"\xff" * 4  # the offset, which the field below lacks
    table = bytes(entry) + b"w.npy" + struct.pack("<HHQQ", 1, 16, len(content), len(content))
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(table), start, 0)
    assert "corrupt table" in refusal(write(data[:start] + table + end))
    table = table[:42] + bytes(4) + table[46:]
    np.testing.assert_array_equal(read_all(write(data[:start] + table + end))["w"], [1, 2])


def test_members_of_an_archive_that_overlap_are_refused(write: Callable[..., Path]) -> None:
    inner = archive(("b.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", bytes(8))))
    inner, table = inner[: inner.rfind(b"PK\x01\x02")], inner[inner.rfind(b"PK\x01\x02") : -22]
    outer = archive(("a.npy", npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(inner)},), }}\n", inner)))
    start = outer.rfind(b"PK\x01\x02")
    table = table[:42] + struct.pack("<I", outer.find(inner)) + table[46:]
    whole = outer[start:-22] + table
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, len(whole), start, 0)
    assert "members overlap" in refusal(write(outer[:start] + whole + end))


ONE_ARRAY = archive(("w.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n", bytes(4))))


def changed(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (changed(ONE_ARRAY, 8, b"\x08"), "described in two different ways"),
        (changed(ONE_ARRAY, 30, b"x"), "described in two different ways"),
        (changed(ONE_ARRAY, 0, b"PK\x03\x05"), "is of no format that is read"),
        (ONE_ARRAY[:-22] + b"PK\x01\x02" + changed(ONE_ARRAY[-22:], 12, b"\x37"), "a wrong length"),
        (changed(ONE_ARRAY, len(ONE_ARRAY) - 14, b"\2\0\2"), "reaches outside|refers to a place outside"),
        (changed(ONE_ARRAY, len(ONE_ARRAY) - 6, b"\0"), "not where its end says"),
        (ONE_ARRAY + b"x", "without an end"),
        (ONE_ARRAY[:-30], "without an end"),
    ],
)
def test_an_archive_whose_table_is_wrong_is_refused(write: Callable[..., Path], data: bytes, reason: str) -> None:
    assert re.search(reason, refusal(write(data)))


def test_an_npz_with_two_members_of_one_name_is_refused(write: Callable[..., Path]) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n"
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = archive(("w.npy", npy(header, bytes(4))), ("w.npy", npy(header, bytes(4))))
    assert "two members of the same name, 'w.npy'" in refusal(write(data))


def test_a_shape_that_does_not_fit_its_member_is_refused(write: Callable[..., Path]) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    assert "declares the shape (1000000, 1000000)" in refusal(write(archive(("w.npy", npy(header, bytes(4))))))


def test_a_zip_bomb_is_refused_and_the_way_out_named(write: Callable[..., Path]) -> None:
    size = 48 << 20
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size // 4},), }}\n"
    path = write(archive(("w.npy", npy(header, bytes(size))), method=zipfile.ZIP_DEFLATED))
    assert "without compression" in refusal(path)


@pytest.mark.parametrize("kind", ["npz", "deflated npz"])
def test_a_changed_byte_of_an_archive_is_noticed(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "file")
    data = bytearray((tmp_path / "file").read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as file:
        info = file.getinfo("float32.npy")
    data[info.header_offset + 30 + len(info.filename) + 20 + info.compress_size - 3] ^= 1
    (tmp_path / "file").write_bytes(data)
    assert "is damaged" in refusal(tmp_path / "file")


# Paddle


@pytest.fixture(scope="module")
def paddle() -> Any:
    return pytest.importorskip("paddle")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_state_dict_of_paddle_is_read(tmp_path: Path, paddle: Any, protocol: int) -> None:
    layer = paddle.nn.Linear(300, 3)  # more than 1,024 bytes, and less for the bias
    state = layer.state_dict()
    state["half"] = paddle.to_tensor([1.5, -0.25]).astype("bfloat16")
    paddle.save(state, str(tmp_path / "w.pdparams"), protocol=protocol)
    with open_weights(tmp_path / "w.pdparams") as weights:
        assert (weights.format, weights.wrapper, weights.extras) == ("pdparams", "", [])
        np.testing.assert_array_equal(weights.read("weight"), layer.weight.numpy())
        np.testing.assert_array_equal(weights.read("bias"), layer.bias.numpy())
        assert weights.spec("half") == ((2,), "bfloat16")
        np.testing.assert_array_equal(weights.read("half"), np.array([1.5, -0.25], np.float32))


def test_nested_tensors_and_tensors_of_static_graphs_of_paddle_are_read(tmp_path: Path, paddle: Any) -> None:
    layer = paddle.nn.Linear(2, 3)
    dense = layer.bias.get_tensor()
    paddle.save({"model": {"weight": layer.weight, "bias": dense}, "epoch": 3}, str(tmp_path / "w.pdparams"))
    with open_weights(tmp_path / "w.pdparams") as weights:
        assert (weights.wrapper, weights.extras) == ("model", ["epoch"])
        np.testing.assert_array_equal(weights.read("weight"), layer.weight.numpy())
        np.testing.assert_array_equal(weights.read("bias"), layer.bias.numpy())


def test_an_optimiser_of_paddle_is_refused_and_the_way_out_named(tmp_path: Path, paddle: Any) -> None:
    layer = paddle.nn.Linear(2, 3)
    optimiser = paddle.optimizer.AdamW(parameters=layer.parameters())
    layer(paddle.ones([1, 2])).sum().backward()
    optimiser.step()
    paddle.save(optimiser.state_dict(), str(tmp_path / "w.pdopt"))
    assert ".pdopt" in refusal(tmp_path / "w.pdopt")


@pytest.mark.parametrize("protocol", [2, 4])
def test_chunks_of_paddle_are_put_together(write: Callable[..., Path], protocol: int) -> None:
    whole = np.arange(600, dtype=np.float32)
    table = {"w": {"OriginShape": (20, 30), "slices": ["w@@.0", "w@@.1"]}}
    state = {"w@@.0": whole[:500], "w@@.1": whole[500:], "UnpackBigParamInfor@@": table}
    arrays = read_all(write(pickle.dumps(state, protocol)))
    assert list(arrays) == ["w"]
    np.testing.assert_array_equal(arrays["w"], whole.reshape(20, 30))


@pytest.mark.parametrize("slices", [["w@@.0", "w@@.0"], ["w@@.0", "absent"], ["w@@.0"], [], None, [[]]])
def test_chunks_that_do_not_make_up_a_tensor_are_refused(write: Callable[..., Path], slices: Any) -> None:
    table = {"w": {"OriginShape": (20, 30), "slices": slices}}
    assert "chunk" in refusal(write(pickle.dumps({"w@@.0": np.ones(300), "UnpackBigParamInfor@@": table})))


def test_arrays_that_python_2_pickled_are_read(write: Callable[..., Path]) -> None:
    long = np.arange(500, dtype="<f4")
    data = b"T" + struct.pack("<i", long.nbytes) + long.tobytes()
    short = b"U\x08" + np.array([1, 2], "<f4").tobytes()
    template = array_of_shape(b"%s\x85", b"%s")[2:-2].replace(b"\x8c\x01w", b"U\x01%s").replace(b"C\x01b", b"U\x01b")
    template = template.replace(b"\x8c\x02f4", b"U\x02f4").replace(b"\x8c\x01<", b"U\x01<")[1:]
    body = template % (b"a", b"M\xf4\x01", data) + b"s" + template % (b"b", b"K\x02", short) + b"s"
    arrays = read_all(write(b"\x80\x02}" + body + b"."))
    np.testing.assert_array_equal(arrays["a"], long)
    np.testing.assert_array_equal(arrays["b"], [1, 2])


def test_a_fortran_ordered_array_in_a_pickle_keeps_its_values(write: Callable[..., Path]) -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    for protocol in (2, 4, 5):
        np.testing.assert_array_equal(read_all(write(pickle.dumps({"w": array}, protocol)))["w"], array)


def test_a_large_array_that_protocol_2_wrote_as_text_is_read(write: Callable[..., Path]) -> None:
    array = np.random.default_rng(0).standard_normal((1500, 1500)).astype(np.float32)
    np.testing.assert_array_equal(read_all(write(pickle.dumps({"w": array}, 2)))["w"], array)


def array_as_text(text: str) -> bytes:
    """2,000 bytes of an array as protocol 2 writes them, whatever `text` is."""
    utf8 = text.encode()
    data = b"c_codecs\nencode\nX" + struct.pack("<I", len(utf8)) + utf8 + b"X\6\0\0\0latin1\x86R"
    return array_of_shape(b"M\xf4\x01\x85", data)


def test_text_in_place_of_an_array_s_bytes_is_refused(write: Callable[..., Path]) -> None:
    assert read_all(write(array_as_text("\xe9" * 2000)))["w"].tobytes() == b"\xe9" * 2000
    assert "text that is not bytes" in refusal(write(array_as_text("\u0100" + "x" * 1999)))


def test_data_that_cannot_be_as_long_as_the_shape_says_are_refused_at_opening(write: Callable[..., Path]) -> None:
    for data in (array_as_text("x" * 1999), array_of_shape(b"K\x02\x85", b"C\x04abcd")):
        with pytest.raises(WeightsError, match="whose data are not of"):
            open_weights(write(data))


@pytest.mark.parametrize("value", [np.ones(2, np.complex64), np.array([{}], object), np.zeros(2, "f4,i4")])
def test_arrays_that_are_no_weights_are_refused_in_a_pickle(write: Callable[..., Path], value: np.ndarray) -> None:
    assert "weights are real numbers" in refusal(write(pickle.dumps({"w": value})))


def test_bytes_behind_a_pickle_are_refused(write: Callable[..., Path]) -> None:
    assert "3 bytes follow the end of its pickle" in refusal(write(pickle.dumps(W) + b"abc"))


# PyTorch

COUNTING = {
    "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(24, dtype=np.float32).reshape(4, 6).T,
    "part": np.arange(24, dtype=np.float32).reshape(4, 6)[1:3, 2:5],
    "expanded": np.repeat(np.arange(3, dtype=np.float32)[:, None], 4, 1),
    "scalar": np.array(7.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "half": np.arange(5, dtype=np.float16),
    "bfloat16": np.arange(5, dtype=np.float32),
    "double": np.arange(5, dtype=np.float64),
    "long": np.arange(5),
    "uint8": np.arange(5, dtype=np.uint8),
    "bool": np.array([True, False, True]),
    "parameter": np.arange(4, dtype=np.float32).reshape(2, 2),
}


@pytest.mark.parametrize("name", ["plain", "plain_legacy", "no_checksums"])
def test_both_formats_of_pytorch_are_read_exactly(name: str) -> None:
    with open_weights(DATA / f"{name}.pth") as weights:
        assert weights.format == "torch"
        assert set(weights) == set(COUNTING)
        for key, array in COUNTING.items():
            read = weights.read(key)
            assert weights.spec(key) == (array.shape, "bfloat16" if key == "bfloat16" else array.dtype.name)
            assert (read.dtype, read.flags.writeable) == (array.dtype, False)
            np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("name", ["shared", "shared_legacy"])
def test_tensors_that_share_a_storage_share_the_window_on_the_file(name: str) -> None:
    arrays = read_all(DATA / f"{name}.pth")
    assert np.shares_memory(arrays["a"], arrays["b"])
    assert np.shares_memory(arrays["a"], arrays["row"])
    np.testing.assert_array_equal(arrays["row"], [8, 9, 10, 11])


@pytest.mark.parametrize("name", ["training", "training_legacy"])
def test_a_training_file_of_pytorch_gives_the_model_and_lists_the_rest(name: str) -> None:
    with open_weights(DATA / f"{name}.pth") as weights:
        assert weights.wrapper == "model"
        assert weights.extras == ["optimizer", "lr_scheduler", "epoch", "args", "random", "best"]
        np.testing.assert_array_equal(weights.read("weight"), [[0, 1], [2, 3], [4, 5]])


def test_big_endian_files_of_pytorch_are_read() -> None:
    np.testing.assert_array_equal(read_all(DATA / "big_endian.pth")["bias"], [0, 1, 2])


def test_tensors_with_attributes_and_unsigned_integers_of_pytorch_are_read() -> None:
    np.testing.assert_array_equal(read_all(DATA / "attributes.pth")["buffer"], [0, 1, 2])
    np.testing.assert_array_equal(read_all(DATA / "uint16.pth")["w"], np.arange(4, dtype=np.uint16))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torchscript.pt", "torch.save(torch.jit.load('torchscript.pt').state_dict()"),
        ("whole_model.pth", "holds a whole pickled model (`torch.nn.modules.linear.Linear`)"),
        ("optimiser.pth", "is an optimiser's state"),
        ("complex.pth", "'w', which has the PyTorch type 'complex64'"),
        ("float8.pth", "'w', which has the PyTorch type 'float8_e4m3fn'"),
        ("quantised.pth", "'w', which is quantised"),
        ("sparse.pth", "'w', which is sparse"),
        ("meta.pth", "'w', which has no data"),
    ],
)
def test_files_of_pytorch_that_are_no_weights_are_refused(name: str, reason: str) -> None:
    assert reason in refusal(DATA / name)


def test_a_changed_byte_of_a_pytorch_file_is_noticed(tmp_path: Path) -> None:
    data = bytearray((DATA / "shared.pth").read_bytes())
    data[data.find(np.arange(4, dtype="<f4").tobytes()) + 2] ^= 1
    (tmp_path / "w.pth").write_bytes(data)
    assert "is damaged: the checksum" in refusal(tmp_path / "w.pth")


def test_a_pytorch_file_that_was_compressed_is_refused_and_the_way_out_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "shared.pth") as file:
        members = [(name, file.read(name)) for name in file.namelist()]
    (tmp_path / "w.pth").write_bytes(archive(*members, method=zipfile.ZIP_DEFLATED))
    assert "without compression" in refusal(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(archive(*members))
    assert set(read_all(tmp_path / "w.pth")) == {"a", "b", "row"}


@pytest.mark.parametrize("name", ["plain.pth", "plain_legacy.pth"])
def test_every_truncation_of_a_pytorch_file_is_refused(tmp_path: Path, name: str) -> None:
    data = (DATA / name).read_bytes()
    for size in range(0, len(data), 37):
        (tmp_path / "w.pth").write_bytes(data[:size])
        refusal(tmp_path / "w.pth")


def torch_tensor(storage: str, view: bytes) -> bytes:
    """Opcodes for a tensor on the 16 bytes of `torch_archive`, from its offset, shape and strides as opcodes."""
    identifier = f"(X\7\0\0\0storagectorch\n{storage}\nX\1\0\0\x000X\3\0\0\0cpuK\4tQ".encode()
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + identifier + view + b"\x89NtR"


ALL_FOUR = b"K\0K\4\x85K\1\x85"


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ([torch_tensor("FloatStorage", b"K\1K\4\x85K\1\x85")], "ends at byte 20 of a storage of 16"),
        ([torch_tensor("FloatStorage", b"K\0K\2\x85K\4\x85")], "ends at byte 20 of a storage of 16"),
        ([torch_tensor("FloatStorage", b"K\0J\0\0\0\x08\x85K\0\x85")], "by repeating a few values"),
        ([torch_tensor("FloatStorage", b"J\xff\xff\xff\xffK\2\x85K\1\x85")], "corrupt pickle"),
        ([torch_tensor("FloatStorage", b"K\4K\2\x85J\xff\xff\xff\xff\x85")], "strides are negative"),
        ([torch_tensor("LongStorage", ALL_FOUR)], "16 bytes for the storage '0' that is declared with 32"),
        ([torch_tensor("FloatStorage", ALL_FOUR), torch_tensor("IntStorage", ALL_FOUR)], "in two different ways"),
    ],
)
def test_a_tensor_that_does_not_fit_its_storage_is_refused_at_opening(
    write: Callable[..., Path], tensors: list[bytes], reason: str
) -> None:
    items = b"".join(b"X\1\0\0\0%c" % (97 + i) + tensor for i, tensor in enumerate(tensors))
    path = write(torch_archive(b"\x80\x02}(" + items + b"u."))
    with pytest.raises(WeightsError, match=reason):
        open_weights(path)


def test_the_hand_made_tensor_is_read_when_it_fits(write: Callable[..., Path]) -> None:
    path = write(torch_archive(b"\x80\x02}X\1\0\0\0a" + torch_tensor("FloatStorage", ALL_FOUR) + b"s."))
    np.testing.assert_array_equal(read_all(path)["a"], np.zeros(4))


def legacy_file_with_a_view(start: int, count: int) -> bytes:
    """As PyTorch 0.x wrote a slice of a storage: four floats, of which `count` from `start` are the tensor's."""
    view = b"(X\1\0\0\0vK" + bytes([start]) + b"K" + bytes([count]) + b"t"
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\3\0\0\0cpuK\4" + view + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\0K\2\x85K\1\x85tR"
    head = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    tree = b"\x80\x02}X\1\0\0\0w" + tensor + b"s."
    return head + tree + pickle.dumps(["a"], 2) + struct.pack("<q4f", 4, 0, 1, 2, 3)


def test_a_view_on_a_storage_of_an_old_pytorch_file_is_read(write: Callable[..., Path]) -> None:
    np.testing.assert_array_equal(read_all(write(legacy_file_with_a_view(1, 2)))["w"], [1, 2])


@pytest.mark.parametrize(("start", "count"), [(3, 2), (0, 1), (5, 0)])
def test_a_view_beyond_its_storage_is_refused(write: Callable[..., Path], start: int, count: int) -> None:
    assert "storage" in refusal(write(legacy_file_with_a_view(start, count)))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: data[:-24]])
def test_an_old_pytorch_file_of_another_length_is_refused(write: Callable[..., Path], change: Any) -> None:
    refusal(write(change(legacy_file_with_a_view(1, 2))))


# What is not weights


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


# Wrappers

W = {"w": np.ones(3)}


@pytest.mark.parametrize(
    ("tree", "wrapper", "extras"),
    [
        ({"state_dict": W, "model": W}, "state_dict", ["model"]),
        ({"epoch": 1, "model_ema": W, "model": W}, "model", ["epoch", "model_ema"]),
        ({"teacher": W, "student": W}, "teacher", ["student"]),
        ({"state": {"model": W, "step": 3}}, "state > model", ["step"]),
        ({"my_own_name": W, "optimizer": {"m": W}}, "my_own_name", ["optimizer"]),
        ({"model": {"step": 1}, "other": W}, "other", ["model"]),
        ({"w": np.ones(3), "step": 1}, "", ["step"]),
        ({"model": {"module.w": np.ones(3)}}, "model > module.", []),
        ({"_orig_mod.module.w": np.ones(3)}, "_orig_mod. > module.", []),
        ({"module.w": np.ones(3), "n_averaged": np.array(4)}, "module.", ["n_averaged"]),
        ({"backbone.w": np.ones(3), "backbone.b": np.ones(3), "head.b": np.ones(1)}, "backbone.", []),
        (
            {"teacher": {"backbone.w": np.ones(3), "backbone.b": np.ones(3), "head.b": W}},
            "teacher > backbone.",
            ["head.b"],
        ),
    ],
)
def test_weights_are_found_under_what_wraps_them(
    write: Callable[..., Path], tree: dict[str, Any], wrapper: str, extras: list[str]
) -> None:
    with open_weights(write(pickle.dumps(tree))) as weights:
        assert (weights.wrapper, weights.extras) == (wrapper, extras)
        np.testing.assert_array_equal(weights.read("w"), np.ones(3))


def test_the_wanted_part_can_be_named(write: Callable[..., Path]) -> None:
    path = write(pickle.dumps({"model": W, "model_ema": {"w": np.zeros(3)}}))
    np.testing.assert_array_equal(read_all(path, part="model_ema")["w"], np.zeros(3))
    assert "under 'absent'" in refusal(path, part="absent")


def test_several_tables_without_a_usual_name_are_refused_with_their_names(write: Callable[..., Path]) -> None:
    assert "('one', 'two')" in refusal(write(pickle.dumps({"one": W, "two": W})))


def test_names_that_become_the_same_without_their_prefix_are_refused(write: Callable[..., Path]) -> None:
    tree = {"backbone.w": np.ones(3), "backbone.b": np.ones(3), "w": np.ones(3)}
    assert "both named 'w' once 'backbone.' is taken off" in refusal(write(pickle.dumps(tree)))


def test_using_the_bytes_of_a_small_file_too_many_times_is_refused(
    write: Callable[..., Path],
) -> None:
    zeros = np.zeros(8 << 20, np.uint8)
    assert len(read_all(write(pickle.dumps({str(i): zeros for i in range(8)})))) == 8
    header = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (8388608,), }\n", bytes(8 << 20))
    bombs = [(f"{i}.npy", header) for i in range(40)]
    path = write(archive(*bombs, method=zipfile.ZIP_DEFLATED))
    assert "declares 335,544,320 bytes of tensors" in refusal(path)


def test_a_path_below_a_file_is_refused_as_such(tmp_path: Path) -> None:
    as_npz(tmp_path / "file")
    assert "Not a directory" in refusal(tmp_path / "file" / "x")


def test_a_prefix_that_not_all_names_carry_stays(write: Callable[..., Path]) -> None:
    assert set(read_all(write(pickle.dumps({"module.w": np.ones(3), "b": np.ones(3)})))) == {"module.w", "b"}


# Hostile files


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


def test_paddle_s_own_eval_is_data_and_every_other_is_refused(write: Callable[..., Path]) -> None:
    array = np.ones(3, np.float32)
    assert list(read_all(write(pickle.dumps({"w": Calls(eval, "data", {"data": array})})))) == ["w"]
    for arguments in (("data.x", {"data": array}), ("data", {"data": array, "x": 1}), ("data", {"data": 1}), ("1",)):
        assert "refuses to run `builtins.eval`" in refusal(write(pickle.dumps({"w": Calls(eval, *arguments)})))


def test_a_pickle_that_names_a_tensor_twice_is_refused(write: Callable[..., Path]) -> None:
    assert "names 'w' twice" in refusal(write(b"\x80\x02}(X\1\0\0\0wNX\1\0\0\0wNu."))


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


# The package itself


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
