"""Does relevance follow the evidence? Evidence for a class is pasted into photographs and covered in them.

    python results/relevance.py DATA [--weights clothes] [--seed 0]

DATA is a folder with one subfolder of photographs per class of the model. One photograph of each class is drawn.

Pasting: of the photograph of each class that the model is surest of, the window with the most relevance for that class
is pasted into the photographs of the other classes, where they have the least relevance for it. As a control, the
window of the next class is pasted in the same place. Covering: in each photograph, the window with the most
relevance for the most probable class is painted in the mean colour of the photograph; as a control, the window with the
least. Methods: in ten photographs of each class, the window with the most of the relevance, the rollout or the
attention is painted, or one that is drawn. The further the logit falls, the better a method finds what the model uses.

A window is a quarter of the image's height and width. Shares are of the relevance of the whole image.
"""

import argparse
from pathlib import Path

import numpy as np
import paddle
from PIL import Image

import vitlib
from vitlib.analysis import METHODS
from vitlib.analysis.pictures.maps import patch_map
from vitlib.images import ImageFolder

_PER_CLASS = 10


def window_sums(values, rows, columns):
    """The sum of a map [h, w] in each window of so many patches: [h - rows + 1, w - columns + 1]."""
    return np.lib.stride_tricks.sliding_window_view(values, (rows, columns)).sum(axis=(2, 3))


class Photographs:
    """Images as the model sees them [H, W, 3] uint8, and what it says of changed copies."""

    def __init__(self, model):
        model.preprocess = model.preprocess.replace(crop_fraction=1.0, resize="squash")  # they are cropped already
        self.model = model
        grid = model.patch_embed.grid_size
        self.window = tuple(max(1, round(side / 4)) for side in grid)

    def measure(self, pixels, index):
        """(logit of a class, its relevance [h, w])"""
        x = self.model.preprocess(pixels)
        with paddle.no_grad():
            logit = float(self.model(x)[0, index])
        return logit, vitlib.relevance(self.model, x, index)[0].numpy()

    def place(self, values, best):
        """(row, column) of the window with the most, or the least, of a map."""
        sums = window_sums(values, *self.window)
        return np.unravel_index(sums.argmax() if best else sums.argmin(), sums.shape)

    def pixels(self, place):
        """The window at a place, as slices of the image."""
        return tuple(
            slice(first * patch, (first + count) * patch)
            for first, count, patch in zip(place, self.window, self.model.patch_embed.patch_size, strict=True)
        )

    def change(self, target, place, filling, index):
        """(change of the share of relevance in the window at a place, change of the logit) when it is filled."""
        before, values = self.measure(target, index)
        changed = target.copy()
        changed[self.pixels(place)] = filling
        after, moved = self.measure(changed, index)
        return self.share(moved, place) - self.share(values, place), after - before

    def share(self, values, place):
        """Of the relevance of the whole image, in [0, 1]."""
        return float(window_sums(values, *self.window)[place] / max(values.sum(), 1e-12))


def paste(photographs, donors, targets):
    """{"evidence": rows, "control": rows}; a row is (change of the share of relevance in the window, of the logit)."""
    rows = {"evidence": [], "control": []}
    fillings = {}
    for index, donor in donors.items():
        place = photographs.place(photographs.measure(donor, index)[1], best=True)
        fillings[index] = donor[photographs.pixels(place)]
    for index in donors:
        others = {"evidence": fillings[index], "control": fillings[(index + 1) % len(donors)]}
        for label, target in targets.items():
            if label != index:
                place = photographs.place(photographs.measure(target, index)[1], best=False)
                for kind, filling in others.items():
                    rows[kind].append(photographs.change(target, place, filling, index))
    return rows


def cover(photographs, targets):
    """As `paste`, for the most probable class of each photograph."""
    rows = {"evidence": [], "control": []}
    for target in targets.values():
        index = vitlib.predict(photographs.model, Image.fromarray(target))[0][0].index
        _, values = photographs.measure(target, index)
        for kind, best in (("evidence", True), ("control", False)):
            filling = target.reshape(-1, 3).mean(axis=0).round()
            rows[kind].append(photographs.change(target, photographs.place(values, best), filling, index))
    return rows


def compare_methods(photographs, images, rng):
    """{method: rows} as `cover` has them, for the window that each method has the most in, or a drawn one."""
    rows = {method: [] for method in (*METHODS, "drawn")}
    for image in images:
        pixels = Image.fromarray(image)
        index = vitlib.predict(photographs.model, pixels)[0][0].index
        filling = image.reshape(-1, 3).mean(axis=0).round()
        for method, found in rows.items():
            if method == "drawn":
                values = rng.random(photographs.model.patch_embed.grid_size)
            else:
                values = patch_map(photographs.model, pixels, method).values
            found.append(photographs.change(image, photographs.place(values, best=True), filling, index))
    return rows


def report(title, rows):
    print(title)
    for kind, found in rows.items():
        share, logit = np.array(found).T
        print(
            f"  {kind:9}  relevance {100 * share.mean():+6.1f} points, higher in {100 * (share > 0).mean():3.0f} %"
            f"    logit {logit.mean():+.2f}, higher in {100 * (logit > 0).mean():3.0f} %    n = {len(found)}"
        )


def draw_photographs(model, data, rng):
    """({class: the photograph that the model is surest of}, {class: others, drawn by rng}), each [H, W, 3] uint8."""
    surest, drawn = {}, {}
    for index, label in enumerate(model.labels):
        paths = [path for path, number in data.samples if data.classes[number] == label]
        rows = vitlib.predict(model, paths, top_k=len(model.labels))
        best = int(np.argmax([next(p.probability for p in row if p.index == index) for row in rows]))
        surest[index] = np.asarray(model.preprocess.crop(paths.pop(best)))
        chosen = rng.permutation(len(paths))[:_PER_CLASS]
        drawn[index] = [np.asarray(model.preprocess.crop(paths[i])) for i in chosen]
    return surest, drawn


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument(
        "--weights", default=Path(__file__).parents[1] / "clothes", help="a saved model (default: clothes)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the photographs (default: 0)")
    arguments = parser.parse_args()
    model = vitlib.from_pretrained(arguments.weights)
    model.eval()
    data = ImageFolder(arguments.data, classes=model.labels)
    donors, targets = draw_photographs(model, data, np.random.default_rng(arguments.seed))
    photographs = Photographs(model)
    everything = [image for images in targets.values() for image in images]
    targets = {index: images[0] for index, images in targets.items()}
    report(f"pasted into {len(targets)} photographs", paste(photographs, donors, targets))
    report(f"covered in {len(targets)} photographs", cover(photographs, targets))
    rng = np.random.default_rng(arguments.seed)
    report(f"methods on {len(everything)} photographs", compare_methods(photographs, everything, rng))


if __name__ == "__main__":
    main()
