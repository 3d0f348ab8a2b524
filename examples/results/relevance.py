"""Does relevance follow the evidence? Evidence for a class is pasted into photographs and covered in them.

    python results/relevance.py DATA [--weights clothes] [--seed 0]

DATA is a folder with one subfolder of photographs per class of the model. One photograph of each class is drawn.

Pasting: of the photograph of each class that the model is surest of, the window with the most relevance for that class
is pasted into the photographs of the other classes, where they have the least relevance for it. As a control, the
window with the least relevance is pasted in the same place. Covering: in each photograph, the window with the most
relevance for the most probable class is painted in the mean colour of the photograph; as a control, the window with the
least.

A window is a quarter of the image's height and width. Shares are of the relevance of the whole image.
"""

import argparse
from pathlib import Path

import numpy as np
import paddle
from PIL import Image

import vitlib
from vitlib.images import ImageFolder


def window_sums(values, rows, columns):
    """The sum of a map [h, w] in each window of so many patches: [h - rows + 1, w - columns + 1]."""
    return np.lib.stride_tricks.sliding_window_view(values, (rows, columns)).sum(axis=(2, 3))


class Photographs:
    """Images as the model sees them [H, W, 3] uint8, and what it says of changed copies."""

    def __init__(self, model):
        self.model = model
        grid = model.patch_embed.grid_size
        self.window = tuple(max(1, round(side / 4)) for side in grid)

    def measure(self, pixels, index):
        """(logit of a class, its relevance [h, w])"""
        record = self.model.preprocess.replace(crop_fraction=1.0, resize="squash")
        x = paddle.to_tensor(record.array(pixels)[np.newaxis])
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
    for index, donor in donors.items():
        _, values = photographs.measure(donor, index)
        for label, target in targets.items():
            if label != index:
                place = photographs.place(photographs.measure(target, index)[1], best=False)
                for kind, best in (("evidence", True), ("control", False)):
                    filling = donor[photographs.pixels(photographs.place(values, best))]
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


def report(title, rows):
    print(title)
    for kind, found in rows.items():
        share, logit = np.array(found).T
        print(
            f"  {kind:8}  relevance {100 * share.mean():+6.1f} points, higher in {100 * (share > 0).mean():3.0f} %"
            f"    logit {logit.mean():+.2f}, higher in {100 * (logit > 0).mean():3.0f} %    n = {len(found)}"
        )


def draw_photographs(model, data, rng):
    """({class: the photograph that the model is surest of}, {class: another, drawn by rng}), each [H, W, 3] uint8."""
    surest, drawn = {}, {}
    for index, label in enumerate(model.labels):
        paths = [path for path, number in data.samples if data.classes[number] == label]
        rows = vitlib.predict(model, paths, top_k=len(model.labels))
        best = int(np.argmax([next(p.probability for p in row if p.index == index) for row in rows]))
        surest[index] = np.asarray(model.preprocess.crop(paths.pop(best)))
        drawn[index] = np.asarray(model.preprocess.crop(paths[rng.integers(len(paths))]))
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
    report(f"pasted into {len(targets)} photographs", paste(photographs, donors, targets))
    report(f"covered in {len(targets)} photographs", cover(photographs, targets))


if __name__ == "__main__":
    main()
