"""Draw how accuracy grows with epochs and with data: python results/growth.py [--figure FILE.png]

From clothing10/ROW-seedN.json, the runs with all images and 60 epochs, and clothing10_growth/ROW-Kepochs-seedN.json and
ROW-Kpercent-seedN.json, which growth.sh makes.
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
LAST = {"epochs": 60, "percent": 100}


def load(row, kind):
    """{epochs or percent: test accuracies of the seeds, in percent}"""
    found = {}
    for path in [*HERE.glob(f"clothing10_growth/{row}-*{kind}-seed*.json"), *HERE.glob(f"clothing10/{row}-seed*.json")]:
        match = re.fullmatch(rf"{row}(?:-(\d+){kind})?-seed\d+", path.stem)
        where = int(match[1]) if match[1] else LAST[kind]
        found.setdefault(where, []).append(json.loads(path.read_text())["test"]["model"])
    return dict(sorted(found.items())) if len(found) > 1 else {}


def draw(path):
    if not any(load(row, kind) for row in ROWS for kind in LAST):
        sys.exit(f"growth.py: {HERE / 'clothing10_growth'} has no runs; make them with growth.sh")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for axes, kind, label in zip(
        panels, LAST, ("epochs", "share of the training images, %, with equal steps"), strict=True
    ):
        for number, row in enumerate(ROWS):
            if points := load(row, kind):
                mean = [np.mean(values) for values in points.values()]
                error = [np.std(values, ddof=1) if len(values) > 1 else 0 for values in points.values()]
                axes.errorbar(list(points), mean, error, marker="o", capsize=3, color=f"C{number}", label=row)
        axes.set(xlabel=label, xscale="log")
        axes.set_xticks(ticks := sorted({place for row in ROWS for place in load(row, kind)}), map(str, ticks))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy on the test images, %")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, default=HERE / "clothing10_growth" / "curves.png")
    draw(parser.parse_args().figure)
