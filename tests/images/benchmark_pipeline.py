"""How many training images a core makes, beside timm and torchvision where there is a Python that has them.

    python tests/images/benchmark_pipeline.py [--timm PYTHON] [--size 224] [--rounds 5] [--images 512] FOLDER

From JPEG files to mixed batches: decode, resized crop, flip, RandAugment, erasing, a batch array, Mixup and CutMix
(DeiT's recipe). One process and one thread each, whose processor time is taken; processes alternate, and the medians of
their best passes are printed.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

VITLIB = """
import numpy as np
from vitlib.images import Mixup, TrainTransform
transform = TrainTransform(
    size=size, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", erasing=0.25, erasing_mode=mode
)
mixup = Mixup(1000)
rng = np.random.default_rng(0)
def make(paths):
    images = np.empty((len(paths), 3, size, size), np.float32)
    for path, image in zip(paths, images):
        transform(path, rng, out=image)
    return mixup(images, np.arange(len(paths)), rng)
"""
TIMM = """
import timm.data, torch
from PIL import Image
torch.set_num_threads(1)
transform = timm.data.create_transform(
    size, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", re_prob=0.25, re_mode=mode
)
mixup = timm.data.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0)
# Since Pillow 13 posterizing to 0 bits, which this recipe asks for now and then, raises; black is what it gave before.
from PIL import ImageOps
posterize = ImageOps.posterize
ImageOps.posterize = lambda image, bits: posterize(image, bits) if bits else Image.new(image.mode, image.size)
def make(paths):
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
    return mixup(images, torch.arange(len(paths)))
"""
MEASURE = """
import json, sys, time
size, mode, *paths = json.load(sys.stdin)
{setup}
best = float("inf")
for _ in range(3):
    start = time.process_time()
    for first in range(0, len(paths), 64):
        make(paths[first : first + 64])
    best = min(best, time.process_time() - start)
print(best / len(paths) * 1e3)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="images are looked for at any depth")
    parser.add_argument("--timm", metavar="PYTHON", help="a Python that has torch, torchvision and timm")
    parser.add_argument("--size", type=int, nargs="+", default=[224, 64])
    parser.add_argument("--mode", default="pixel", choices=["pixel", "rand", "const"], help="of erasing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=512)
    arguments = parser.parse_args()
    paths = sorted(str(path) for path in arguments.folder.rglob("*.jp*g"))
    if len(paths) < 2:
        parser.error(f"{arguments.folder}: no JPEG files")
    paths = paths[:: max(1, len(paths) // arguments.images)][: arguments.images // 2 * 2]
    candidates = {"vitlib": (sys.executable, VITLIB)}
    if arguments.timm:
        candidates["timm"] = (arguments.timm, TIMM)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for size in arguments.size:
        results = {name: [] for name in candidates}
        for _ in range(arguments.rounds):
            for name, (python, setup) in candidates.items():
                command = [python, "-W", "ignore", "-c", MEASURE.format(setup=setup)]
                given = json.dumps([size, arguments.mode, *paths])
                done = subprocess.run(command, input=given, capture_output=True, text=True, env=environment)
                if done.returncode:
                    sys.exit(done.stderr[-2000:])
                results[name].append(float(done.stdout.splitlines()[-1]))
        medians = {name: statistics.median(times) for name, times in results.items()}
        line = ", ".join(f"{name} {time:.2f} ms" for name, time in medians.items())
        ratio = f"; vitlib / timm = {medians['vitlib'] / medians['timm']:.2f}" if "timm" in medians else ""
        print(f"size {size}: an image takes {line}{ratio}")


if __name__ == "__main__":
    main()
