"""How fast and in how much memory a ViT-L/16 (1.2 GB) is loaded, beside timm where there is a Python that has it.

    python tests/weights/benchmark_loading.py [--timm PYTHON] [--rounds 3]

Processes alternate, medians are printed. `load` is file to ready model from a warm page cache; `memory` what loading
adds to the anonymous memory of the process at its peak; `start to logits` the whole process, imports included.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

VITLIB = """
import json, sys, threading, time, warnings
warnings.filterwarnings("ignore")
import paddle, vitlib
vitlib.tune_cpu()
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024
before, peak, running = anonymous(), [0.0], [True]
def watch():
    while running[0]:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)
thread = threading.Thread(target=watch, daemon=True)
thread.start()
start = time.perf_counter()
model = vitlib.create_model("vit_large_patch16_224", pretrained=sys.argv[1])
load = time.perf_counter() - start
running[0] = False
thread.join()
size = sum(p.size for p in model.parameters()) * 4 / 2**20
model.eval()
with paddle.no_grad():
    model(paddle.zeros([1, 3, 224, 224])).numpy()
print(json.dumps({"load": load, "model MiB": size, "added MiB": max(peak[0], anonymous()) - before}))
"""
TIMM = """
import json, sys, time
import timm, torch
start = time.perf_counter()
model = timm.create_model("vit_large_patch16_224", checkpoint_path=sys.argv[1]).eval()
load = time.perf_counter() - start
with torch.inference_mode():
    model(torch.zeros(1, 3, 224, 224)).numpy()
print(json.dumps({"load": load}))
"""


def run(python, code, path):
    start = time.perf_counter()
    done = subprocess.run([python, "-c", code, str(path)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return {**json.loads(done.stdout.splitlines()[-1]), "start to logits": time.perf_counter() - start}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timm", metavar="PYTHON", help="a Python that has torch and timm")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    import vitlib

    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "large.safetensors"
        vitlib.save_weights(vitlib.create_model("vit_large_patch16_224"), path)
        candidates = {"vitlib": (sys.executable, VITLIB)}
        if arguments.timm:
            candidates["timm"] = (arguments.timm, TIMM)
        results = {name: [] for name in candidates}
        for _ in range(arguments.rounds):
            for name, (python, code) in candidates.items():
                results[name].append(run(python, code, path))
    medians = {}
    for name, rows in results.items():
        medians[name] = {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}
    for name, row in medians.items():
        print(name, row)
    if "timm" in medians:
        ratio = medians["vitlib"]["start to logits"] / medians["timm"]["start to logits"]
        print(f"start to logits, vitlib / timm = {ratio:.2f}")


if __name__ == "__main__":
    main()
