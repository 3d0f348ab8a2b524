"""attention: pictures of what a model sees."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .image_arguments import HELP, image_paths
from .model_argument import DEFAULT_MODEL, add_model_options, load_model, locate
from .output_argument import check_output
from .parsing import Command, Parser

if TYPE_CHECKING:
    from ..models import VisionTransformer

_OF_THE_MODEL = ("positions", "filters")  # need no image
_OF_MATPLOTLIB = ("JPEG", "PDF", "PNG", "TIFF", "WEBP")  # what it and Pillow write
_NOT_WRITTEN = ("BUFR", "GRIB", "HDF5", "WMF")  # by Pillow, though it has their endings


def attention_options(parser: Parser) -> None:
    parser.describe(
        "Draw what a model sees in an image; several images make one page.\n\n"
        "methods:\n"
        "  relevance   the evidence for a class (Chefer et al. 2021): why this class?\n"
        "  rollout     attention through all layers (Abnar & Zuidema 2020)\n"
        "  attention   of one layer, the mean of its heads\n"
        "  heads       of every head, in a grid\n"
        "  features    of the patches, as colours (the first three components)\n"
        "  distance    how far each head looks, over the depth (needs vitlib[viz])\n"
        "  positions   how alike the positions are (without an image)\n"
        "  filters     of the patch embedding (without an image)",
        "vitlib attention photo.jpg",
        "vitlib attention photo.jpg --class tabby --output tabby.png",
        "vitlib attention photo.jpg --class tabby 'tiger cat'    two, side by side",
        "vitlib attention photos/ --method rollout --model runs/mine",
        usage="IMAGE ... [OPTIONS]",
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=HELP)
    parser.add_argument(
        "--method",
        choices=("relevance", "rollout", "attention", "heads", "features", "distance", *_OF_THE_MODEL),
        default="relevance",
        help="see above",
    )
    parser.add_argument(
        "--class",
        dest="classes",
        nargs="+",
        metavar="CLASS",
        help="of relevance: a label or an index; or two of them (default: the most probable class)",
    )
    parser.add_argument("--layer", type=int, help="of attention, heads and features (default: the last; heads: all)")
    parser.add_argument("--output", metavar="FILE", default="attention.png", help="a picture: .png, .jpg, .webp, ...")
    add_model_options(parser, DEFAULT_MODEL)


def attention(arguments: argparse.Namespace) -> int:
    from PIL import Image

    from ..deploy import tune_cpu

    output, method = Path(arguments.output), arguments.method
    Image.init()
    format = Image.registered_extensions().get(output.suffix.lower())
    if format not in Image.SAVE or format in _NOT_WRITTEN or (method == "distance" and format not in _OF_MATPLOTLIB):
        raise UsageError(f"--output {output}: expected a picture that can be written, such as attention.png")
    check_output(output, "--output")
    if method in _OF_THE_MODEL and arguments.images:
        raise UsageError(f"--method {method} shows the model itself; leave the image out")
    if method not in _OF_THE_MODEL and not arguments.images:
        raise UsageError(f"--method {method} needs an image")
    if arguments.classes and (method != "relevance" or len(arguments.classes) > 2):
        raise UsageError("--class: expected one or two classes, with --method relevance")
    if arguments.layer is not None and method not in ("attention", "heads", "features"):
        raise UsageError(f"--layer: --method {method} has none to choose")
    paths = list(image_paths(arguments.images))
    if len(paths) > 1 and (method == "heads" or len(arguments.classes or ()) == 2):
        raise UsageError(f"{'two classes' if method != 'heads' else '--method heads'}: expected one image")
    tune_cpu()
    model = load_model(arguments, locate(arguments.model, "--model "))
    model.eval()
    readable = [path for path in paths if _is_readable(arguments, model, path)]
    if paths and not readable:
        return 1
    _save(_draw(arguments, model, readable), output)
    print(output)
    return int(len(readable) < len(paths))


def _is_readable(arguments: argparse.Namespace, model: VisionTransformer, path: str) -> bool:
    from ..images import ImageError

    try:
        model.preprocess.array(path)
    except (ImageError, FileNotFoundError) as error:
        arguments.say(str(error))
        return False
    return True


def _draw(arguments: argparse.Namespace, model: VisionTransformer, paths: list[str]) -> Any:
    from ..analysis import (
        draw_attention,
        draw_classes,
        draw_heads,
        draw_page,
        draw_patch_features,
        draw_patch_filters,
        draw_position_similarity,
        plot_attention_distance,
    )

    method, layer = arguments.method, arguments.layer
    classes = [_class(model, text) for text in arguments.classes or ()]
    if method == "positions":
        return draw_position_similarity(model)
    if method == "filters":
        return draw_patch_filters(model)
    if method == "distance":
        return plot_attention_distance(model, paths)
    if method == "features":
        return draw_patch_features(model, paths, layer=-1 if layer is None else layer)
    if method == "heads":
        return draw_heads(model, paths[0], None if layer is None else [layer])
    if len(classes) == 2:
        return draw_classes(model, paths[0], tuple(classes))
    options = {
        "method": method,
        "class_index": classes[0] if classes else None,
        "layer": -1 if layer is None else layer,
    }
    if len(paths) == 1:
        return draw_attention(model, paths[0], **options)
    return draw_page(model, paths, **options)


def _class(model: VisionTransformer, text: str) -> int:
    from ..analysis.pictures.maps import resolve_class

    labels = list(model.labels or ())
    if text not in labels and text.isdecimal():
        if int(text) >= model.config.num_classes:
            raise UsageError(f"--class {text}: the model has {model.config.num_classes} classes, counted from 0")
        return int(text)
    if labels.count(text) > 1:
        indices = [index for index, label in enumerate(labels) if label == text]
        raise UsageError(f"--class {text}: the model calls the classes {' and '.join(map(str, indices))} so; give one")
    if text not in labels:
        folded = [index for index, label in enumerate(labels) if label.casefold() == text.casefold()]
        if len(folded) == 1:
            return folded[0]
    try:
        return resolve_class(model, text)
    except ValueError as error:
        raise UsageError(str(error).replace("class_index=", "--class ")) from None


def _save(picture: Any, output: Path) -> None:
    from PIL import Image

    from ..checkpoint import write_atomically

    with write_atomically(output) as file:
        if isinstance(picture, Image.Image):
            picture.save(file, Image.registered_extensions()[output.suffix.lower()])
        else:  # a figure of matplotlib
            picture.savefig(file, format=output.suffix[1:].lower(), dpi=150)


COMMANDS = (Command("attention", "pictures of where a model looks, and why", attention_options, attention),)
