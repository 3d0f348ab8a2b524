"""A whole run of examples/train_deit.py, always the same one, learns: digits, a convnet, a DeiT that it teaches."""

import json

import numpy as np
import pytest
from PIL import Image
from scripts import EXAMPLES, call
from sklearn.datasets import load_digits

COMMON = ["--no-flip", "--scale", 0.9, "--augment", "none", "--erasing", 0, "--mixup", 0, "--cutmix", 0, "--clip", 1]
COMMON += ["--batch-size", 32, "--warmup-epochs", 1, "--cache", 10, "--threads", 1, "--test"]
NETWORK = f"{EXAMPLES / 'small_resnet.py'}:small_resnet"
TEACHER = ["--model", NETWORK, "--grey", "--set", "in_chans=1", "--size", 8, "--epochs", 6, "--lr", 2e-3]
STUDENT = ["--model", "deit_tiny_distilled_patch16_224", "--epochs", 15, "--lr", 3e-3, "--teacher-model", NETWORK]
STUDENT += ["--set", "img_size=8", "patch_size=2", "in_chans=1", "embed_dim=48", "depth=2", "num_heads=2"]
STUDENT += ["conv_stem=[32]", "pos_embed=sincos2d", "weight_init=jax"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    root, scanned = tmp_path_factory.mktemp("digits"), load_digits()
    for place, index in enumerate(np.random.default_rng(0).permutation(len(scanned.images))):
        part = "test" if place < 360 else "validation" if place < 540 else "train"
        folder = root / part / str(scanned.target[index])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((scanned.images[index] * 15.9).astype("uint8")).save(folder / f"{index}.png")  # 0 to 16
    return root


def test_a_teacher_and_its_student_reach_their_accuracy(digits, tmp_path):
    error, written = call("train_deit.py", digits, *TEACHER, *COMMON, "--output", tmp_path / "teacher")
    assert error is None, written
    teacher = json.loads((tmp_path / "teacher" / "result.json").read_text())["test"]
    options = ["--teacher", tmp_path / "teacher", "--output", tmp_path / "student"]
    error, written = call("train_deit.py", digits, *STUDENT, *COMMON, *options)
    assert error is None, written
    student = json.loads((tmp_path / "student" / "result.json").read_text())["test"]
    assert teacher["images"] == student["images"] == 360
    assert teacher["model"] > 93
    assert min(student["model"], student["class_head"], student["distillation_head"]) > 92
