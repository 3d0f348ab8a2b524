"""The tables of speed in README and examples/guides/deployment.md, from what `vitlib bench` measured:

    python results/speed.py            prints them
    python results/speed.py --write    puts them into the pages

speed/*.json are files of `vitlib bench --json`. speed.sh measures them anew, in half an hour on a quiet machine.
"""

import argparse
import json
import statistics
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OPENVINO_PEER = "openvino of timm's export"
ENGINES = (
    ("vitlib, OpenVINO", "openvino"),
    ("vitlib, Paddle Inference", "paddle"),
    ("vitlib, ONNX Runtime", "onnxruntime"),
    ("timm's export on OpenVINO, the best of its settings", OPENVINO_PEER),
    ("timm's export on ONNX Runtime", "onnxruntime of timm's export"),
    ("timm eager (PyTorch)", "timm eager"),
)


def load(name):
    """{(candidate, precision, model's size, batch): milliseconds}, the best of the settings of OpenVINO's peer."""
    found = {}
    for result in json.loads((HERE / "speed" / f"{name}.json").read_text())["results"]:
        candidate = OPENVINO_PEER if result["candidate"].startswith(OPENVINO_PEER) else result["candidate"]
        key = candidate, result["precision"], result["model"].split("_")[1], result["batch"]
        found[key] = min(found.get(key, float("inf")), 1e3 * statistics.median(result["seconds"]))
    return found


def _cell(found, *key):
    return next((f"{found[each]:.{1 if found[each] < 100 else 0}f}" for each in [key] if each in found), "–")


def engines_table():
    found = load("engines")
    columns = [(size, batch) for size in ("tiny", "small", "base") for batch in (1, 8)]
    names = {"tiny": "Ti", "small": "S", "base": "B"}
    lines = ["| milliseconds | " + " | ".join(f"{names[size]}, batch {batch}" for size, batch in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for label, candidate in ENGINES:
        cells = [
            " / ".join(_cell(found, candidate, precision, *column) for precision in ("float32", "bfloat16"))
            for column in columns
        ]
        lines.append(f"| {label} | " + " | ".join(cell.removesuffix(" / –") for cell in cells) + " |")
    return "\n".join(lines)


def large_table():
    found, own = load("large"), load("large_openvino")
    lines = ["| ViT-L/16, batch 8, milliseconds | run | float32 | bfloat16 |", "|---|---|---|---|"]
    for run, table, label, candidate in (
        (1, own, "vitlib, OpenVINO", "openvino"),
        (1, own, "timm's export on OpenVINO", OPENVINO_PEER),
        (2, found, "vitlib, Paddle Inference", "paddle"),
        (2, found, "timm's export on OpenVINO", OPENVINO_PEER),
        (2, found, "timm's export on ONNX Runtime", "onnxruntime of timm's export"),
    ):
        cells = [_cell(table, candidate, precision, "large", 8) for precision in ("float32", "bfloat16")]
        lines.append(f"| {label} | {run} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def int8_table():
    found = load("int8")
    lines = ["| OpenVINO, batch 8, milliseconds | bfloat16 | int8 |", "|---|---|---|"]
    for label, size in (("ViT-S/16", "small"), ("ViT-B/16", "base")):
        cells = [_cell(found, "openvino", precision, size, 8) for precision in ("bfloat16", "int8")]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def eager_table():
    found = load("eager")
    lines = ["| float32, milliseconds | batch 1 | timm | batch 8 | timm |", "|---|---|---|---|---|"]
    for label, size in (("ViT-Ti/16", "tiny"), ("ViT-S/16", "small"), ("ViT-B/16", "base")):
        cells = [_cell(found, who, "float32", size, batch) for batch in (1, 8) for who in ("eager tuned", "timm eager")]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


TABLES = {"engines": engines_table, "large": large_table, "int8": int8_table, "eager": eager_table}
PAGES = ("README.md", "examples/guides/zh/README.md", "examples/guides/deployment.md")


def with_tables(text):
    """A page with its tables, which stand between <!-- speed:NAME --> and <!-- speed:end -->, made anew."""
    for name, table in TABLES.items():
        begin, end = f"<!-- speed:{name} -->\n", "<!-- speed:end -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            text = f"{before}{begin}{table()}\n{end}{rest.partition(end)[2]}"
    return text


def draw():
    """Milliseconds per image of ViT-S/16 in float32, over batch and image size, as examples/guides/images/speed.png."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=False)
    labels = {candidate: label for label, candidate in ENGINES}
    for panel, name, key in zip(panels, ("batch", "size"), ("batch", "img_size"), strict=True):
        results = json.loads((HERE / "speed" / f"{name}.json").read_text())["results"]
        for candidate in dict.fromkeys(result["candidate"] for result in results):
            label = labels.get(candidate, "timm's export on OpenVINO, latency")
            points = [
                (result[key], 1e3 * statistics.median(result["seconds"]) / result["batch"])
                for result in results
                if result["candidate"] == candidate
            ]
            style = "-" if label.startswith("vitlib") else "--"
            panel.plot(*zip(*sorted(points), strict=True), style, marker="o", markersize=4, label=label)
        ticks = sorted({result[key] for result in results})
        panel.set(xscale="log", yscale="log", ylabel="ms per image")
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set(xlabel="images in a batch, 224 x 224", title="ViT-S/16, float32, two cores")
    panels[1].set(xlabel="side of the image, batch 1", title="n tokens cost n + n\N{SUPERSCRIPT TWO}")
    panels[0].set(yscale="linear")
    panels[0].set_ylim(bottom=0)
    panels[1].yaxis.set_major_formatter("{x:g}")
    panels[1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(ROOT / "examples" / "guides" / "images" / "speed.png", dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the tables into the pages, and draw the plot")
    if not parser.parse_args().write:
        print("\n\n".join(table() for table in TABLES.values()))
        return
    draw()
    for page in PAGES:
        path = ROOT / page
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
