"""Compare runs of train_deit.py, paired by seed and image: python compare_runs.py RESULTS [--collect RUNS...]

RESULTS is a folder of ROW-seedN.json and .csv files, the result.json and log.csv of a run each; --collect copies them
there from the folders of runs, which have the same names. Prints two tables for a README: each row's accuracy over its
seeds, and what every row gains over those of --against. --figure draws the accuracy over epochs.
"""

import argparse
import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np

HEADS = {"class_head": "class head", "distillation_head": "distillation head"}


def load(folder):
    """{row: {seed: result}}, in the order of the names."""
    rows = {}
    for path in sorted(folder.glob("*-seed*.json")):
        if match := re.fullmatch(r"(.+)-seed(\d+)", path.stem):
            result = rows.setdefault(match[1], {})[int(match[2])] = json.loads(path.read_text())
            if not all("right" in part for part in result.values() if isinstance(part, dict)):
                raise SystemExit(f"compare_runs.py: {path} is of images with several labels; expected one class each")
    if not rows:
        raise SystemExit(f"compare_runs.py: {folder} holds no ROW-seedN.json")
    return rows


def right(result, parts, predictor):
    """Of the images of all parts together, which were classified rightly: [N] of 0.0 and 1.0."""
    bits = [
        np.unpackbits(np.frombuffer(bytes.fromhex(p["right"][predictor]), np.uint8))[: p["images"]]
        for p in (result[part] for part in parts)
    ]
    return np.concatenate(bits).astype(float)


def spread(results, part, predictor):
    """Mean and standard deviation over seeds; nothing where not all of them have it."""
    values = [result[part][predictor] for result in results if predictor in result.get(part, {})]
    if len(values) < len(results):
        return ""
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def accuracies(rows):
    print("| row | seeds | test | validation | class head | distillation head | parameters | minutes |")
    print("|---|---|---|---|---|---|---|---|")
    for row, runs in rows.items():
        results = list(runs.values())
        columns = [spread(results, part, "model") for part in ("test", "validation")]
        columns += [spread(results, "test", head) for head in HEADS]
        minutes = np.mean([r["seconds"] for r in results]) / 60
        print(f"| {row} | {len(results)} | {' | '.join(columns)} | {results[0]['parameters']:,} | {minutes:.1f} |")


def difference(ours, theirs):
    """[seeds, images] of 0 and 1 each -> the mean difference in points and its standard error.

    The images are what another test set would change, so each counts once, with the mean over its seeds.
    """
    each = (ours - theirs).mean(axis=0)
    return 100 * each.mean(), 100 * each.std(ddof=1) / np.sqrt(len(each)), 100 * (ours - theirs).mean(axis=1)


def pairs(rows, against):
    results = [result for runs in rows.values() for result in runs.values()]
    parts = [part for part in ("validation", "test") if all(part in result for result in results)]
    comparisons = [
        (row, "model", other, "model")
        for number, other in enumerate(against)
        for row in rows
        if other in rows and row not in against[: number + 1]
    ]
    comparisons += [
        (row, "model", row, head) for row, runs in rows.items() for head in HEADS if head in runs[min(runs)][parts[0]]
    ]
    if not comparisons:
        return
    print(f"\n| on {' and '.join(parts)}{' together' * (len(parts) > 1)} | gain in points | standard error | by seed |")
    print("|---|---|---|---|")
    for row, predictor, other, by in comparisons:
        name = f"{row} over {other}" if row != other else f"{row}: both heads over its {HEADS[by]}"
        seeds = sorted(set(rows[row]) & set(rows[other]))
        if not seeds:
            print(f"| {name} | no common seed | | |")
            continue
        ours, theirs = (
            np.stack([right(rows[name][seed], parts, what) for seed in seeds])
            for name, what in ((row, predictor), (other, by))
        )
        gain, error, each = difference(ours, theirs)
        print(f"| {name} | {gain:+.1f} | {error:.1f} | {', '.join(f'{value:+.1f}' for value in each)} |")


def curves(folder, row, seeds):
    """Validation accuracy in percent, [seeds, epochs]."""
    found = []
    for seed in seeds:
        with open(folder / f"{row}-seed{seed}.csv", newline="") as file:
            found.append([float(line["validation_accuracy"]) for line in csv.DictReader(file)])
    return np.array(found)


def draw(folder, rows, path):
    """Accuracy over epochs: the mean over seeds, and a band of one standard deviation where there are several."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for number, (row, runs) in enumerate(rows.items()):
        accuracy = curves(folder, row, runs)
        mean, epochs = accuracy.mean(axis=0), np.arange(1, accuracy.shape[1] + 1)
        colour = "0.6" if row == "teacher" else f"C{number}"
        axes.plot(epochs, mean, color=colour, label=row if len(runs) == 1 else f"{row}, {len(runs)} seeds")
        if len(runs) > 1:
            deviation = accuracy.std(axis=0, ddof=1)
            axes.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.25, linewidth=0)
    axes.set(xlabel="epoch", ylabel="accuracy on validation images, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--collect", nargs="*", type=Path, default=[], help="folders of runs, named ROW-seedN")
    rows = ["none", "hard-no-token"]
    parser.add_argument("--against", nargs="*", default=rows, help="rows that others are compared with")
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="of the accuracy over epochs, to be written")
    arguments = parser.parse_args()
    for run in arguments.collect:
        arguments.results.mkdir(parents=True, exist_ok=True)
        shutil.copy(run / "result.json", arguments.results / f"{run.name}.json")
        shutil.copy(run / "log.csv", arguments.results / f"{run.name}.csv")
    rows = load(arguments.results)
    accuracies(rows)
    pairs(rows, arguments.against)
    if arguments.figure:
        draw(arguments.results, rows, arguments.figure)


if __name__ == "__main__":
    main()
