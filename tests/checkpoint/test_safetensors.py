"""safetensors files, alone and as shards with an index."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from reading import ARRAYS, DATA, read_all, refusal

from vitlib.checkpoint import WeightsError, open_weights


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
        (entry("1." * 600, "1", 0, 4), 4, "1,200 characters"),
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
