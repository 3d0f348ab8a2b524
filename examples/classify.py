"""Classify photographs, and see where the model looks: python classify.py photo.jpg [--look look.png]

Without further arguments this is the small DeiT of clothes/ beside this script, which knows ten kinds of clothes (its
model card says how well) and needs no network. --model takes a preset instead, with random weights; --weights
takes a file of any codebase, a saved directory, "hf:org/repo", or, with "published", the preset's published ones.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import vitlib

CLOTHES = Path(__file__).parent / "clothes"


def load(arguments):
    """The model that was asked for, and a line about it."""
    if arguments.weights is None and arguments.model is None:
        model = vitlib.from_pretrained(CLOTHES)
        return model, f"A small DeiT for ten kinds of clothes, from {CLOTHES}; whatever else it sees, it takes for one."
    source = {None: False, "published": True}.get(arguments.weights, arguments.weights)
    if arguments.model is None and source is not True:
        model = vitlib.from_pretrained(source)
    else:
        model = vitlib.create_model(arguments.model or "vit_tiny_patch16_224", pretrained=source)
    if source is False:
        return (
            model,
            f"{arguments.model} has random weights: what follows shows that everything runs, and means nothing.",
        )
    return model, str(model.load_report)


def look(model, photos, path):
    """Each photo as the model sees it, and over it the attention of its class token in the last block."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("--look draws with matplotlib: pip install 'vitlib[examples]'") from None
    (attention,) = vitlib.attention_maps(model, photos, layers=[-1])  # [B, heads, N, N]
    height, width = model.patch_embed.grid_size
    maps = attention.mean(1)[:, 0, model.num_prefix_tokens :].reshape([len(photos), height, width]).numpy()
    figure = Figure(figsize=(6, 3 * len(photos)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, photo, seen in zip(figure.subplots(len(photos), 2, squeeze=False), photos, maps, strict=True):
        picture = np.asarray(model.preprocess.crop(photo))
        row[0].imshow(picture)
        row[0].set_title(Path(photo).name, fontsize=9)
        row[1].imshow(picture, cmap="gray")
        extent = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
        row[1].imshow(seen, cmap="inferno", alpha=0.6, interpolation="bilinear", extent=extent)
        row[1].set_title("where the class token looks", fontsize=9)
        for axis in row:
            axis.set_axis_off()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", metavar="photo", help="image files")
    parser.add_argument("--model", help="a preset of vitlib.list_models()")
    parser.add_argument("--weights", help="a file, a directory, 'hf:org/repo', or 'published'")
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    parser.add_argument("--look", metavar="PICTURE", help="also draw where the model looks, into this file")
    arguments = parser.parse_args()

    vitlib.tune_cpu()
    try:
        model, about = load(arguments)
        predictions = vitlib.predict(model, arguments.photos, top_k=arguments.top)
        if arguments.look:
            look(model, arguments.photos, arguments.look)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"classify.py: {error}")
    print(about)
    for photo, row in zip(arguments.photos, predictions, strict=True):
        print(photo)
        for label, probability, _ in row:
            print(f"  {100 * probability:5.2f} %  {label}")
    if arguments.look:
        print(f"wrote {arguments.look}")


if __name__ == "__main__":
    main()
