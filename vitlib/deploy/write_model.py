"""Writing a model's inference graph in the format of an engine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..models import VisionTransformer
from ..models.predictions import check_labels
from .describe_model import describe
from .exported import ENDINGS, Exported
from .extras import require
from .graph import Graph, Output
from .onnx_model import save_onnx
from .outputs import parse_outputs
from .overrides import DescriptionError
from .paddle_program import distinct_outputs, save_paddle_program
from .trace_model import save_traced


def write_model(
    model: VisionTransformer,
    directory: Path,
    stem: str,
    format: str,
    outputs: str | Iterable[str],
    *,
    extra_outputs: tuple[str, ...] = (),
    img_size: int | tuple[int, int] | None = None,
    pixels: bool = False,
) -> Exported:
    """Write the files of a format, `stem` with its endings, into an empty directory; no vitlib.json.

    A model whose operations are not known is traced for "paddle", without extra_outputs. Raises as `describe` does, and
    ImportError for an extra that is missing, and ValueError for labels or a head that do not fit.
    """
    check_labels(model)
    model.check_filled()
    path = directory / (stem + ENDINGS[format])
    outputs = parse_outputs(outputs, model.config, len(model.blocks))
    try:
        graph = describe(model, (*outputs, *extra_outputs), img_size=img_size, pixels=pixels)
    except DescriptionError:
        if format != "paddle":
            raise
        images, given = save_traced(model, path.with_suffix(""), outputs, img_size, pixels)
    else:
        images, given = graph.images, _save(graph, path, format)
    files = (path.name, *sorted(file.name for file in directory.iterdir() if file != path))
    labels = None if model.labels is None else tuple(map(str, model.labels))
    made_from = {"class": type(model).__name__, "config": model.config.to_dict()}
    preprocess = model.preprocess if img_size is None else model.preprocess.replace(size=img_size)
    return Exported(directory, files, format, images, given, preprocess, labels, made_from)


def _save(graph: Graph, path: Path, format: str) -> dict[str, Output]:
    """Write a graph; its outputs by the names that the file gives them."""
    given = {name: Output(name, output.shape) for name, output in graph.outputs.items()}
    if format == "paddle":
        save_paddle_program(graph, path.with_suffix(""))
        order = distinct_outputs(graph)  # Paddle numbers the outputs
        return {name: Output(str(order.index(out.value)), out.shape) for name, out in graph.outputs.items()}
    if format == "onnx":
        save_onnx(graph, path)
        return given
    openvino = require("openvino", extra="openvino")
    onnx_path = path.with_suffix(".onnx")
    save_onnx(graph, onnx_path)
    openvino.save_model(openvino.Core().read_model(onnx_path), path, compress_to_fp16=False)
    for leftover in path.parent.glob(onnx_path.name + "*"):
        leftover.unlink()
    return given
