"""Fashion-MNIST as an image folder for train_deit.py: python fashion_mnist_folder.py fashion_mnist.npz FOLDER

The .npz holds x, uint8 [70000, 28, 28], and y, [70000]. Pictures that occur more than once are kept once, and all of
them are split anew, so figures on this test set are not those of the official one.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=24000)
    parser.add_argument("--validation", type=int, default=2000)
    parser.add_argument("--test", type=int, default=10000)
    arguments = parser.parse_args()

    with np.load(arguments.npz, allow_pickle=False) as file:
        images, labels = file["x"], file["y"]
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    print(f"{len(first)} of {len(images)} pictures are unique")
    order = np.random.default_rng(0).permutation(np.sort(first))
    start = 0
    for part in ("test", "validation", "train"):
        count = getattr(arguments, part)
        chosen = order[start : start + count]
        if len(chosen) < count:
            raise SystemExit(f"fashion_mnist_folder.py: {len(chosen)} pictures are left for {part}, not {count}")
        for index in chosen:
            folder = arguments.folder / part / CLASSES[labels[index]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[index]).save(folder / f"{index:05d}.png")
        start += count
        print(f"{part}: {count}")


if __name__ == "__main__":
    main()
