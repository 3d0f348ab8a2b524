"""Calibrate a classifier by temperature scaling (arXiv 1706.04599): python calibrate.py MODEL IMAGES --output FOLDER

MODEL is what vitlib.from_pretrained opens, or the folder of a run. IMAGES holds CLASS/*.jpg that it was not trained on,
such as DATA/validation. All logits are divided by the one number that makes the labels of IMAGES most probable; no
prediction changes. The number goes into the weights of the head, so FOLDER is an ordinary model.
"""

import startup  # isort: skip

import argparse
from pathlib import Path

import numpy as np
import paddle

from vitlib.cli.model_argument import locate, open_weights
from vitlib.images import ImageFolder, load_batches
from vitlib.training import EpochSampler


def logits_of(model, folder):
    """(logits [N, classes], labels [N]) of the images of a folder, in float64."""
    data = ImageFolder(folder, preprocess=model.preprocess, classes=model.labels, allow_empty=True)
    order = EpochSampler(len(data), 64, shuffle=False, drop_last=False)
    found = []
    model.eval()
    with paddle.no_grad():
        for images, labels, _, unreadable in load_batches(data, order):
            if unreadable:
                raise ValueError(unreadable[0])
            found.append((model(images).numpy().astype("float64"), labels.numpy()))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def probabilities(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def log_loss(logits, labels):
    """Mean cross-entropy in nats."""
    return float(-np.log(probabilities(logits)[np.arange(len(labels)), labels]).mean())


def fit_temperature(logits, labels):
    """The divisor of the logits, from 0.05 to 20, at which the log loss is least, to a thousandth of its value."""
    least, most = low, high = np.log(0.05), np.log(20)
    for step in (0.1, 0.01, 0.001):  # the loss is convex in 1 / t and has one minimum
        places = np.arange(max(low, least), min(high, most), step)
        best = places[np.argmin([log_loss(logits / np.exp(place), labels) for place in places])]
        low, high = best - step, best + step
    return float(np.exp(best))


def calibration_error(logits, labels, bins=15):
    """Mean distance of confidence and accuracy over equal bins of confidence, weighted by their images (ECE), in
    points."""
    p = probabilities(logits)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs((confidence - right)[places == place].sum()) for place in range(bins)]
    return 100 * sum(gaps) / len(labels)


@paddle.no_grad()
def divide_logits(model, temperature):
    """Divide what the heads give by a number."""
    for name in ("head", "head_dist"):
        if hasattr(model, name):
            for parameter in getattr(model, name).parameters():
                parameter.set_value(parameter / temperature)


def calibrate(arguments):
    model = open_weights(locate(arguments.model), None, None, {})
    if model.labels is None:
        raise ValueError(f"{arguments.model} has no labels, by which its classes could be told from folders")
    logits, labels = logits_of(model, arguments.images)
    temperature = fit_temperature(logits, labels)
    divide_logits(model, temperature)
    after, _ = logits_of(model, arguments.images)
    if arguments.half:
        model.to(dtype="float16")
    model.save_pretrained(arguments.output)
    print(f"temperature {temperature:.2f}, fitted on {len(labels)} images")
    for name, of in (("before", logits), ("after", after)):
        print(
            f"{name}: log loss {log_loss(of, labels):.3f}, calibration error {calibration_error(of, labels):.1f} points"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=startup.HelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="see above")
    parser.add_argument("images", metavar="IMAGES", type=Path, help="folder with CLASS/*.jpg")
    parser.add_argument("--output", metavar="FOLDER", required=True, type=Path, help="gets config.json and the weights")
    parser.add_argument("--half", action="store_true", help="write the weights in half precision, half the size")
    arguments = parser.parse_args()
    startup.end_with_a_sentence(lambda: calibrate(arguments))
