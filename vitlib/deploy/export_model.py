"""`export`: a model as files for another program, complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint import WeightsError
from ..checkpoint.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from ..checkpoint.json_file import read_json, write_json
from ..models import VisionTransformer
from .cpu import usable_cores
from .engines import ENGINES, is_installed, open_engine
from .exported import ENDINGS, MANIFEST, Exported, ExportError
from .verify import largest_deviation
from .write_model import write_model

TOLERANCE = 1e-4  # of the largest number of an output, in float32


@dataclass(frozen=True)
class ExportReport:
    """A finished export.

    path: the file that an engine opens; files: all of them, with vitlib.json.
    difference: the largest difference to the model's outputs, as a share of each output's largest number; None without
        a check.
    message: all of it in a sentence.
    """

    path: Path
    files: tuple[Path, ...]
    difference: float | None
    message: str

    def __str__(self) -> str:
        return self.message


def export(
    model: VisionTransformer,
    path: str | os.PathLike[str],
    format: str = "onnx",
    *,
    outputs: str | Iterable[str] | None = None,
    img_size: int | tuple[int, int] | None = None,
    input_dtype: str = "float32",
    verify: bool = True,
) -> ExportReport:
    """Write what a model computes in evaluation as one inference graph, with `vitlib.json` beside it.

    Args:
        model: the model, with its weights. Whatever mode it is in, the mode stays and evaluation is written: of a DeiT
            the mean of the two heads.
        path: a file with the ending of the format, or a directory, in which it is called "model". A directory holds
            one export.
        format: "onnx" (opset 20; extra `onnx`), "openvino" (IR; extra `openvino`), or "paddle" (for Paddle Inference).
            ONNX weights above 2 GB lie in a file beside the model.
        outputs: one or several of "logits", "features", "tokens", "map_3", "attention_3" (see `parse_outputs`); None:
            logits, or features of a model without classes.
        img_size: the one size of the images, int or (height, width). None: the model's, or any size where it has
            `dynamic_img_size`. The batch is open.
        input_dtype: "float32" for normalised images [B, C, H, W], or "uint8" for images [B, H, W, C] as
            `preprocess.crop` gives them.
        verify: run the written files once, and compare with the model.

    The input is called "images". The files are written beside their final place first and moved when they are whole
    and verified, vitlib.json last.

    Raises `DescriptionError` for a class whose operations are not known (format "paddle" traces those), `ExportError`
    when the files do not compute what the model does, RuntimeError for a model without values, TypeError for what is no
    vitlib model, ImportError for a missing extra, ValueError for arguments that cannot be, FileExistsError for a
    directory with another export, OSError when the disk does.
    """
    if not isinstance(model, VisionTransformer):
        raise TypeError(f"expected a vitlib model, found {type(model).__name__}; paddle.jit.save saves any layer")
    if format not in ENDINGS:
        raise ValueError(f"format={format!r}: expected one of {', '.join(map(repr, ENDINGS))}")
    pixels = takes_pixels(input_dtype)
    outputs = default_outputs(model) if outputs is None else outputs
    directory, stem = _place(Path(path), format)
    partial = directory / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    created = next((place for place in (*reversed(directory.parents), directory) if not place.exists()), None)
    partial.mkdir(parents=True)
    try:
        exported = write_model(model, partial, stem, format, outputs, img_size=img_size, pixels=pixels)
        difference = _verified(model, exported) if verify else None
        write_json(partial / MANIFEST, exported.manifest())
        _move(partial, directory, (*exported.files, MANIFEST))
    except BaseException:
        if created is not None:
            shutil.rmtree(created, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    files = tuple(directory / name for name in (*exported.files, MANIFEST))
    return ExportReport(files[0], files, difference, _message(model, exported, files[0], difference))


def takes_pixels(input_dtype: str) -> bool:
    """Whether the input is uint8. Raises ValueError for anything but "float32" and "uint8"."""
    if input_dtype not in ("float32", "uint8"):
        raise ValueError(f"input_dtype={input_dtype!r}: expected 'float32' or 'uint8'")
    return input_dtype == "uint8"


def default_outputs(model: VisionTransformer) -> str:
    return "logits" if model.config.num_classes else "features"


def _place(path: Path, format: str) -> tuple[Path, str]:
    """The directory and the stem of the files. Raises FileExistsError where another export lies there already."""
    ending = ENDINGS[format]
    directory, stem = (path.parent, path.stem) if path.suffix == ending else (path, "model")
    wrong = path.suffix in ENDINGS.values() and path.suffix != ending
    if wrong or (path.suffix == ending and path.name == MANIFEST):
        raise ValueError(f"format={format!r} writes a file that ends in {ending}, found the path {str(path)!r}")
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"{str(directory)!r} is a file; give a directory, or a path that ends in {ending}")
    if path.suffix == ending and path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a directory; give the name of a file")
    with contextlib.suppress(WeightsError):
        older = next(iter((read_json(directory / MANIFEST) or {}).get("files", {})), None)
        if older is not None and older != stem + ending:
            raise FileExistsError(
                f"{str(directory)!r} holds another export, {older!r}, described by {MANIFEST}; choose another directory"
            )
    return directory, stem


def _verified(model: VisionTransformer, exported: Exported) -> float:
    """The deviation of the written files from the model. Raises `ExportError` where it is too large."""
    names = [name for name, row in ENGINES.items() if exported.format in row.formats and is_installed(name)]
    if not names:
        raise ImportError(
            f"nothing that runs {exported.format} files is installed to verify this one: pip install onnxruntime, or "
            "give verify=False"
        )
    engine = open_engine(names[0], exported, "float32", usable_cores())
    try:
        found = largest_deviation(engine, model, exported)
    finally:
        engine.close()
    if not found <= TOLERANCE:
        raise ExportError(
            f"the written model differs from the model by {found:.2g} of its largest output in {names[0]}, more than "
            f"{TOLERANCE:g}; nothing was kept",
            way_out="Report it, or export with verify=False",
        )
    return found


def _move(partial: Path, directory: Path, names: Iterable[str]) -> None:
    """Files take the places of older ones. In between, no vitlib.json says that they belong together."""
    (directory / MANIFEST).unlink(missing_ok=True)
    for name in names:
        with (partial / name).open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial / name, directory / name)


def _message(model: VisionTransformer, exported: Exported, path: Path, difference: float | None) -> str:
    size = sum(file.stat().st_size for file in path.parent.iterdir() if file.name in exported.files)
    kind, gives = type(model).__name__, ", ".join(exported.outputs)
    parts = [f"{path}: {kind} as {exported.format}, {size / 1e6:.1f} MB, gives {gives}"]
    if model.training:
        parts.append("the model is in training mode, and the file computes what it does in evaluation")
    if difference is not None:
        parts.append(f"differs from the model by {difference:.1e} of the largest output")
    return "; ".join(parts)
