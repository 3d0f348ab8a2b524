"""A model as files for an engine, with `vitlib.json` beside them: the contract between `export` and `Predictor`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import WeightsError
from ..checkpoint.json_file import read_json
from ..images import Preprocess
from ..layers.patch_embed import to_pair
from .graph import Images, Output

MANIFEST = "vitlib.json"
_VERSION = 1
ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "paddle": ".json"}


class ExportError(WeightsError):
    """An exported model that cannot be used, or a model that was not exported. The message has the way out."""


@dataclass(frozen=True)
class Exported:
    """An exported model.

    directory, files: where it is; the first file is the one that an engine opens.
    format: "onnx", "openvino" or "paddle".
    images: the input.
    outputs: by name; `Output.value` is the name that the file gives it.
    preprocess: of the model. labels: of the classes; None where it has none.
    made_from: the model's class and config, for people.
    """

    directory: Path
    files: tuple[str, ...]
    format: str
    images: Images
    outputs: dict[str, Output]
    preprocess: Preprocess
    labels: tuple[str, ...] | None = None
    made_from: Mapping[str, Any] | None = None

    @property
    def path(self) -> Path:
        """The file that an engine opens."""
        return self.directory / self.files[0]

    @property
    def paths(self) -> list[Path]:
        return [self.directory / name for name in self.files]

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Changes when a file is replaced. Raises OSError for one that is gone."""
        found = [os.stat(path) for path in self.paths]
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)

    def check_unchanged(self, stamp: tuple[tuple[int, int, int], ...]) -> None:
        """Raises `ExportError` where `stamp()` is another now, so that no answers come from two models."""
        with suppress(OSError):
            if self.stamp() == stamp:
                return
        raise ExportError("was replaced or removed since it was opened", path=self.path, way_out="Open it again")

    def manifest(self) -> dict[str, Any]:
        """The contents of vitlib.json. Reads every file for its checksum."""
        return {
            "vitlib_export": _VERSION,
            "format": self.format,
            "files": {path.name: {"bytes": size(path), "sha256": sha256(path)} for path in self.paths},
            "input": {
                "name": self.images.name,
                "dtype": self.images.dtype,
                "layout": "BHWC" if self.images.dtype == "uint8" else "BCHW",
                "shape": list(self.images.shape),
                "size_multiple_of": None if self.images.patch is None else list(self.images.patch),
                "values": "pixels, 0 to 255" if self.images.dtype == "uint8" else "normalised by preprocess",
            },
            "outputs": {name: {"name": out.value, "shape": list(out.shape)} for name, out in self.outputs.items()},
            "preprocess": self.preprocess.to_dict(),
            "labels": None if self.labels is None else list(self.labels),
            "made_from": self.made_from,
        }


def read_exported(directory: str | os.PathLike[str]) -> Exported:
    """The model that a directory holds. Checks that its files are there, whole and those that were exported.

    Raises FileNotFoundError without a vitlib.json, and `ExportError` for one that is damaged or of another program, and
    for files that are missing, cut short or changed.
    """
    directory = Path(directory)
    path = directory / MANIFEST
    try:
        found = read_json(path)
    except ExportError:
        raise
    except WeightsError as error:
        raise ExportError(error.reason, path=path, way_out="Export the model again") from None
    if found is None:
        raise FileNotFoundError(f"{str(directory)!r} has no {MANIFEST}, which vitlib.export writes beside a model")
    if found.get("vitlib_export") != _VERSION:
        raise ExportError(
            f"is not of a model exported by this vitlib (vitlib_export: {found.get('vitlib_export')!r})",
            path=path,
            way_out="Export the model again",
        )
    try:
        exported = _parse(directory, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"is damaged ({type(error).__name__}: {error})"
        raise ExportError(reason, path=path, way_out="Export the model again") from None
    for name, record in found["files"].items():
        _check_file(directory / name, record)
    return exported


def _parse(directory: Path, found: dict[str, Any]) -> Exported:
    if found["format"] not in ENDINGS:
        raise ValueError(f"format {found['format']!r}")
    names = tuple(found["files"])
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise ValueError("names of files")
    shape = tuple(found["input"]["shape"])
    if len(shape) != 4 or not all(side is None or (isinstance(side, int) and side > 0) for side in shape):
        raise ValueError(f"input shape {shape}")
    patch = found["input"]["size_multiple_of"]
    dtype = {"float32": "float32", "uint8": "uint8"}[found["input"]["dtype"]]
    images = Images(shape, dtype, str(found["input"]["name"]), None if patch is None else to_pair(tuple(patch)))
    outputs = {name: Output(str(record["name"]), tuple(record["shape"])) for name, record in found["outputs"].items()}
    if not outputs:
        raise ValueError("no outputs")
    preprocess = Preprocess.from_dict(found["preprocess"])
    labels = None if found["labels"] is None else tuple(map(str, found["labels"]))
    return Exported(directory, names, found["format"], images, outputs, preprocess, labels, found.get("made_from"))


def _check_file(path: Path, record: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise ExportError("is missing", path=path, way_out=f"{MANIFEST} names it: copy the whole directory")
    if size(path) != record["bytes"]:
        reason = f"has {size(path):,} bytes, and {MANIFEST} says {record['bytes']:,}: it is cut short, or not its file"
        raise ExportError(reason, path=path, way_out="Copy or export it again")
    if sha256(path) != record["sha256"]:
        reason = f"is not the file that {MANIFEST} describes: it was changed or damaged"
        raise ExportError(reason, path=path, way_out="Copy or export it again")


def size(path: Path) -> int:
    return path.stat().st_size


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
