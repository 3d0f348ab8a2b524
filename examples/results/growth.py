"""Draw how accuracy grows with epochs and with data: python results/growth.py [--figure FILE.png]

From fashion_mnist/ROW-seedN.json, the students of 15 epochs and the teachers of 12, and
fashion_mnist_growth/ROW-Kepochs-seedN.json and ROW-Kpercent-seedN.json, which growth.sh makes. Students of a share of
the images have the steps of 5 epochs with all images, whose runs are the points at 100 %.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import matplotlib
import numpy as np

HERE = Path(__file__).resolve().parent
ROWS = ("none", "hard-token", "teacher")
KINDS = {"epochs": "epochs", "percent": "share of the training images, %, with equal steps"}


def load(row, kind):
    """{epochs or percent: test accuracies of the seeds, in percent}"""
    whole, where = f"fashion_mnist/{row}-seed*.json", 15 if kind == "epochs" else 100
    if kind == "percent" and row != "teacher":
        whole = f"fashion_mnist_growth/{row}-5epochs-seed*.json"
    found = {where: [accuracy(path) for path in HERE.glob(whole)]}
    for path in HERE.glob(f"fashion_mnist_growth/{row}-*{kind}-seed*.json"):
        number = re.fullmatch(rf"{row}-(\d+){kind}-seed\d+", path.stem)[1]
        found.setdefault(int(number), []).append(accuracy(path))
    found = {place: values for place, values in sorted(found.items()) if values}
    return found if len(found) > 1 else {}


def accuracy(path):
    return json.loads(path.read_text())["test"]["model"]


def draw(path):
    kinds = [kind for kind in KINDS if any(load(row, kind) for row in ROWS)]
    if not kinds:
        sys.exit(f"growth.py: {HERE / 'fashion_mnist_growth'} has no runs; make them with growth.sh")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(kinds), figsize=(5 * len(kinds), 3.8), sharey=True, layout="constrained")
    panels = np.atleast_1d(panels)
    for axes, kind in zip(panels, kinds, strict=True):
        for number, row in enumerate(ROWS):
            if points := load(row, kind):
                mean = [np.mean(values) for values in points.values()]
                error = [np.std(values, ddof=1) if len(values) > 1 else 0 for values in points.values()]
                axes.errorbar(list(points), mean, error, marker="o", capsize=3, color=f"C{number}", label=row)
        axes.set(xlabel=KINDS[kind], xscale="log")
        axes.set_xticks(ticks := sorted({place for row in ROWS for place in load(row, kind)}), map(str, ticks))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy on the test images, %")
    panels[-1].legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, default=HERE / "fashion_mnist_growth" / "curves.png")
    draw(parser.parse_args().figure)
