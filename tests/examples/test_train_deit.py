"""examples/train_deit.py on a small folder: a convnet as teacher, then a DeiT that learns from it."""

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from scripts import EXAMPLES, call
from shapes import CLASSES, draw_folder

import vitlib

LENET = ["--model", "paddle:LeNet", "--grey", "--size", 28, "--batch-size", 6, "--epochs", 1, "--warmup-epochs", 0]
STUDENT = [
    "--model",
    "deit_tiny_distilled_patch16_224",
    "--set",
    "img_size=24",
    "patch_size=8",
    "embed_dim=24",
    "depth=2",
    "num_heads=3",
    "in_chans=1",
    "drop_path_rate=0.2",
]
STUDENT += ["--batch-size", 6, "--epochs", 3, "--warmup-epochs", 1, "--ema", 0.9, "--clip", 1, "--repeats", 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("shapes"), train=20, validation=4, test=5)


@pytest.fixture(scope="module")
def teacher(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "teacher"
    error, written = call("train_deit.py", folder, *LENET, "--output", output)
    assert error is None, written
    return output


@pytest.fixture(scope="module")
def students(folder, teacher, tmp_path_factory):
    """Output folders of two runs of one command: left alone; and killed in its second epoch, then started again."""
    runs = tmp_path_factory.mktemp("students")

    def start(name):
        command = [sys.executable, EXAMPLES / "train_deit.py", folder, *STUDENT, "--teacher", teacher, "--test"]
        command += ["--output", runs / name, "--threads", 1, "--save-every", 0]
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )

    # as for `call`, the package of this checkout
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    alone, killed = start("alone"), start("killed")
    until = time.monotonic() + 100
    while not (saved := sorted((runs / "killed" / "checkpoints").glob("step-*"))) or saved[-1].stem < "step-00000014":
        assert killed.poll() is None, killed.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (runs / "killed" / "result.json").exists()
    again = start("killed")
    for process in (alone, again):
        written, _ = process.communicate(timeout=200)
        assert process.returncode == 0, written
    assert "going on after" in written
    return runs / "alone", runs / "killed"


