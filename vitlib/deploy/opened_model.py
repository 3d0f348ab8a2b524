"""From what a `Predictor` is given to files that an engine opens."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..models import VisionTransformer
from .engines import ENGINES, choose_engine
from .export_model import default_outputs, takes_pixels
from .exported import MANIFEST, Exported, ExportError, read_exported
from .outputs import parse_outputs
from .write_model import write_model


@dataclass
class OpenedModel:
    """Files of a model, the engine that will open them, and why.

    asked: the outputs that the user asked for; the files may give more.
    model: the model that they were made from, until it has been compared; None for an export on disk.
    """

    exported: Exported
    engine: str
    engine_reason: str
    asked: tuple[str, ...]
    model: VisionTransformer | None = None
    temporary: tempfile.TemporaryDirectory | None = None

    def decode(self, image: Any) -> np.ndarray:
        """One image as the model takes it: [C, H, W] float32, or [H, W, C] uint8."""
        preprocess = self.exported.preprocess
        if self.exported.images.dtype != "uint8":
            return preprocess.array(image)
        pixels = np.asarray(preprocess.crop(image))
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    def close(self) -> None:
        if self.temporary is not None:
            self.temporary.cleanup()


def open_model(
    model: VisionTransformer | str | os.PathLike[str],
    engine: str,
    precision: str,
    outputs: str | Iterable[str] | None,
    *,
    img_size: int | tuple[int, int] | None,
    input_dtype: str,
) -> OpenedModel:
    """See `Predictor`, whose arguments and errors these are."""
    if not isinstance(model, VisionTransformer):
        if not isinstance(model, (str, os.PathLike)):
            raise TypeError(
                f"expected a vitlib model, the name of a preset, or a path of weights or an export, found "
                f"{type(model).__name__}"
            )
        directory = _export_directory(Path(model))
        if directory is not None:
            return _open_export(directory, engine, precision, outputs, img_size, input_dtype)
        model = _load(model)
    reason = "asked for"
    if engine == "auto":
        engine, reason = choose_engine(precision, None)
    asked = parse_outputs(default_outputs(model) if outputs is None else outputs, model.config, len(model.blocks))
    # for `embed`; it costs nothing
    extra = ("features",) if "features" not in asked and model.config.global_pool != "none" else ()
    temporary = tempfile.TemporaryDirectory(prefix="vitlib-")
    try:
        options = {"img_size": img_size, "pixels": takes_pixels(input_dtype)}
        directory, format = Path(temporary.name), ENGINES[engine].formats[0]
        exported = write_model(model, directory, "model", format, asked, extra_outputs=extra, **options)
    except BaseException:
        temporary.cleanup()
        raise
    return OpenedModel(exported, engine, reason, asked, model, temporary)


def _export_directory(path: Path) -> Path | None:
    """The directory of an export, of which the path may be the model's file; None for anything else."""
    directory = path.parent if path.is_file() and path.suffix in (".onnx", ".xml", ".json") else path
    return directory if (directory / MANIFEST).is_file() else None


def _open_export(
    directory: Path,
    engine: str,
    precision: str,
    outputs: str | Iterable[str] | None,
    img_size: int | tuple[int, int] | None,
    input_dtype: str,
) -> OpenedModel:
    exported, reason = read_exported(directory), "asked for"
    if engine == "auto":
        engine, reason = choose_engine(precision, exported.format)
    elif exported.format not in ENGINES[engine].formats:
        raise ValueError(
            f"{str(exported.path)!r} is an {exported.format} export, which engine={engine!r} does not read; export the "
            f"model with format={ENGINES[engine].formats[0]!r}"
        )
    if img_size is not None or (takes_pixels(input_dtype) and exported.images.dtype != "uint8"):
        raise ValueError("img_size and input_dtype are those of the export; give them to vitlib.export")
    asked = tuple(exported.outputs) if outputs is None else (outputs,) if isinstance(outputs, str) else tuple(outputs)
    missing = [name for name in asked if name not in exported.outputs]
    if missing or not asked:
        raise ValueError(f"outputs={asked}: this export gives {', '.join(exported.outputs)}")
    return OpenedModel(exported, engine, reason, asked)


def _load(source: str | os.PathLike[str]) -> VisionTransformer:
    """A model with weights, from a preset's name or from whatever `vitlib.from_pretrained` takes."""
    from ..pretrained import create_model, from_pretrained

    path = os.fspath(source)
    if Path(path).suffix in (".onnx", ".xml"):
        raise ExportError(
            f"has no {MANIFEST} beside it, so that nothing says what goes in and what comes out"
            if os.path.exists(path)
            else "is not there",
            path=path,
            way_out="Give a directory that vitlib.export wrote",
        )
    is_place = isinstance(source, os.PathLike) or os.path.isabs(path) or os.path.exists(os.path.dirname(path))
    if os.path.exists(path) or ":" in path or is_place:
        return from_pretrained(source)
    return create_model(path, pretrained=True)
