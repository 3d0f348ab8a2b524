"""train and finetune, of one class an image and of several labels; the scripts in examples/ have tests of their own."""

import csv
import json

import numpy as np
import pytest
from commands import fail, run, succeed
from shapes import CLASSES

import vitlib
from vitlib.training import ImageData

TINY = ["--set", "img_size=24", "patch_size=8", "embed_dim=24", "depth=2", "num_heads=3"]
QUICK = ["--epochs", 1, "--batch-size", 8, "--augment", "none", "--warmup-epochs", 0]


@pytest.fixture(scope="module")
def table(data, tmp_path_factory):
    """A CSV file of the images in `data`, with their parts; some have two labels and some have none."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "part", "labels"])
        for part in ("train", "validation"):
            for number, image in enumerate(sorted((data / part).glob("*/*"))):
                kind = image.parent.name
                labels = [kind, "early"] if number % 4 == 0 else [] if number % 4 == 1 else [kind]
                rows.writerow([image.relative_to(data), part, ";".join(labels)])
    return path


def test_a_trained_run_is_a_model_of_the_other_commands(data, tmp_path):
    done = succeed("train", data, "--output", tmp_path / "run", *TINY, *QUICK)
    assert "the best of 1 epochs is 1, by its accuracy on validation images" in done.out
    found = succeed("evaluate", data / "validation", "--model", tmp_path / "run", "--engine", "paddle", "--json").json
    result = json.loads((tmp_path / "run" / "result.json").read_text())["validation"]
    assert found["top1"] == pytest.approx(result["model"])
    assert found["loss"] == pytest.approx(result["loss"], rel=1e-4)


def test_a_run_of_several_labels_is_judged_by_their_average_precision(data, table, tmp_path):
    options = ["--labels", table, *TINY, *QUICK, "--mixup", 0.5]
    done = succeed("train", data, "--output", tmp_path / "run", *options)
    assert "by its mAP on validation images" in done.out
    result = json.loads((tmp_path / "run" / "result.json").read_text())["validation"]
    assert sorted(result["average_precision"]) == sorted([*CLASSES, "early"])
    model = vitlib.from_pretrained(tmp_path / "run" / "model")
    assert list(model.labels) == sorted([*CLASSES, "early"])

    data_set = ImageData(data, batch_size=4, table=table)
    data_set.prepare(None, model.preprocess)
    found = data_set.evaluate(model)
    assert found.measures()["map"] == pytest.approx(result["map"], abs=1e-6)
    assert found.loss == pytest.approx(result["loss"], rel=1e-5)
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["validation_map"]) == pytest.approx(result["map"], abs=1e-5)
    assert float(row["validation_f1"]) == pytest.approx(result["f1"], abs=1e-5)


def test_fine_tuning_takes_several_labels_and_weights_of_classes(data, table, model, tmp_path):
    options = ["--weights", model, "--labels", table, "--class-weights", "balanced", "--epochs", 1, "--batch-size", 8]
    done = succeed("finetune", data, "--output", tmp_path / "run", *options)
    assert "mAP" in done.out
    options = ["--weights", model, "--class-weights", "circle=3", "--epochs", 1, "--batch-size", 8, "--head-only"]
    succeed("finetune", data, "--output", tmp_path / "weighted", *options)
    done = run("finetune", data, "--output", tmp_path / "weighted", *options[:3], "circle=2", *options[4:])
    assert "class_weights was ['circle=3'] and is ['circle=2']" in done.err


def test_labels_of_a_run_are_told_apart_from_a_softmax_by_a_threshold(data, table, tmp_path):
    succeed("train", data, "--output", tmp_path / "run", "--labels", table, *TINY, *QUICK)
    image = next((data / "validation").glob("*/*"))
    model = vitlib.from_pretrained(tmp_path / "run" / "model")
    model.eval()
    probabilities = 1 / (1 + np.exp(-model(model.preprocess(image)).numpy()[0]))
    options = ["--model", tmp_path / "run", "--engine", "paddle", "--precision", "float32", "--json"]
    found = succeed("predict", image, *options, "--threshold", 0.0).json
    said = {row["label"]: row["probability"] for row in found["predictions"]}
    assert said == pytest.approx(dict(zip(model.labels, probabilities.tolist(), strict=True)), abs=1e-5)
    middle = float(np.median(probabilities))
    found = succeed("predict", image, *options, "--threshold", middle).json
    assert len(found["predictions"]) == int((probabilities >= middle).sum()) == 2


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("train", ["--class-weights", "cirle=2"], ["--class-weights cirle=2", "circle, square, triangle"]),
        ("train", ["--class-weights", "circle=0"], ["a number above 0"]),
        ("train", ["--labels", "TABLE", "--teacher", "runs/x"], ["--teacher is for images with one class each"]),
        ("train", ["--model", "deit_tiny_distilled_patch16_224"], ["give --teacher"]),
        ("finetune", ["--weights", "nowhere"], ["--weights nowhere: there is no such file or folder"]),
        ("finetune", ["--weights", "x", "--head-only", "--freeze-blocks", 1], ["not allowed with --head-only"]),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_trained(data, table, tmp_path, command, options, words):
    options = [table if value == "TABLE" else value for value in options]
    done = run(command, data, "--output", tmp_path / "run", "--batch-size", 4, *options)
    assert done.code == 2
    for word in words:
        assert word in done.err.splitlines()[-1]
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_run_without_a_table_or_output_is_told(data, tmp_path):
    fail(2, "train", data, words=["required: --output"])
    done = run("train", data, "--output", tmp_path / "run", "--labels", tmp_path / "none.csv")
    assert done.code == 1
    assert "none.csv" in done.err
