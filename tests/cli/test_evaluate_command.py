"""evaluate: accuracies, calibration, confusions, and features by their neighbours."""

import csv
import shutil

import numpy as np
import pytest
from commands import fail, run, succeed
from PIL import Image
from shapes import CLASSES

import vitlib
from vitlib.analysis import folder_features, knn_accuracy, linear_probe
from vitlib.cli.errors import UsageError
from vitlib.cli.evaluate import match_classes

QUICK = ["--engine", "paddle"]


@pytest.fixture(scope="module")
def said(data, network):
    """(true classes, all classes of each image with the most probable first) of the validation images, by the API."""
    paths = sorted((data / "validation").glob("*/*"))
    return [path.parent.name for path in paths], vitlib.predict(network, list(map(str, paths)), top_k=3)


def test_accuracy_loss_and_confidence_are_those_of_the_models_predictions(data, model, said):
    truth, rows = said
    found = succeed("evaluate", data / "validation", "--model", model, "--json", *QUICK).json
    right = [row[0].label == name for name, row in zip(truth, rows, strict=True)]
    assert found["images"] == len(truth) == 12
    assert found["top1"] == pytest.approx(100 * np.mean(right))
    assert found["top5"] == 100  # of three classes
    own = [next(p.probability for p in row if p.label == name) for name, row in zip(truth, rows, strict=True)]
    assert found["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)
    assert found["mean_confidence"] == pytest.approx(100 * np.mean([row[0].probability for row in rows]), rel=1e-4)
    for name in CLASSES:
        of_class = [yes for yes, own in zip(right, truth, strict=True) if own == name]
        assert found["classes"][name] == {"images": 4, "top1": pytest.approx(100 * np.mean(of_class))}


def test_the_table_has_the_same_numbers(data, model):
    found = succeed("evaluate", data / "validation", "--model", model, "--json", *QUICK).json
    lines = succeed("evaluate", data / "validation", "--model", model, *QUICK).out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["images"] == ["12"]
    assert rows["top-1"] == [f"{found['top1']:.2f}", "%"]
    assert rows["circle"] == ["4", f"{found['classes']['circle']['top1']:.2f}", "%"]


def test_confusions_are_written_as_a_table_and_as_a_picture(data, model, said, tmp_path):
    files = [tmp_path / "c.csv", tmp_path / "c.png"]
    succeed("evaluate", data / "validation", "--model", model, "--confusion", *files, *QUICK)
    with files[0].open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[1:] == CLASSES
    for name, *counts in rows:
        expected = [row[0].label for own, row in zip(*said, strict=True) if own == name]
        assert list(map(int, counts)) == [expected.count(other) for other in CLASSES]
    with Image.open(files[1]) as picture:
        assert picture.format == "PNG"


def test_an_unreadable_image_is_named_and_left_out(data, model, tmp_path):
    folder = shutil.copytree(data / "validation", tmp_path / "images")
    (folder / "square" / "000.png").write_text("no image")
    done = run("evaluate", folder, "--model", model, "--json", *QUICK)
    assert done.code == 1
    assert "square/000.png" in done.err
    assert done.json["images"] == 11
    assert done.json["classes"]["square"]["images"] == 3
    assert len(done.json["unreadable"]) == 1


def test_neighbours_and_a_probe_judge_the_features(data, model, network):
    options = ["--knn", data / "train", "--probe", data / "train", "--json"]
    found = succeed("evaluate", data / "validation", "--model", model, *options).json
    train, test = (folder_features(network, data / part) for part in ("train", "validation"))
    shares = knn_accuracy(train, test)
    assert found["knn_10"] == pytest.approx(100 * shares[10])
    assert found["knn_20"] == pytest.approx(100 * shares[20])
    assert found["probe"] == pytest.approx(100 * linear_probe(train).accuracy(test))


@pytest.mark.parametrize(
    ("folders", "labels", "num_classes", "expected"),
    [
        (["dog", "cat"], ("cat", "cow", "dog"), 3, [2, 0]),
        (["0", "2"], ("cat", "cow", "dog"), 3, [0, 2]),
        (["2", "1"], ("1", "2"), 2, [1, 0]),  # names go before indices
        (["n01440764", "n01443537"], ("tench", "goldfish"), 2, [0, 1]),
        (["a", "b"], None, 2, [0, 1]),
    ],
)
def test_folders_are_classes_by_name_index_or_order(folders, labels, num_classes, expected):
    assert match_classes(folders, labels, num_classes)[0] == expected


@pytest.mark.parametrize(
    ("folders", "labels", "num_classes"),
    [
        (["dog", "horse"], ("cat", "dog"), 2),
        (["0", "7"], ("cat", "dog"), 2),
        (["0", "00"], ("cat", "dog"), 2),
        (["a"], None, 2),
        (["n01440764"], ("tench", "goldfish"), 2),
    ],
)
def test_folders_that_could_be_any_classes_are_refused(folders, labels, num_classes):
    with pytest.raises(UsageError, match="folders are no classes of the model"):
        match_classes(folders, labels, num_classes)


def test_a_folder_whose_name_two_classes_have_is_refused():
    labels = ("crane", "dog", "crane")  # the bird and the machine, as in ImageNet
    assert match_classes(["dog"], labels, 3)[0] == [1]
    with pytest.raises(UsageError, match="the classes 0 and 2 by the same name, 'crane'"):
        match_classes(["crane", "dog"], labels, 3)


def test_the_whole_data_set_and_wrong_files_are_refused_with_the_way_out(data, model, tmp_path):
    fail(2, "evaluate", data, "--model", model, words=["give one of them", f"{data}/validation"])
    fail(2, "evaluate", tmp_path / "nowhere", "--model", model, words=["does not exist"])
    fail(2, "evaluate", data / "validation", "--model", model, "--confusion", "c.txt", words=[".csv or .png"])
    fail(2, "evaluate", data / "validation", words=["--model"])
    features = ["--knn", data / "train", "--engine", "paddle"]
    fail(2, "evaluate", data / "validation", "--model", model, *features, words=["--knn and --probe", "--engine"])
