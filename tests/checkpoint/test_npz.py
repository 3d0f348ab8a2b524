"""NumPy archives."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reading import WRITERS, archive, npy, read_all, refusal

from vitlib.checkpoint import open_weights


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


def test_the_checksum_of_a_stored_member_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "w.npz", w=np.arange(6.0))
    sizes, crc32 = [], zlib.crc32
    with open_weights(tmp_path / "w.npz") as file:
        monkeypatch.setattr(zlib, "crc32", lambda data: sizes.append(len(data)) or crc32(data))
        for _ in range(3):
            np.testing.assert_array_equal(file.read("w"), np.arange(6.0))
    assert len(sizes) == 1


@pytest.mark.parametrize("kind", ["npz", "deflated npz"])
def test_a_changed_byte_of_an_archive_is_noticed(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "file")
    data = bytearray((tmp_path / "file").read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as file:
        info = file.getinfo("float32.npy")
    data[info.header_offset + 30 + len(info.filename) + 20 + info.compress_size - 3] ^= 1
    (tmp_path / "file").write_bytes(data)
    assert "is damaged" in refusal(tmp_path / "file")
