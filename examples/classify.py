"""Classify images, and see the evidence.

    python classify.py image.jpg --look look.png
    python classify.py *.jpg --weights runs/mine
    python classify.py image.jpg --weights vit_tiny_patch16_224.augreg_in21k_ft_in1k

Without further options this is the small DeiT of clothes/ beside this script, which knows ten kinds of clothes (its
model card says how well) and needs no network. --model alone is a preset with random weights. Images that cannot be
read are named, and the exit code is 1.
"""

import startup  # isort: skip

import argparse
import sys
from pathlib import Path

import numpy as np
import paddle

import vitlib
from vitlib.analysis import METHODS, draw_attention, draw_page
from vitlib.cli.model_argument import check_preset, locate, open_weights

CLOTHES = Path(__file__).parent / "clothes"


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=startup.HelpFormatter, usage="%(prog)s IMAGE... [OPTIONS]"
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument(
        "--preset", "--model", dest="model", help="a preset of vitlib.list_models() (default: the weights tell)"
    )
    parser.add_argument(
        "--weights",
        help="a preset's name, for its published ones, or with --model 'published'; a file, folder, run of a training "
        "script, hf:org/repo or URL (default: clothes/)",
    )
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    parser.add_argument("--look", metavar="FILE", help="also draw where the evidence is, into this file (default: no)")
    parser.add_argument(
        "--method", default="relevance", choices=METHODS, help="of --look; see vitlib.analysis.draw_attention"
    )
    return parser.parse_args()


def load_model(arguments):
    """The model that was asked for, and a line about it."""
    name, weights = arguments.model, arguments.weights
    if weights is None and name is None:
        about = f"A small DeiT for ten kinds of clothes, from {CLOTHES}; it takes everything else for one of them, too."
        return vitlib.from_pretrained(CLOTHES), about
    if weights is None:
        check_preset(name, "--model ")
        about = f"{name} has random weights: the following shows that everything runs, and means nothing."
        return vitlib.create_model(name), about
    if weights == "published" and name:
        name, weights = None, name
    model = open_weights(locate(weights, "--weights "), name, None, {})
    return model, str(model.load_report)


def read(model, paths):
    """([(path, [C, H, W]), ...], sentences about the others)"""
    images, unreadable = [], []
    for path in paths:
        try:
            images.append((path, model.preprocess.array(path)))
        except (vitlib.ImageError, OSError) as error:
            unreadable.append(str(error))
    return images, unreadable


def look(model, paths, arguments):
    """One image at its own resolution, or a page with a row for each of several."""
    if len(paths) == 1:
        picture = draw_attention(model, paths[0], method=arguments.method)
    else:
        picture = draw_page(model, paths, method=arguments.method)
    picture.save(arguments.look)


def main(arguments):
    vitlib.tune_cpu()
    model, about = load_model(arguments)
    model.eval()
    print(about)
    images, unreadable = read(model, arguments.images)
    predictions = []
    for start in range(0, len(images), 32):  # a batch at a time
        batch = np.stack([pixels for _, pixels in images[start : start + 32]])
        predictions += vitlib.predict(model, paddle.to_tensor(batch), top_k=arguments.top)
    for (path, _), row in zip(images, predictions, strict=True):
        print(path)
        for label, probability, _ in row:
            print(f"  {100 * probability:5.2f} %  {label}")
    if arguments.look and images:
        look(model, [path for path, _ in images], arguments)
        print(f"wrote {arguments.look}")
    if unreadable:
        sys.exit("\n".join(f"{startup.script_name()}: {reason}" for reason in unreadable))


if __name__ == "__main__":
    arguments = parse_arguments()
    startup.end_with_a_sentence(lambda: main(arguments))
