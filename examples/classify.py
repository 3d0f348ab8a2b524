"""Classify photographs with any preset: python classify.py photo.jpg [--model vit_tiny_patch16_224] [--top 5]"""

import argparse
import sys

import paddle

import vitlib


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="+", metavar="photo", help="image files")
    parser.add_argument("--model", default="vit_tiny_patch16_224", help="a preset of vitlib.list_models()")
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    arguments = parser.parse_args()

    vitlib.tune_cpu()
    try:
        model = vitlib.create_model(arguments.model)
        images = model.preprocess(arguments.photos)  # [B, 3, H, W]
    except (ValueError, OSError) as error:
        sys.exit(f"classify.py: {error}")
    print(f"{arguments.model} has random weights: what follows shows that everything runs, and means nothing.")
    model.eval()
    with paddle.no_grad():
        probabilities = paddle.nn.functional.softmax(model(images), axis=-1)
    values, classes = probabilities.topk(min(arguments.top, probabilities.shape[-1]))
    for photo, row, names in zip(arguments.photos, values.tolist(), classes.tolist(), strict=True):
        print(photo)
        for value, name in zip(row, names, strict=True):
            print(f"  {100 * value:5.2f} %  class {name}")


if __name__ == "__main__":
    main()