def rows(output):
    with open(output / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_killed_run_ends_with_the_bits_of_one_left_alone(students):
    alone, killed = students
    assert (killed / "model" / "model.safetensors").read_bytes() == (alone / "model" / "model.safetensors").read_bytes()
    results = [json.loads((output / "result.json").read_text()) for output in students]
    assert all(result.pop("seconds") >= 0 for result in results)
    assert results[0] == results[1]
    assert (killed / "run.json").read_text() == (alone / "run.json").read_text().replace(str(alone), str(killed))


def test_the_log_of_a_resumed_run_has_each_epoch_once(students):
    alone, killed = (rows(output) for output in students)
    for row in (*alone, *killed):
        assert float(row.pop("images_per_second")) > 0
    assert [row["epoch"] for row in killed] == ["1", "2", "3"]
    assert killed == alone


def test_the_curve_is_an_image(students):
    with Image.open(students[1] / "curve.png") as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_results_are_what_predict_says_of_the_saved_model(students, folder):
    output = students[1]
    model = vitlib.from_pretrained(output / "model")
    assert isinstance(model, vitlib.DeiT)
    assert list(model.labels) == CLASSES
    result = json.loads((output / "result.json").read_text())
    for part in ("validation", "test"):
        images = sorted((folder / part).glob("*/*"))
        predictions = vitlib.predict(model, [str(path) for path in images], top_k=1)
        right = sum(row[0].label == path.parent.name for row, path in zip(predictions, images, strict=True))
        assert result[part]["images"] == len(images)
        assert result[part]["model"] == pytest.approx(100 * right / len(images))


def test_a_finished_run_tells_its_results_again_and_refuses_other_arguments_by_name(folder, teacher):
    weights = sorted((teacher / "checkpoints").iterdir())[-1].read_bytes()
    error, written = call("train_deit.py", folder, *LENET, "--output", teacher)
    assert error is None
    assert "going on after 10 steps" in written
    assert "of 12 images" in written
    error, _ = call("train_deit.py", folder, *LENET, "--output", teacher, "--lr", 0.1, "--grey", "--seed", 3)
    assert "lr was 0.0005 and is 0.1, seed was 0 and is 3" in error
    assert sorted((teacher / "checkpoints").iterdir())[-1].read_bytes() == weights


def test_arguments_that_failed_do_not_occupy_the_folder(folder, tmp_path):
    options = ["--model", "deit_tinny_patch16_224", "--batch-size", 6]
    error, _ = call("train_deit.py", folder, *options, "--output", tmp_path / "run")
    assert "deit_tiny_patch16_224" in error
    error, _ = call("train_deit.py", folder, *LENET, "--output", tmp_path / "run", "--accumulate", 11)
    assert "10 batches" in error
    error, written = call("train_deit.py", folder, *LENET, "--output", tmp_path / "run")
    assert error is None, written


def test_a_student_learns_from_a_vision_transformer_of_another_run(students, folder, tmp_path):
    error, written = call(
        "train_deit.py", folder, *STUDENT, "--epochs", 2, "--teacher", students[0], "--output", tmp_path / "run"
    )
    assert error is None, written


def test_a_distillation_token_without_a_teacher_is_refused(folder, tmp_path):
    error, _ = call("train_deit.py", folder, *STUDENT, "--output", tmp_path / "run")
    assert "give --teacher" in error
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_teacher_of_other_classes_is_refused(teacher, tmp_path):
    folder = draw_folder(tmp_path / "shapes", train=2, validation=1)
    for part in ("train", "validation"):
        (folder / part / "circle").rename(folder / part / "oval")
    options = ["--batch-size", 2, "--teacher", teacher, "--output", tmp_path / "run"]
    error, _ = call("train_deit.py", folder, *STUDENT, *options)
    assert "the teacher knows the classes ['circle'" in error
    assert "'oval'" in error


def test_unreadable_images_are_counted_and_named_and_strict_stops_at_them(tmp_path):
    folder = draw_folder(tmp_path / "shapes", train=4, validation=2)
    broken = [folder / "train" / "circle" / "000.png", folder / "validation" / "square" / "001.jpg"]
    for path in broken:
        path.write_bytes(b"not an image")
    options = [*LENET, "--batch-size", 1, "--epochs", 2]  # so a batch has no image at all
    error, written = call("train_deit.py", folder, *options, "--output", tmp_path / "run")
    assert error is None, written
    for path in broken:
        assert written.count(f"left out: '{path}'") + written.count(f"left out: {path}") == 1
    assert [row["unreadable"] for row in rows(tmp_path / "run")] == ["1", "1"]
    assert "of 5 images, and 1 that could not be read" in written
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(result["validation"]["unreadable"]) == 1

    error, _ = call("train_deit.py", folder, *options, "--output", tmp_path / "strict", "--strict")
    assert str(broken[0]) in error


def empty_class(folder):
    for path in (folder / "train" / "square").iterdir():
        path.unlink()


def other_class(folder):
    (folder / "validation" / "square").rename(folder / "validation" / "oblong")


def no_train(folder):
    (folder / "train").rename(folder / "training")


def loose_image(folder):
    (folder / "train" / "square" / "000.png").rename(folder / "train" / "000.png")


@pytest.mark.parametrize("script", ["train_deit.py", "finetune.py"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (empty_class, ["'square' has no images"]),
        (other_class, ["validation' lacks 'square' and has 'oblong' besides"]),
        (no_train, ["train' does not exist"]),
        (loose_image, ["'000.png'", "belong to no class"]),
    ],
)
def test_bad_folders_are_told_in_a_sentence_before_anything_is_done(script, damage, words, tmp_path):
    folder = draw_folder(tmp_path / "shapes", train=1, validation=1)
    damage(folder)
    options = ["--batch-size", 1] + (["--weights", "vit_tiny_patch16_224"] if script == "finetune.py" else [])
    error, _ = call(script, folder, "--output", tmp_path / "run", *options)
    assert error.startswith(script)
    for word in words:
        assert word in error
    assert not (tmp_path / "run").exists()


def test_a_missing_test_folder_is_told_before_training(tmp_path):
    folder = draw_folder(tmp_path / "shapes", train=1, validation=1)
    error, _ = call("train_deit.py", folder, *LENET, "--batch-size", 1, "--test", "--output", tmp_path / "run")
    assert "test' does not exist" in error


def test_a_remembered_teacher_says_what_the_teacher_said(folder, teacher, tmp_path):
    options = [*STUDENT, "--epochs", 1, "--warmup-epochs", 0, "--accumulate", 2, "--teacher", teacher]
    for name, more in (
        ("asked", []),
        ("written", ["--teacher-cache", tmp_path / "cache"]),
        ("read", ["--teacher-cache", tmp_path / "cache"]),
    ):
        error, written = call("train_deit.py", folder, *options, *more, "--output", tmp_path / name)
        assert error is None, written
    weights = {(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("asked", "written", "read")}
    assert len(weights) == 1
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


def test_logits_that_the_disk_has_no_room_for_are_told_before_training(folder, teacher, tmp_path, monkeypatch):
    def full(number, start, size):
        assert size >= 4 * 10 * 60 * 3  # float32, of 10 epochs of 60 images of three classes
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "posix_fallocate", full)
    options = [*STUDENT, "--epochs", 10, "--teacher", teacher, "--teacher-cache", tmp_path / "cache"]
    error, _ = call("train_deit.py", folder, *options, "--output", tmp_path / "run")
    assert "No space left on device: the teacher's logits of 10 epochs take 0 MB" in error
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_run_with_images_that_the_cache_shrinks_goes_on_with_a_cache_alone(folder, tmp_path):
    options = [folder, *LENET, "--output", tmp_path / "run"]
    error, written = call("train_deit.py", *options, "--cache", 1)
    assert error is None, written
    error, written = call("train_deit.py", *options, "--cache", 2)
    assert error is None, written
    error, _ = call("train_deit.py", *options)
    assert "cache is used was True and is None" in error


def test_a_remembered_teacher_is_asked_anew_when_images_change(folder, teacher, tmp_path):
    data = shutil.copytree(folder, tmp_path / "data")
    broken = data / "train" / "circle" / "002.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"nothing".ljust(len(whole)))
    then = broken.stat().st_mtime_ns

    def train(name, *cache):
        options = [*STUDENT, "--epochs", 1, "--warmup-epochs", 0, "--repeats", 1, "--teacher", teacher, *cache]
        error, written = call("train_deit.py", data, *options, "--output", tmp_path / name)
        assert error is None, written
        return (tmp_path / name / "model" / "model.safetensors").read_bytes()

    cache = ["--teacher-cache", tmp_path / "cache"]
    train("broken", *cache)
    broken.write_bytes(whole)  # as a disk that is there again: the same file, which now can be read
    os.utime(broken, ns=(then, then))
    assert train("whole", *cache) == train("whole-asked")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    shutil.copy(data / "train" / "square" / "000.png", data / "train" / "circle" / "a.png")  # as many batches
    assert train("more", *cache) == train("more-asked")


def test_a_teacher_that_has_not_finished_is_refused(folder, teacher, students, tmp_path):
    for run, name in ((teacher, "result.json"), (students[0], "model"), (students[0], "result.json")):
        unfinished = shutil.copytree(run, tmp_path / f"{run.name}-{name}")
        (unfinished / name).rename(tmp_path / f"away-{run.name}-{name}")
        options = [*STUDENT, "--teacher", unfinished, "--output", tmp_path / "run"]
        error, _ = call("train_deit.py", folder, *options)
        assert f"{unfinished} has not finished: it has no {name}; run its command again" in error
        assert not (tmp_path / "run" / "run.json").exists()


def test_a_model_of_finetune_teaches_only_when_it_has_finished(folder, tmp_path):
    weights = vitlib.VisionTransformer(img_size=24, patch_size=8, embed_dim=24, depth=1, num_heads=3, num_classes=2)
    weights.save_pretrained(tmp_path / "weights")
    options = ["--weights", tmp_path / "weights", "--batch-size", 6, "--epochs", 1, "--head-only"]
    error, written = call("finetune.py", folder, *options, "--output", tmp_path / "teacher")
    assert error is None, written
    student = [*STUDENT, "--set", *STUDENT[3:8], "--epochs", 1, "--warmup-epochs", 0, "--teacher", tmp_path / "teacher"]
    error, written = call("train_deit.py", folder, *student, "--output", tmp_path / "student")
    assert error is None, written
    shutil.rmtree(tmp_path / "teacher" / "model")
    error, _ = call("train_deit.py", folder, *student, "--output", tmp_path / "other")
    assert "has no model; run its command again" in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--accumulate", 0], ["--accumulate: expected a whole number of at least 1, found '0'"]),
        (["--epochs", 0], ["--epochs: expected a whole number of at least 1, found '0'"]),
        (["--epochs", "many"], ["--epochs: expected a whole number of at least 1, found 'many'"]),
        (["--lr", 0], ["--lr: expected a number in (0, inf), found '0'"]),
        (["--erasing", 1.5], ["--erasing: expected a number in [0, 1], found '1.5'"]),
        (["--epochs", 3, "--warmup-epochs", 3], ["--warmup-epochs 3: expected less than --epochs 3"]),
        (["--validation-share", 0.3], ["a validation share was given", "validation/"]),
        (
            ["--model", "deit_tinny_patch16_224"],
            ["--model deit_tinny_patch16_224:", "deit_tiny_patch16_224"],
        ),
        (["--set", "bogus=1"], ["--set does not fit deit_tiny_patch16_224", "'bogus'", "img_size"]),
        (["--model", "paddle:resnet18", "--set", "bogus=1"], ["--set does not fit paddle:resnet18", "'bogus'"]),
        (["--model", "paddle:resnet"], ["no network 'resnet'", "resnet18"]),
        (["--model", "small_resnet.py:resnet"], ["small_resnet.py has no function 'resnet'"]),
        (["--model", "resnet.py:resnet"], ["--model resnet.py:resnet: expected FILE.py:NAME"]),
        (["--squash", 100], ["--squash 100: expected at least the image size 224"]),
    ],
)
def test_options_that_cannot_work_are_told_in_a_sentence(folder, tmp_path, options, words):
    error, _ = call("train_deit.py", folder, "--batch-size", 6, *options, "--output", tmp_path / "run")
    for word in ("train_deit.py: ", *words):
        assert word in error


