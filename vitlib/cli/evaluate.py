"""evaluate: how good a model is on a folder of images, one subfolder per class."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .csv_table import csv_table
from .errors import UsageError
from .model_argument import add_engine_options, add_model_options, load_model, locate, open_predictor
from .output_argument import check_output
from .parsing import Command, Parser, add_json

if TYPE_CHECKING:
    import numpy as np

    from ..images import ImageFolder

_SHOWN = 40  # classes in the table on a terminal
_FEATURE_TESTS = {"knn_10": "kNN, k = 10", "knn_20": "kNN, k = 20", "probe": "linear probe"}
_PARTS = {"train", "validation", "val", "test"}


@dataclass
class Found:
    """The readable images of a folder, N of them, and what the model says.

    labels: [N], indices among the model's classes. best: [N, 5 or less], its most probable classes. confidences: [N],
    the probability of the first; losses: [N], -log of that of the true class.
    """

    labels: np.ndarray
    best: np.ndarray
    confidences: np.ndarray
    losses: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        return self.best[:, 0] == self.labels

    def top(self, k: int) -> float:
        """Accuracy of the k most probable classes, in percent."""
        return 100 * float((self.best[:, :k] == self.labels[:, None]).any(axis=1).mean())


def evaluate_options(parser: Parser) -> None:
    parser.describe(
        "Compare a model's answers with the true classes of images in FOLDER/CLASS/*.jpg.\n"
        "Subfolders are called as the model's classes, or are their indices, or are as\n"
        "many as the classes and in their order (as ImageNet's validation folder).\n"
        "An image that cannot be read is named and left out; the exit code is then 1.",
        "vitlib evaluate data/validation --model runs/mine",
        "vitlib evaluate imagenet/val --model vit_small_patch16_224 --batch-size 32",
        "vitlib evaluate data/test --model runs/mine --confusion c.csv c.png --json",
        "vitlib evaluate data/test --knn data/train --model vit_small_patch14_dinov2",
        usage="FOLDER --model MODEL [OPTIONS]",
    )
    parser.add_argument("folder", metavar="FOLDER", help="folder of images, see above")
    parser.add_argument(
        "--confusion",
        nargs="+",
        default=[],
        metavar="FILE",
        help="write which classes are taken for which, as a table (.csv) or a picture (.png)",
    )
    parser.add_argument(
        "--knn",
        metavar="TRAIN",
        help="judge the features instead of the classes: by the 10 and 20 nearest images of this folder (default: no)",
    )
    parser.add_argument(
        "--probe", metavar="TRAIN", help="the same by a linear classifier, trained on this folder (default: no)"
    )
    add_json(parser, "an object")
    add_model_options(parser)
    add_engine_options(parser, "float32")


def evaluate(arguments: argparse.Namespace) -> int:
    for path in map(Path, arguments.confusion):
        if path.suffix.lower() not in (".csv", ".png"):
            raise UsageError(f"--confusion {path}: expected files that end in .csv or .png")
        check_output(path, "--confusion")
    folder = open_folder(arguments.folder)
    if arguments.knn or arguments.probe:
        if arguments.confusion:
            raise UsageError("--confusion does not go with --knn and --probe")
        names = ("engine", "precision", "calibration")
        if any(getattr(arguments, name) != arguments.parser.get_default(name) for name in names):
            raise UsageError("--knn and --probe take the model itself, without --engine, --precision and --calibration")
        return _evaluate_features(arguments)
    with open_predictor(arguments, "logits") as predictor:
        num_classes = predictor.exported.outputs["logits"].shape[-1]
        indices, how = match_classes(folder.classes, predictor.exported.labels, num_classes)
        if how:
            arguments.say(how)
        found, unreadable = _run(arguments, predictor, folder, indices)
    result = _result(folder, indices, found, unreadable)
    matrix, columns = _confusion(folder, indices, found)
    for path in map(Path, arguments.confusion):
        _write_confusion(path, matrix, folder.classes, columns)
    print(json.dumps(result, indent=1, ensure_ascii=False) if arguments.json else _table(result))
    return int(bool(unreadable))


def _evaluate_features(arguments: argparse.Namespace) -> int:
    """--knn and --probe."""
    from ..analysis import FolderFeatures, folder_features, knn_accuracy, linear_probe
    from ..deploy import tune_cpu

    sources = {root: open_folder(root) for root in (arguments.knn, arguments.probe) if root}
    tune_cpu(arguments.threads, keep_memory=True)
    model = load_model(arguments, locate(arguments.model, "--model "))
    size = arguments.batch_size
    trained: dict[str, FolderFeatures] = {root: folder_features(model, root, batch_size=size) for root in sources}
    result: dict[str, Any] = {}
    unreadable: list[str] = [reason for train in trained.values() for reason in train.unreadable]
    for root, train in trained.items():
        try:
            test = folder_features(model, arguments.folder, classes=train.classes, batch_size=size)
        except ValueError as error:
            raise UsageError(str(error)) from None
        unreadable += [reason for reason in test.unreadable if reason not in unreadable]
        result["images"] = len(test.labels)
        if root == arguments.knn:
            result |= {f"knn_{k}": 100 * share for k, share in knn_accuracy(train, test).items()}
        if root == arguments.probe:
            result["probe"] = 100 * linear_probe(train).accuracy(test)
    for reason in unreadable:
        arguments.say(reason)
    if arguments.json:
        print(json.dumps({**result, "unreadable": unreadable}, indent=1))
    else:
        print(f"images        {result.pop('images')}")
        for name, value in result.items():
            print(f"{_FEATURE_TESTS[name]:<12} {value:6.2f} %")
    return int(bool(unreadable))


def open_folder(root: str) -> ImageFolder:
    """The images of FOLDER/CLASS. Raises UsageError where there are none."""
    from ..images import ImageFolder

    try:
        folder = ImageFolder(root, allow_empty=True)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from None
    if set(folder.classes) <= _PARTS:
        raise UsageError(
            f"{root} holds {' and '.join(folder.classes)}; give one of them, such as {root}/{folder.classes[-1]}"
        )
    return folder


def match_classes(folders: list[str], labels: Any, num_classes: int) -> tuple[list[int], str]:
    """The model's class of each folder, and a sentence where that follows from their order alone.

    Raises UsageError where it cannot be told.
    """
    from ..images.class_folders import class_name

    names = [] if labels is None else [class_name(label) for label in labels]
    known = {name: index for index, name in enumerate(names)}
    if all(name in known for name in folders):
        if twice := [name for name in folders if names.count(name) > 1]:
            indices = [index for index, name in enumerate(names) if name == twice[0]]
            raise UsageError(
                f"the model calls the classes {' and '.join(map(str, indices))} by the same name, {twice[0]!r}; call "
                "the folders by the classes' indices"
            )
        return [known[name] for name in folders], ""
    if all(re.fullmatch(r"\d{1,7}", name) for name in folders):
        indices = [int(name) for name in folders]
        if len(set(indices)) == len(indices) and max(indices) < num_classes:
            return indices, ""
    are_ids = all(re.fullmatch(r"n\d{8}", name) for name in folders)
    if len(folders) == num_classes and (labels is None or are_ids):
        return list(range(num_classes)), f"the {num_classes} folders are taken as the model's classes in their order"
    unknown = [name for name in folders if name not in known]
    has = "names none of its classes" if labels is None else f"knows {', '.join(map(repr, list(labels)[:5]))}"
    more = ", ..." if labels is not None and len(labels) > 5 else ""
    raise UsageError(
        f"{len(unknown)} of {len(folders)} folders are no classes of the model, {unknown[0]!r} for one: it has "
        f"{num_classes} classes and {has}{more}; call the folders so, or by the classes' indices"
    )


def _run(arguments: argparse.Namespace, predictor: Any, folder: ImageFolder, indices: list[int]) -> tuple[Found, list]:
    import numpy as np

    rows, unreadable = [], []
    paths = [path for path, _ in folder.samples]
    for item in predictor.items(paths, batch_size=arguments.batch_size, on_unreadable="skip"):
        if item.outputs is None:
            unreadable.append(arguments.spoken(item.reason))
            arguments.say(item.reason)
            continue
        logits, label = item.outputs["logits"].astype(np.float64), indices[folder.samples[item.index][1]]
        log_probabilities = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        best = np.argsort(-logits, kind="stable")[:5]
        rows.append((label, best, np.exp(log_probabilities[best[0]]), -log_probabilities[label]))
    if not rows:
        raise ValueError(f"none of the {len(paths)} images could be read")
    labels, best, confidences, losses = (np.array(column) for column in zip(*rows, strict=True))
    return Found(labels, best, confidences, losses), unreadable


def _result(folder: ImageFolder, indices: list[int], found: Found, unreadable: list[str]) -> dict[str, Any]:
    from ..training.metrics import calibration_error

    classes = {}
    for name, index in zip(folder.classes, indices, strict=True):
        members = found.labels == index
        count = int(members.sum())
        classes[name] = {"images": count, "top1": 100 * float(found.correct[members].mean()) if count else None}
    return {
        "images": len(found.labels),
        "top1": found.top(1),
        "top5": found.top(5),
        "loss": float(found.losses.mean()),
        "calibration_error": 100 * calibration_error(found.confidences, found.correct),
        "mean_confidence": 100 * float(found.confidences.mean()),
        "classes": classes,
        "unreadable": unreadable,
    }


def _table(result: dict[str, Any]) -> str:
    images, unreadable = result["images"], len(result["unreadable"])
    lines = [
        f"images       {images}" + (f", and {unreadable} that could not be read" if unreadable else ""),
        f"top-1        {result['top1']:6.2f} %",
        f"top-5        {result['top5']:6.2f} %",
        f"loss         {result['loss']:8.4f}",
        f"calibration  {result['calibration_error']:6.2f} % expected error (mean probability "
        f"{result['mean_confidence']:.2f} %)",
        "",
    ]
    rows = [(name, row) for name, row in result["classes"].items() if row["images"]]
    title = "class"
    if len(rows) > _SHOWN:
        rows = sorted(rows, key=lambda row: row[1]["top1"])[:_SHOWN]
        title = f"class (the {_SHOWN} worst of {len(result['classes'])}; --json has all)"
    width = max(len(title), *(len(name) for name, _ in rows))
    lines.append(f"{title:<{width}}  images   top-1")
    lines += [f"{name:<{width}}  {row['images']:6}  {row['top1']:6.2f} %" for name, row in rows]
    return "\n".join(lines)


def _confusion(folder: ImageFolder, indices: list[int], found: Found) -> tuple[np.ndarray, list[str]]:
    """[true, predicted] in the order of the folders, and the names of the columns; answers that are none of the
    folders' classes have a last column of their own."""
    import numpy as np

    from ..training.metrics import confusion_matrix

    place = {index: number for number, index in enumerate(indices)}
    count = len(indices)
    labels = np.array([place[index] for index in found.labels])
    answers = np.array([place.get(index, count) for index in found.best[:, 0]])
    matrix = confusion_matrix(labels, answers, count + 1)[:count]
    if (answers == count).any():
        return matrix, [*folder.classes, "other"]
    return matrix[:, :count], folder.classes


def _write_confusion(path: Path, matrix: np.ndarray, rows: list[str], columns: list[str]) -> None:
    from ..checkpoint import write_atomically

    with write_atomically(path) as file:
        if path.suffix.lower() == ".png":
            from ..analysis import draw_confusion

            draw_confusion(matrix, rows, columns).save(file, "PNG")
            return
        with csv_table(file) as table:
            table.writerow(["true \\ predicted", *columns])
            table.writerows([name, *row] for name, row in zip(rows, matrix.tolist(), strict=True))


COMMANDS = (Command("evaluate", "accuracy, calibration and confusions on a folder", evaluate_options, evaluate),)
