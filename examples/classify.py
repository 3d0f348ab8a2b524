"""Classify photographs: python classify.py photo.jpg [--model vit_tiny_patch16_224] [--weights published]

Without --weights the model is a preset with random weights. With it, they come from a file of any codebase, a saved
directory, "hf:org/repo", or, with "published", from where the preset's own weights are published. Weights that say of
which model they are, such as the model/ of finetune.py, need no --model.
"""

import argparse
import sys

import vitlib


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", metavar="photo", help="image files")
    parser.add_argument("--model", help="a preset of vitlib.list_models() (default: vit_tiny_patch16_224)")
    parser.add_argument("--weights", default=False, help="a file, a directory, 'hf:org/repo', or 'published'")
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    arguments = parser.parse_args()

    vitlib.tune_cpu()
    try:
        source = True if arguments.weights == "published" else arguments.weights
        if arguments.model is None and isinstance(source, str):
            model = vitlib.from_pretrained(source)
        else:
            model = vitlib.create_model(arguments.model or "vit_tiny_patch16_224", pretrained=source)
        predictions = vitlib.predict(model, arguments.photos, top_k=arguments.top)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"classify.py: {error}")
    if source is False:
        print("The model has random weights: what follows shows that everything runs, and means nothing.")
    else:
        print(model.load_report)
    for photo, row in zip(arguments.photos, predictions, strict=True):
        print(photo)
        for label, probability, _ in row:
            print(f"  {100 * probability:5.2f} %  {label}")


if __name__ == "__main__":
    main()
