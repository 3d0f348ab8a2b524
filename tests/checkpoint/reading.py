"""Small files of every format, and how tests read them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from vitlib.checkpoint import WeightsError, open_weights

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[2]
W = {"w": np.ones(3)}


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


def npy(header: str, data: bytes, version: int = 1) -> bytes:
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode("utf-8") + data


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return out.getvalue()
