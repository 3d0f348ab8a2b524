"""predict and embed: classes and features of images."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .csv_table import csv_table
from .errors import UsageError
from .image_arguments import add_images, image_paths
from .model_argument import DEFAULT_MODEL, add_engine_options, add_model_options, open_predictor
from .output_argument import check_output
from .parsing import Command, Parser, number, whole


def predict_options(parser: Parser) -> None:
    parser.describe(
        "Say what is in images: the most probable classes of each, with probabilities.\n"
        "An image that cannot be read is named and the others go on; the exit code is\n"
        "then 1.",
        "vitlib predict photo.jpg",
        "vitlib predict photos/ --model runs/mine --top 1",
        "vitlib predict *.jpg --model deit_small_patch16_224 --json | jq .label",
        "find . -name '*.png' | vitlib predict - --model model.onnx",
        usage="IMAGE ... [OPTIONS]",
    )
    add_images(parser)
    parser.add_argument("--top", type=whole(1), default=5, help="how many classes")
    parser.add_argument(
        "--threshold",
        type=number("[0, 1]"),
        help="of a model for several labels an image: all labels of at least this probability, in place of --top "
        "(default: one class an image)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print an object a line for each image: image, label, probability and predictions, or image and error",
    )
    add_model_options(parser, DEFAULT_MODEL)
    add_engine_options(parser)


def predict(arguments: argparse.Namespace) -> int:
    paths = image_paths(arguments.images)
    unreadable = 0
    with open_predictor(arguments, "logits") as predictor:
        for item in predictor.items(paths, batch_size=arguments.batch_size, on_unreadable="skip"):
            if item.outputs is None:
                unreadable += 1
                arguments.say(item.reason)
                if arguments.json:
                    print(
                        json.dumps({"image": item.source, "error": arguments.spoken(item.reason)}, ensure_ascii=False)
                    )
                continue
            if arguments.threshold is None:
                rows = predictor.classes(item.outputs["logits"], arguments.top)
            else:
                rows = predictor.labels(item.outputs["logits"], arguments.threshold)
            if arguments.json:
                best = {"label": rows[0].label, "probability": rows[0].probability} if rows else {}
                predictions = [row._asdict() for row in rows]
                print(json.dumps({"image": item.source, **best, "predictions": predictions}, ensure_ascii=False))
            else:
                print(item.source)
                for label, probability, _ in rows:
                    print(f"  {100 * probability:6.2f} %  {label}")
            sys.stdout.flush()
    return int(bool(unreadable))


def embed_options(parser: Parser) -> None:
    parser.describe(
        "Write the features of images, a row for each: to .npz (the arrays features,\n"
        "float32 [N, D], and paths), or to .csv. An image that cannot be read is named\n"
        "and left out; the exit code is then 1.",
        "vitlib embed photos/",
        "vitlib embed photos/ --model vit_base_patch14_dinov2 --output photos.csv",
        "vitlib embed photos/ --model runs/mine --output photos.npz",
        usage="FOLDER ... [OPTIONS]",
    )
    add_images(parser, "FOLDER")
    parser.add_argument("--output", metavar="FILE", default="features.npz", help="ends in .npz or .csv")
    add_model_options(parser, DEFAULT_MODEL)
    add_engine_options(parser, "float32")


def embed(arguments: argparse.Namespace) -> int:
    import numpy as np

    from ..checkpoint import write_atomically

    output = Path(arguments.output)
    if output.suffix.lower() not in (".npz", ".csv"):
        raise UsageError(f"--output {output}: expected a file that ends in .npz or .csv")
    check_output(output, "--output")
    paths = image_paths(arguments.images)
    with open_predictor(arguments, "features") as predictor:
        names, rows, unreadable = [], [], 0
        for item in predictor.items(paths, batch_size=arguments.batch_size, on_unreadable="skip"):
            if item.outputs is None:
                unreadable += 1
                arguments.say(item.reason)
            else:
                names.append(str(item.source))
                rows.append(item.outputs["features"])
    if not rows:
        raise ValueError("none of the images can be read, and nothing was written")
    features = np.stack(rows)
    with write_atomically(output) as file:
        if output.suffix.lower() == ".npz":
            np.savez(file, features=features, paths=np.array(names))
        else:
            with csv_table(file) as table:
                table.writerow(["path", *range(features.shape[1])])
                table.writerows([name, *map(str, row)] for name, row in zip(names, features, strict=True))
    print(f"{output}: features of {len(names)} images, {features.shape[1]} numbers each")
    return int(bool(unreadable))


COMMANDS = (
    Command("predict", "what is in images", predict_options, predict),
    Command("embed", "the features of images, as .npz or .csv", embed_options, embed),
)