@pytest.mark.parametrize("options", [["--grey"], ["--size", 64]])
def test_options_of_convnets_are_refused_for_a_preset(folder, tmp_path, options):
    error, _ = call("train_deit.py", folder, *options, "--output", tmp_path / "run")
    assert "for a preset use --set img_size=64" in error
    assert not (tmp_path / "run").exists()


OWN = """
from __future__ import annotations
from dataclasses import dataclass
import vitlib

@dataclass
class Options:
    depth: int = 1

class Attention(vitlib.MultiHeadAttention):
    def attend(self, q, k, v, mask=None):
        return super().attend(q, k, v, mask=mask)

class Block(vitlib.EncoderBlock):
    attention_class = Attention

class Net(vitlib.VisionTransformer):
    block_class = Block

def small(num_classes, img_size=24):
    if img_size < 0:
        raise TypeError("a mistake of its own")
    sizes = {"img_size": img_size, "patch_size": 8, "embed_dim": 12, "num_heads": 2}
    return Net(num_classes=num_classes, depth=Options().depth, **sizes)
"""


def test_a_vision_transformer_of_ones_own_file_is_trained_and_teaches(folder, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(OWN)
    common = [folder, "--batch-size", 30, "--epochs", 1, "--warmup-epochs", 0, "--output"]
    model = ["--model", f"{own}:small"]
    error, _ = call("train_deit.py", *common, tmp_path / "refused", *model, "--size", 32)
    assert "is a Net, whose config has the size" in error
    assert "--set img_size=64" in error
    error, written = call("train_deit.py", *common, tmp_path / "teacher", *model)
    assert error is None, written
    student = [*common, tmp_path / "student", *STUDENT[:2], "--set", *STUDENT[3:7], "--teacher", tmp_path / "teacher"]
    error, _ = call("train_deit.py", *student)
    assert "'Net'" in error
    assert f"--teacher-model {own}:small" in error
    error, written = call("train_deit.py", *student, "--teacher-model", f"{own}:small")
    assert error is None, written
    with pytest.raises(TypeError, match="a mistake of its own"):  # is no matter of --set
        call("train_deit.py", *common, tmp_path / "other", *model, "--set", "img_size=-1")


def test_a_network_of_a_file_teaches_a_student_with_convolutions_on_squashed_images(folder, tmp_path):
    common = ["--squash", 27, "--scale", 0.7, "--augment", "none", "--mixup", 0, "--cutmix", 0, "--cache", 1]
    common += ["--warmup-epochs", 0, "--batch-size", 30, "--epochs", 2]
    teacher = ["--model", "small_resnet.py:small_resnet", "--set", "widths=[8,16]", "depths=[1,1]", "--size", 24]
    error, written = call("train_deit.py", folder, *teacher, *common, "--output", tmp_path / "teacher")
    assert error is None, written
    student = ["--model", STUDENT[1], "--set", "img_size=24", "patch_size=4", "embed_dim=32", "depth=1", "num_heads=2"]
    student += ["conv_stem=[8,16]", "--teacher", tmp_path / "teacher"]
    error, _ = call("train_deit.py", folder, *student, *common, "--output", tmp_path / "student")
    assert "a Python file; give --teacher-model FILE.py:NAME to run it" in error  # not by the word of a record
    student += ["--teacher-model", "small_resnet.py:small_resnet"]
    error, written = call("train_deit.py", folder, *student, *common, "--output", tmp_path / "student")
    assert error is None, written
    with open(tmp_path / "student" / "log.csv", newline="") as file:
        first, last = (float(row["train_loss"]) for row in csv.DictReader(file))
    assert last < first
    model = vitlib.from_pretrained(tmp_path / "student" / "model")
    assert model.config.conv_stem == (8, 16)
    assert (model.preprocess.resize, int(24 / model.preprocess.crop_fraction)) == ("squash", 27)
    result = json.loads((tmp_path / "student" / "result.json").read_text())
    image = folder / "validation" / CLASSES[0] / "000.png"
    assert vitlib.predict(model, image)[0][0].label in CLASSES
    assert result["validation"]["images"] == 12
