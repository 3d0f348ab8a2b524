"""Fashion-MNIST as an image folder for train_deit.py: python fashion_mnist_folder.py fashion_mnist.npz FOLDER

The .npz holds x, uint8 [70000, 28, 28], and y, [70000]. Images that occur more than once are kept once, and all of
them are split anew, so figures on this test set are not those of the official one. FOLDER must not exist yet.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path)
    parser.add_argument("folder", type=Path, help="to be made")
    parser.add_argument("--train", type=int, default=55000)
    parser.add_argument("--validation", type=int, default=5000)
    parser.add_argument("--test", type=int, default=9900)
    arguments = parser.parse_args()
    if arguments.folder.exists():  # its images might be in other parts of this split
        sys.exit(f"fashion_mnist_folder.py: {arguments.folder} is there already; remove it, or name another folder")

    with np.load(arguments.npz, allow_pickle=False) as file:
        images, labels = file["x"], file["y"]
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    print(f"{len(first)} of {len(images)} images are unique")
    order = np.random.default_rng(0).permutation(np.sort(first))
    counts = {part: getattr(arguments, part) for part in ("test", "validation", "train")}
    if min(counts.values()) < 1 or sum(counts.values()) > len(order):
        sys.exit(f"fashion_mnist_folder.py: found the counts {counts}; expected 1 or more, {len(order)} in all at most")
    partial = arguments.folder.with_name(f"{arguments.folder.name}.partial")  # takes its name when it is whole
    shutil.rmtree(partial, ignore_errors=True)  # what was left of a call that was stopped
    start = 0
    for part, count in counts.items():
        for index in order[start : start + count]:
            folder = partial / part / CLASSES[labels[index]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[index]).save(folder / f"{index:05d}.png")
        start += count
        print(f"{part}: {count}")
    partial.rename(arguments.folder)


if __name__ == "__main__":
    main()
