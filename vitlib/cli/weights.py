"""convert and export: a model's weights for other codebases, and the model for other programs."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from .errors import UsageError
from .model_argument import add_model_options, load_model
from .parsing import Command, Parser, add_json

_FORMATS = ("vitlib", "timm", "huggingface", "torchvision", "google", "paddleclas")
_ENDINGS = {".onnx": "onnx", ".xml": "openvino", ".json": "paddle"}


def convert_options(parser: Parser) -> None:
    parser.describe(
        "Read weights of any codebase and write them in the way of another.\n"
        "OUT without an ending is a folder in vitlib's own format, with preprocessing and\n"
        "labels; .safetensors is timm's, .npz Google's, .pdparams PaddleClas'.",
        "vitlib convert deit_small.pth deit_small/",
        "vitlib convert deit_small/ deit_small.pdparams",
        "vitlib convert vit_base_patch16_224 vit_hf/ --format huggingface",
        usage="IN OUT [OPTIONS]",
    )
    parser.add_argument("model", metavar="IN", help='weights, or another MODEL of "vitlib --help"')
    parser.add_argument("output", metavar="OUT", help="a file or a folder")
    parser.add_argument("--format", choices=_FORMATS, help="of OUT (default: by its ending)")
    parser.add_argument("--force", action="store_true", help="replace OUT where it is there already")
    add_json(parser, "an object: what was loaded, resized, left out")
    add_model_options(parser, option=False)


def convert(arguments: argparse.Namespace) -> None:
    from ..pretrained import save_pretrained, save_weights

    output, format = Path(arguments.output), arguments.format
    if format is None and output.suffix not in (".safetensors", ".npz", ".pdparams"):
        format = "vitlib"
        if output.suffix in _ENDINGS:
            raise UsageError(f'{output}: {output.suffix} is written by "vitlib export"')
        if output.suffix in (".pth", ".pt", ".bin", ".ckpt", ".h5", ".msgpack"):
            raise UsageError(
                f"{output}: {output.suffix} is not written; give a file that ends in .safetensors, .npz or .pdparams, "
                "or a folder"
            )
    _check_free(output, arguments.force)
    model = load_model(arguments)
    if format == "vitlib":
        save_pretrained(model, output)
    else:
        save_weights(model, output, format=format)
    report = model.load_report
    if arguments.json:
        found = {"output": str(output), "format": format or "by its ending", "loaded": len(report.loaded)}
        found |= {"resized": report.resized, "reset": report.reset, "left_out": report.left_out}
        print(json.dumps({**found, "assumed": report.assumed, "notes": report.notes}, indent=1, ensure_ascii=False))
    else:
        print(report)
        print(f"wrote     {output}")


def _check_free(output: Path, force: bool) -> None:
    """Raises UsageError for a place that is taken, or cannot be."""
    if not force and (output.is_file() or (output.is_dir() and any(output.iterdir()))):
        raise UsageError(f"{output} is there already; --force replaces it")


def export_options(parser: Parser) -> None:
    parser.describe(
        "Write a model as one inference graph: ONNX, OpenVINO or Paddle Inference, with\n"
        "vitlib.json beside it (preprocessing, labels, input and outputs). The files are\n"
        "run once and compared with the model before they take their place.",
        "vitlib export vit_base_patch16_224 vit_base.onnx",
        "vitlib export runs/mine served/ --format openvino --size 384",
        "vitlib export runs/mine served/model.onnx --outputs logits features",
        usage="MODEL OUT [OPTIONS]",
    )
    parser.add_argument("model", metavar="MODEL", help='a preset, weights or a run, see "vitlib --help"')
    parser.add_argument("output", metavar="OUT", help="a folder, or a file in it that ends in .onnx, .xml or .json")
    parser.add_argument(
        "--format", choices=tuple(_ENDINGS.values()), help="(default: by OUT's ending, and onnx for a folder)"
    )
    parser.add_argument(
        "--outputs",
        nargs="+",
        metavar="NAME",
        help="logits, features, tokens, map_3, attention_3 (default: logits, or features of a model without classes)",
    )
    parser.add_argument(
        "--uint8", action="store_true", help="take images [B, H, W, C] uint8, and normalise in the graph"
    )
    parser.add_argument("--no-verify", action="store_true", help="do not run and compare the files")
    parser.add_argument("--force", action="store_true", help="replace OUT where it is there already")
    add_json(parser, "an object")
    add_model_options(parser, option=False)


def export_model(arguments: argparse.Namespace) -> None:
    from ..deploy import export, tune_cpu

    output = Path(arguments.output)
    format = arguments.format or _ENDINGS.get(output.suffix, "onnx")
    if output.suffix in _ENDINGS and _ENDINGS[output.suffix] != format:
        raise UsageError(
            f"--format {format} does not go with {output}, which ends as {_ENDINGS[output.suffix]} files do"
        )
    _check_free(output, arguments.force)
    tune_cpu()
    model = load_model(arguments)
    model.eval()
    report = export(
        model,
        output,
        format,
        outputs=arguments.outputs,
        input_dtype="uint8" if arguments.uint8 else "float32",
        verify=not arguments.no_verify,
    )
    if arguments.json:
        found = {"path": str(report.path), "files": [os.fspath(path) for path in report.files]}
        print(json.dumps({**found, "difference": report.difference}, indent=1, ensure_ascii=False))
    else:
        print(report)


COMMANDS = (
    Command("convert", "weights of any codebase in the way of another", convert_options, convert),
    Command("export", "a model as ONNX, OpenVINO or Paddle Inference", export_options, export_model),
)
