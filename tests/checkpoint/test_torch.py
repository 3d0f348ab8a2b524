"""Files of PyTorch, in its old and its new format."""

from __future__ import annotations

import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_files import torch_archive
from reading import DATA, archive, read_all, refusal

from vitlib.checkpoint import WeightsError, open_weights

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


@pytest.mark.parametrize("name", ["project", "project_legacy"])
def test_objects_of_a_project_beside_the_weights_are_data_that_nothing_looks_up(name: str) -> None:
    before = set(sys.modules)
    with open_weights(DATA / f"{name}.pth") as weights:
        assert (weights.wrapper, weights.extras, weights.others) == ("model", ["args", "criterion"], ())
        np.testing.assert_array_equal(weights.read("weight"), [[0, 1], [2, 3], [4, 5]])
    assert set(sys.modules) == before


def test_the_tensors_of_a_torchscript_archive_are_read_by_the_names_of_its_state_dict(tmp_path: Path) -> None:
    with open_weights(DATA / "torchscript.pt") as weights:
        assert sorted(weights) == ["bias", "weight"]
        np.testing.assert_array_equal(weights.read("weight"), [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    ("pickle", "reason"),
    [
        (b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb.", "holds no tensors"),  # itself
        (b"\x80\x02K\x01.", "is a TorchScript archive without a module"),
        (b"\x80\x02c__torch__\nM\n)\x81K\x01b.", "is a TorchScript archive without a module"),
    ],
)
def test_a_torchscript_archive_without_tensors_is_refused(pickle: bytes, reason: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as file:
        file.writestr("w/constants.pkl", b"\x80\x02).")
        file.writestr("w/data.pkl", pickle)
    assert reason in refusal(tmp_path / "w.pt")


def torchscript(path: Path, state: bytes, modules: bytes) -> Path:
    """A TorchScript archive of modules of the class of memo 0, with the opcodes that make a state and what has it."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("w/constants.pkl", b"\x80\x02).")
        file.writestr("w/data.pkl", b"\x80\x04c__torch__\nM\nq\x000" + state + modules)
    return path


def test_modules_of_a_torchscript_archive_that_share_a_state_are_searched_once(tmp_path: Path) -> None:
    numbers = b"".join(b"\x8c\x03%03dK\x01" % k for k in range(200))
    modules = b"".join(b"\x8c\x04m%03dh\x00)\x81h\x01b" % k for k in range(200))
    path = torchscript(tmp_path / "w.pt", b"}q\x01(" + numbers + modules + b"u0", b"h\x00)\x81h\x01b.")
    assert "and 192 more" in refusal(path)  # 200 names and not 200 times 200


def test_names_of_a_torchscript_archive_that_a_small_file_multiplies_are_refused(tmp_path: Path) -> None:
    names = b"".join(b"X\xe8\x03\0\0%01000dq%c0" % (k, k) for k in range(2, 7))  # five of 1,000 characters
    state = b"}(" + b"".join(b"h%cK\x01" % k for k in range(2, 7)) + b"u"
    modules = b"".join(b"\x8c\x04%04dh\x00)\x81" % k + state + b"b" for k in range(1000))
    path = torchscript(tmp_path / "w.pt", names, b"h\x00)\x81}(" + modules + b"ub.")
    assert path.stat().st_size < 100_000
    assert "names take more than" in refusal(path)


def test_big_endian_files_of_pytorch_are_read() -> None:
    np.testing.assert_array_equal(read_all(DATA / "big_endian.pth")["bias"], [0, 1, 2])


def test_tensors_with_attributes_and_unsigned_integers_of_pytorch_are_read() -> None:
    np.testing.assert_array_equal(read_all(DATA / "attributes.pth")["buffer"], [0, 1, 2])
    np.testing.assert_array_equal(read_all(DATA / "uint16.pth")["w"], np.arange(4, dtype=np.uint16))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("whole_model.pth", "holds a whole pickled model (`torch.nn.modules.linear.Linear`)"),
        ("optimiser.pth", "is an optimiser's state"),
        ("complex.pth", "'w', which has the PyTorch type 'complex64'"),
        ("float8.pth", "'w', which has the PyTorch type 'float8_e4m3fn', a number of 8 bits"),
        ("quantised.pth", "'w', which is quantised"),
        ("dynamically_quantised.pth", "a part of a quantised layer"),
        ("whole_quantised_model.pth", "a quantised model (`torch.ao.nn.quantized.dynamic.modules.linear.Linear`)"),
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


@pytest.mark.parametrize("function", [b"_rebuild_tensor_v2", b"_rebuild_tensor_v3"])
def test_a_tensor_that_pytorch_negates_is_refused_rather_than_read_with_the_wrong_sign(
    write: Callable[..., Path], function: bytes
) -> None:
    dtype = b"ctorch\nfloat32\n" if function.endswith(b"3") else b""
    tensor = torch_tensor("FloatStorage", ALL_FOUR).replace(b"_rebuild_tensor_v2", function)
    items = b"}X\1\0\0\0a" + tensor.removesuffix(b"tR") + dtype + b"}X\3\0\0\0neg%bstRs."
    message = refusal(write(torch_archive(b"\x80\x02" + items % b"\x88")))
    assert "'a', which has PyTorch's negative bit" in message
    assert "resolve_neg()" in message
    assert set(read_all(write(torch_archive(b"\x80\x02" + items % b"\x89")))) == {"a"}


def legacy_file_with_a_view(start: int, count: int, *, little_endian: bool = True) -> bytes:
    """As PyTorch 0.x wrote a slice of a storage: four floats, of which `count` from `start` are the tensor's.

    little_endian: the byte order of the machine, which PyTorch notes; it writes the floats the same on all.
    """
    view = b"(X\1\0\0\0vK" + bytes([start]) + b"K" + bytes([count]) + b"t"
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\3\0\0\0cpuK\4" + view + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\0K\2\x85K\1\x85tR"
    system = {"little_endian": little_endian}
    head = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system))
    tree = b"\x80\x02}X\1\0\0\0w" + tensor + b"s."
    return head + tree + pickle.dumps(["a"], 2) + struct.pack("<q4f", 4, 0, 1, 2, 3)


def test_a_view_on_a_storage_of_an_old_pytorch_file_is_read(write: Callable[..., Path]) -> None:
    np.testing.assert_array_equal(read_all(write(legacy_file_with_a_view(1, 2)))["w"], [1, 2])


def test_an_old_pytorch_file_of_a_big_endian_machine_has_little_endian_data(write: Callable[..., Path]) -> None:
    np.testing.assert_array_equal(read_all(write(legacy_file_with_a_view(0, 2, little_endian=False)))["w"], [0, 1])


@pytest.mark.parametrize(("start", "count"), [(3, 2), (0, 1), (5, 0)])
def test_a_view_beyond_its_storage_is_refused(write: Callable[..., Path], start: int, count: int) -> None:
    assert "storage" in refusal(write(legacy_file_with_a_view(start, count)))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: data[:-24]])
def test_an_old_pytorch_file_of_another_length_is_refused(write: Callable[..., Path], change: Any) -> None:
    refusal(write(change(legacy_file_with_a_view(1, 2))))
