"""Classify images, and see where the model looks.

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
from weights_option import check_preset, open_weights

import vitlib
from vitlib.images import decode

CLOTHES = Path(__file__).parent / "clothes"


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=startup.HelpFormatter, usage="%(prog)s IMAGE... [OPTIONS]"
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--model", help="a preset of vitlib.list_models() (default: the weights tell)")
    parser.add_argument(
        "--weights",
        help="a preset's name, for its published ones, or with --model 'published'; a file, folder, run of a training "
        "script, hf:org/repo or URL (default: clothes/)",
    )
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    parser.add_argument("--look", metavar="FILE", help="also draw where the model looks, into this file (default: no)")
    return parser.parse_args()


def load_model(arguments):
    """The model that was asked for, and a line about it."""
    name, weights = arguments.model, arguments.weights
    if weights is None and name is None:
        about = f"A small DeiT for ten kinds of clothes, from {CLOTHES}; it takes everything else for one of them, too."
        return vitlib.from_pretrained(CLOTHES), about
    if weights is None:
        check_preset("--model", name)
        about = f"{name} has random weights: the following shows that everything runs, and means nothing."
        return vitlib.create_model(name), about
    model = open_weights(name, None) if weights == "published" and name else open_weights(weights, name)
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


def look(model, images, predictions, path):
    """Each image as the model sees it, titled by its prediction, and over it the attention of the class token in the
    last block, both at the resolution of the file."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("--look draws with matplotlib: pip install 'vitlib[examples]'") from None
    height, width = model.patch_embed.grid_size
    figure = Figure(figsize=(6, 3.2 * len(images)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (name, pixels), (best, *_) in zip(
        figure.subplots(len(images), 2, squeeze=False), images, predictions, strict=True
    ):
        (attention,) = vitlib.attention_maps(model, paddle.to_tensor(pixels[np.newaxis]), layers=[-1])
        seen = (
            attention.mean(1)[0, 0, model.num_prefix_tokens :].reshape([height, width]).numpy()
        )  # class token -> patches
        image = np.asarray(enlarged(model.preprocess, name).crop(name))
        row[0].imshow(image, cmap="gray")
        row[0].set_title(f"{Path(name).name}: {best.label}, {100 * best.probability:.0f} %", fontsize=9)
        row[1].imshow(image if image.ndim == 2 else image.mean(axis=2), cmap="gray")
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        row[1].imshow(seen, cmap="inferno", alpha=0.6, interpolation="bilinear", extent=extent)
        row[1].set_title("where the class token looks", fontsize=9)
        for axis in row:
            axis.set_axis_off()
    figure.savefig(path, dpi=200)


def enlarged(preprocess, path, most=1024):
    """A Preprocess that cuts out the same part of the image at its own resolution, up to `most` pixels a side."""
    sides = np.array(preprocess.size if isinstance(preprocess.size, tuple) else (preprocess.size,) * 2)
    kept = preprocess.crop_fraction * min(decode(path).size)
    factor = max(1.0, min(kept / sides.min(), most / sides.max()))
    return preprocess.replace(size=tuple(int(side) for side in (factor * sides).round()))


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
        look(model, images, predictions, arguments.look)
        print(f"wrote {arguments.look}")
    if unreadable:
        sys.exit("\n".join(f"{startup.script_name()}: {reason}" for reason in unreadable))


if __name__ == "__main__":
    arguments = parse_arguments()
    startup.end_with_a_sentence(lambda: main(arguments))
