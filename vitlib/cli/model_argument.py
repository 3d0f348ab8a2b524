"""The argument MODEL: a preset, weights of any kind, the folder of a run, or an export."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import UsageError
from .parsing import Parser, settings, whole

if TYPE_CHECKING:
    from ..deploy import Predictor
    from ..models import VisionTransformer

DEFAULT_MODEL = "vit_small_patch16_224"


class Located(NamedTuple):
    """kind: "preset", "weights" (as `from_pretrained` takes them) or "export"; source: its name, path or identifier."""

    kind: str
    source: str


def locate(text: str, option: str = "") -> Located:
    """option: what errors begin with, such as "--model ". Raises UsageError for what is none of them."""
    from ..checkpoint.json_file import read_json
    from ..deploy.exported import MANIFEST
    from ..hub import is_identifier

    path = Path(text)
    if is_identifier(text):
        return Located("weights", text)
    if path.is_dir() and (path / "run.json").exists():
        if not (path / "model").is_dir():
            raise UsageError(
                f"{option}{text}: this run has no model/; its first epoch is not done, or it trains another kind of "
                "network"
            )
        return Located("weights", str(path / "model"))
    if path.is_dir() and (path / MANIFEST).is_file():
        return Located("export", text)
    if path.suffix in (".onnx", ".xml") and path.exists():
        if not (path.parent / MANIFEST).is_file():
            raise UsageError(
                f"{option}{text}: there is no {MANIFEST} beside it, which says what goes in and what comes out; give a "
                'model that "vitlib export" wrote'
            )
        files = (read_json(path.parent / MANIFEST) or {}).get("files")
        if isinstance(files, dict) and path.name not in files:
            raise UsageError(
                f"{option}{text}: the {MANIFEST} beside it describes {' and '.join(map(repr, files))}, not this file; "
                "give one of those, or its own export in a folder of its own"
            )
        return Located("export", str(path.parent))
    if path.exists():
        return Located("weights", text)
    return Located("preset", check_preset(text, option, "there is no such file or folder, and"))


def check_preset(name: str, option: str = "", reason: str = "there is") -> str:
    """The name. Raises UsageError, with the nearest names, where no preset is called so."""
    from ..models import get_config, list_models

    try:
        get_config(name)
    except ValueError as error:
        if str(error).startswith("the preset"):  # it has no such tag
            raise UsageError(f"{option}{name}: {error}") from None
        nearest = difflib.get_close_matches(name, [*list_models(), *list_models(tags=True)], n=3)
        others = f"; the nearest are {', '.join(nearest)}" if nearest else '; "vitlib list" shows them'
        raise UsageError(f"{option}{name}: {reason} no preset of that name{others}") from None
    return name


def add_model_options(parser: Parser, default: str | None = None, *, option: bool = True) -> None:
    """--model, or the positional argument MODEL, and what some weights need beside it."""
    add = parser.add_argument_group("the model").add_argument
    if option:
        add(
            "--model",
            "--weights",
            metavar="MODEL",
            default=default,
            required=default is None,
            help='a preset, weights, a run or an export, see "vitlib --help"',
        )
    add("--preset", help="the preset that a file of weights is for, where the file does not tell (default: it tells)")
    add(
        "--size",
        type=whole(1),
        nargs="+",
        metavar="PIXELS",
        help="of the images, or height and width (default: the model's)",
    )
    add_weights_options(add)


def add_weights_options(add: Any) -> None:
    add(
        "--allow",
        nargs="+",
        default=[],
        metavar="CHANGE",
        help="to the weights: position, patch, head, distillation, extra, ...",
    )
    add("--part", metavar="KEY", help="the weights to take from a file with several (default: the only ones)")
    add(
        "--source-grid",
        type=whole(1),
        nargs=2,
        metavar=("ROWS", "COLUMNS"),
        help="of the file's position table (default: the file tells)",
    )
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="OPTION=VALUE",
        help="options of the model that differ, such as num_heads=3 or dynamic_img_size=true",
    )


def load_model(arguments: argparse.Namespace, located: Located | None = None) -> VisionTransformer:
    """The model of the options of `add_model_options`; what was assumed about it goes to standard error."""
    options: dict[str, Any] = {**settings(arguments.set), "allow": arguments.allow}
    if arguments.part is not None:
        options["part"] = arguments.part
    if arguments.source_grid is not None:
        options["source_grid"] = tuple(arguments.source_grid)
    located = locate(arguments.model) if located is None else located
    model = open_weights(located, arguments.preset, arguments.size, options, note=arguments.note)
    for sentence in model.load_report.assumed:
        arguments.say(f"assumed: {sentence}")
    return model


def open_weights(
    located: Located,
    preset: str | None,
    size: list[int] | None,
    options: dict[str, Any],
    *,
    note: Callable[[str], object] = lambda text: None,
) -> VisionTransformer:
    """A model with its weights.

    options: as of `vitlib.from_pretrained`. note: is told where published weights come from. Raises UsageError for an
    export, and what loading raises.
    """
    from ..models.presets import published
    from ..pretrained import create_model, from_pretrained

    source = located.source
    if located.kind == "export":
        raise UsageError(f"{source} is an export, which has no layers any more; give what it was made from")
    if size is not None:
        options["img_size"] = image_size(size)
    try:
        if located.kind == "preset":
            if preset is not None:
                raise UsageError(f"{source} is a preset's name; leave --preset {preset} out, or give a file")
            if not _has_weights(source):
                raise UsageError(
                    f"nobody has published weights for the preset {source}; give a file of weights, with --preset "
                    f'{source} where it does not tell, or another preset ("vitlib list --weights")'
                )
            note(f"{published(source).name} from {published(source).locations[0]}")
            model = create_model(source, pretrained=True, **options)
        elif preset is not None:
            model = create_model(check_preset(preset, "--preset "), pretrained=source, **options)
        else:
            model = from_pretrained(source, **options)
    except TypeError as error:  # an option that does not exist
        raise UsageError(f"--set: {error}") from None
    except ValueError as error:
        reason, padding, _ = str(error).partition(", or dynamic_img_pad")
        if size is None or not padding:
            raise
        raise UsageError(f"--size {' '.join(map(str, size))}: {reason}") from error
    return model


def image_size(given: list[int] | None) -> int | tuple[int, int] | None:
    """The option --size. Raises UsageError for more than two numbers."""
    if given is None or len(given) == 1:
        return None if given is None else given[0]
    if len(given) > 2:
        raise UsageError("--size: expected one number, or height and width")
    return given[0], given[1]


def _has_weights(name: str) -> bool:
    from ..models.presets import PRESETS, split_name

    return bool(PRESETS[split_name(name)[0]].weights)


def add_engine_options(parser: Parser, precision: str = "auto") -> None:
    add = parser.add_argument_group("the engine").add_argument
    add(
        "--engine",
        choices=["auto", "paddle", "onnxruntime", "openvino"],
        default="auto",
        help="auto takes the fastest that is installed",
    )
    add(
        "--precision",
        choices=["auto", "float32", "bfloat16", "int8"],
        default=precision,
        help="auto takes bfloat16 where the processor has it and the first images are within 1 %% of float32",
    )
    add("--calibration", metavar="FOLDER", help="images like those to come, for --precision int8 (default: none)")
    add("--batch-size", type=whole(1), default=8, help="images at once")
    add("--threads", type=whole(1), help="of the CPU (default: all cores)")


def open_predictor(arguments: argparse.Namespace, output: str) -> Predictor:
    """A `Predictor` of the model, export or not, that gives one output. Raises UsageError for one that does not."""
    from ..deploy import Predictor, read_exported, tune_cpu

    if arguments.precision == "int8" and arguments.calibration is None:
        raise UsageError("--precision int8 needs --calibration FOLDER, images like those to come")
    options = {
        "engine": arguments.engine,
        "precision": arguments.precision,
        "threads": arguments.threads,
        "calibration": arguments.calibration,
    }
    located = locate(arguments.model, "--model ")
    if located.kind == "export":
        given = [name for name in ("preset", "size", "allow", "part", "source_grid", "set") if getattr(arguments, name)]
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} is for weights, and {arguments.model} is an export")
        outputs = read_exported(located.source).outputs
        if output not in outputs:
            raise UsageError(
                f"the export {arguments.model} gives {', '.join(outputs)} and no {output}; make one with "
                f'"vitlib export MODEL OUT --outputs {output}"'
            )
        predictor = Predictor(located.source, **options)
    else:
        tune_cpu(arguments.threads)
        model = load_model(arguments, located)
        if output == "logits" and not model.config.num_classes:
            raise UsageError(f"{arguments.model} has no classes and gives features alone; see vitlib embed")
        predictor = Predictor(model, outputs=output, **options)
    if output == "logits" and len(predictor.exported.outputs["logits"].shape) != 2:
        predictor.close()
        raise UsageError(f"{arguments.model} classifies every patch (global_pool=none), not the image")
    arguments.note(f"running on {predictor.report.engine}")
    return predictor
