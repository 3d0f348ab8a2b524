"""predict and embed."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import fail, run, succeed

import vitlib

QUICK = ["--engine", "paddle", "--precision", "float32"]


def test_predict_names_the_most_probable_classes_of_each_image(photos, model, network):
    written = succeed("predict", "a.png", "b.png", "--model", model, "--top", 2, *QUICK).out.splitlines()
    expected = vitlib.predict(network, ["a.png", "b.png"], top_k=2)
    assert written[0] == "a.png"
    assert written[3] == "b.png"
    for line, (label, probability, _) in zip(written[1:3] + written[4:], [*expected[0], *expected[1]], strict=True):
        percent, sign, name = line.split()
        assert (sign, name) == ("%", label)
        assert float(percent) == pytest.approx(100 * probability, abs=0.01)


def test_predict_as_json_is_an_object_a_line(photos, model, network):
    lines = succeed("predict", "a.png", "c.png", "--model", model, "--json", *QUICK).out.splitlines()
    for line, path in zip(lines, ["a.png", "c.png"], strict=True):
        found = json.loads(line)
        (expected,) = vitlib.predict(network, path)
        assert found["image"] == path
        assert found["label"] == found["predictions"][0]["label"] == expected[0].label
        assert [row["index"] for row in found["predictions"]] == [row.index for row in expected]
        assert found["probability"] == pytest.approx(expected[0].probability, abs=1e-5)


def test_an_unreadable_image_is_named_and_the_others_go_on(photos, model):
    done = run("predict", "a.png", "bad.png", "missing.png", "b.png", "--model", model, "--top", 1, *QUICK)
    assert done.code == 1
    assert [line for line in done.out.splitlines() if not line.startswith(" ")] == ["a.png", "b.png"]
    first, second = done.err.splitlines()
    assert first.startswith("vitlib predict: 'bad.png': is not an image")
    assert second == "vitlib predict: 'missing.png': No such image file"
    done = run("predict", "bad.png", "b.png", "--model", model, "--json", *QUICK)
    assert done.code == 1
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(rows[0]) == ["error", "image"]
    assert rows[1]["image"] == "b.png"


def test_paths_come_from_standard_input_and_folders(photos, model):
    (photos / "sub" / "deep").mkdir(parents=True)
    (photos / "c.png").rename(photos / "sub" / "deep" / "c.png")
    done = succeed("predict", "-", "sub", "--model", model, "--top", 1, *QUICK, stdin="a.png\n\nb.png\r\n")
    assert [line for line in done.out.splitlines() if line[0] != " "] == ["a.png", "b.png", "sub/deep/c.png"]
    fail(2, "predict", "-", "--model", model, *QUICK, words=["standard input has no paths"])
    (photos / "empty").mkdir()
    fail(2, "predict", "empty", "--model", model, *QUICK, words=["empty", "no images"])


def test_an_export_and_the_folder_of_a_run_are_models_too(photos, model, tmp_path):
    expected = succeed("predict", "a.png", "--model", model, *QUICK).out
    succeed("export", model, "served", "--format", "paddle", "--outputs", "logits", "features")
    assert succeed("predict", "a.png", "--model", "served", "--precision", "float32").out == expected
    (photos / "run").mkdir()
    (photos / "run" / "run.json").write_text("{}")
    fail(2, "predict", "a.png", "--model", "run", words=["--model run", "its first epoch is not done"])
    (photos / "run" / "model").symlink_to(model)
    assert succeed("predict", "a.png", "--model", "run", *QUICK).out == expected


def test_a_file_beside_an_export_is_not_taken_for_it(photos, model):
    succeed("export", model, "served", "--format", "paddle")
    (photos / "served" / "other.onnx").write_bytes(b"of another program")
    fail(2, "predict", "a.png", "--model", "served/other.onnx", words=["describes 'model.json'", "not this file"])


def test_progress_and_notes_are_for_terminals_alone(photos, model):
    assert succeed("predict", "a.png", "--model", model, *QUICK).err == ""
    assert "running on paddle" in succeed("predict", "a.png", "--model", model, *QUICK, terminal=True).err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--model", "nowhere/model.pth"], 2, ["--model nowhere/model.pth: there is no such file or folder"]),
        (["--model", "vit_base_patch16_gap_224"], 2, ["nobody has published weights", "--preset"]),
        (["--model", "vit_tiny_patch16_224", "--preset", "ViT-Ti/16"], 2, ["leave --preset ViT-Ti/16 out"]),
        (["--model", "MODEL", "--size", 25], 2, ["--size 25: "]),
        (["--model", "MODEL", "--size", 24, 24, 24], 2, ["--size: expected one number, or height and width"]),
        (["--model", "MODEL", "--set", "num_classes=0", "--allow", "head"], 2, ["gives features", "vitlib embed"]),
        (["--model", "MODEL", "--set", "depht=2"], 2, ["--set", "depht"]),
        (["--model", "MODEL", "--set", "depth"], 1, ["--set depth: expected OPTION=VALUE"]),
        (["--model", "MODEL", "--allow", "everything"], 1, ["--allow everything is no change"]),
        (["--model", "MODEL", "--precision", "int8"], 2, ["needs --calibration FOLDER"]),
        (
            ["--model", "MODEL", "--engine", "paddle", "--precision", "int8", "--calibration", "."],
            1,
            ["--engine paddle"],
        ),
    ],
)
def test_what_cannot_work_is_told_in_the_words_of_the_command_line(photos, model, options, code, words):
    options = [str(model) if value == "MODEL" else value for value in options]
    fail(code, "predict", "a.png", *options, words=words)


@pytest.mark.parametrize("extra", ["onnxruntime", "openvino"])
def test_a_missing_engine_names_its_extra(photos, model, monkeypatch, extra):
    monkeypatch.setitem(sys.modules, extra, None)
    fail(1, "predict", "a.png", "--model", model, "--engine", extra, words=[f"pip install 'vitlib[{extra}]'"])


def test_features_are_written_with_the_paths_of_their_images(photos, model, network):
    done = run("embed", "a.png", "bad.png", "c.png", "--model", model, *QUICK)
    assert done.code == 1
    assert "'bad.png'" in done.err
    assert done.out == "features.npz: features of 2 images, 24 numbers each\n"
    with np.load("features.npz") as file:
        assert file["paths"].tolist() == ["a.png", "c.png"]
        features = file["features"]
    expected = network.forward_head(network.forward_features(network.preprocess(["a.png", "c.png"])), pre_logits=True)
    assert np.abs(features - expected.numpy()).max() < 1e-5

    succeed("embed", "a.png", "c.png", "--model", model, "--output", "f.csv", *QUICK)
    with open("f.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", *map(str, range(24))]
    assert [row[0] for row in rows] == ["a.png", "c.png"]
    assert (np.array([row[1:] for row in rows], "float32") == features).all()

    if os.name == "posix":  # names of files may be any bytes there
        shutil.copy("a.png", b"caf\xe9.png")
        succeed("embed", os.fsdecode(b"caf\xe9.png"), "--model", model, "--output", "bytes.csv", *QUICK)
        assert Path("bytes.csv").read_bytes().splitlines()[1].startswith(b"caf\xe9.png,")


def test_features_that_cannot_be_written_are_refused_before_the_model_is_read(photos, model, monkeypatch):
    fail(2, "embed", "a.png", "--model", "nowhere", "--output", "f.txt", words=[".npz or .csv"])
    fail(2, "embed", "a.png", "--model", "nowhere", "--output", "no/f.csv", words=["--output no/f.csv", "no folder no"])
    (photos / "f.npz").mkdir()
    fail(2, "embed", "a.png", "--model", "nowhere", "--output", "f.npz", words=["--output f.npz is a folder"])
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    fail(2, "embed", "a.png", "--model", "nowhere", "--output", "f.csv", words=["--output f.csv", "cannot be written"])
    monkeypatch.undo()
    monkeypatch.chdir(photos)
    (photos / "features.npz").write_bytes(b"of before")
    done = run("embed", "bad.png", "--model", model, *QUICK)
    assert done.code == 1
    assert (photos / "features.npz").read_bytes() == b"of before"


def test_an_export_without_features_says_how_to_make_one(photos, model):
    succeed("export", model, "served", "--format", "paddle")
    fail(2, "embed", "a.png", "--model", "served", words=["gives logits and no features", "--outputs features"])
    fail(2, "predict", "a.png", "--model", "served", "--size", 48, words=["--size is for weights"])
