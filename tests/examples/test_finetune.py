"""examples/finetune.py: from files of several kinds to the classes of a small folder."""

import csv
import json
import pathlib
import shutil
from unittest import mock

import numpy as np
import paddle
import pytest
from scripts import call
from shapes import CLASSES, draw_folder

import vitlib
from vitlib.training import Run

CHECKPOINTS = pathlib.Path(__file__).parents[1] / "weights" / "checkpoints"
QUICK = ["--batch-size", 12, "--epochs", 1]
SMALL = {"img_size": 24, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("shapes"), train=12, validation=4, test=3)


@pytest.fixture
def saved(tmp_path):
    """saved(labels, **options): the directory of a small model that knows these labels."""

    def save(labels=("ant", "bee"), cls=vitlib.VisionTransformer, **options):
        paddle.seed(1)
        preprocess = vitlib.Preprocess(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), resize="squash")
        model = cls(**SMALL, num_classes=len(labels), preprocess=preprocess, **options)
        model.labels = list(labels)
        model.save_pretrained(tmp_path / "weights")
        return tmp_path / "weights"

    return save


def arrays(directory):
    return {name: value.numpy() for name, value in vitlib.from_pretrained(directory).state_dict().items()}


def finetune(folder, output, *arguments):
    error, written = call("finetune.py", folder, "--output", output, *QUICK, *arguments)
    assert error is None, written
    return written


def test_a_saved_model_learns_other_classes_and_keeps_its_preprocessing(saved, folder, tmp_path):
    written = finetune(folder, tmp_path / "run", "--weights", saved(), "--test", "--mixup", 0.8)
    assert "reset     head.weight, head.bias" in written
    model = vitlib.from_pretrained(tmp_path / "run" / "model")
    assert list(model.labels) == CLASSES
    assert model.preprocess.mean == (0.1, 0.2, 0.3)
    assert model.preprocess.resize == "squash"

    result = json.loads((tmp_path / "run" / "result.json").read_text())
    for part, count in (("validation", 12), ("test", 9)):
        images = sorted((folder / part).glob("*/*"))
        predictions = vitlib.predict(model, [str(path) for path in images], top_k=1)
        right = [row[0].label == path.parent.name for row, path in zip(predictions, images, strict=True)]
        assert result[part]["images"] == count
        assert result[part]["model"] == pytest.approx(100 * np.mean(right))
        assert result[part]["right"]["model"] == np.packbits(right).tobytes().hex()
    with open(tmp_path / "run" / "log.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["validation_accuracy"]) == pytest.approx(result["validation"]["model"])

    image = next((folder / "test").glob("*/*"))
    error, written = call("classify.py", image, "--weights", tmp_path / "run" / "model")
    assert error is None, written
    assert all(f"%  {name}" in written for name in CLASSES)


def test_training_the_head_only_leaves_the_body_as_it_was(saved, folder, tmp_path):
    weights = saved()
    finetune(folder, tmp_path / "run", "--weights", weights, "--head-only", "--clip", 0)
    before, after = arrays(weights), arrays(tmp_path / "run" / "model")
    body = [name for name in before if not name.startswith("head.")]
    assert len(body) == len(before) - 2
    assert all((before[name] == after[name]).all() for name in body)
    assert np.abs(after["head.bias"]).min() > 0


def test_frozen_blocks_stay_and_the_others_learn(saved, folder, tmp_path):
    weights = saved()
    finetune(folder, tmp_path / "run", "--weights", weights, "--freeze-blocks", 2, "--ema", 0.5)
    before, after = arrays(weights), arrays(tmp_path / "run" / "model")
    frozen = {name for name in before if name.startswith(("patch_embed", "pos_", "cls_", "blocks.0", "blocks.1"))}
    same = {name for name in before if before[name].shape == after[name].shape and (before[name] == after[name]).all()}
    assert same == frozen


def test_layers_learn_slower_the_deeper_they_lie(saved, folder, tmp_path):
    weights = saved()
    finetune(folder, tmp_path / "run", "--weights", weights, "--layer-decay", 0.01, "--lr", 1e-3, "--weight-decay", 0)
    before, after = arrays(weights), arrays(tmp_path / "run" / "model")
    steps = 3
    for layer, name in enumerate(["patch_embed.proj.weight", *(f"blocks.{i}.attn.qkv.weight" for i in range(3))]):
        # Without decay an update of Adam is at most the rate times (1 - beta1) / sqrt(1 - beta2) < 3.2
        bound = 3.2 * steps * 1e-3 * 0.01 ** (4 - layer)
        assert np.abs(after[name] - before[name]).max() <= bound + 1e-7
    assert np.abs(after["blocks.2.attn.qkv.weight"] - before["blocks.2.attn.qkv.weight"]).max() > 1e-6


@pytest.mark.parametrize("size", [(32,), (24, 40)])
def test_images_may_have_another_size(saved, folder, tmp_path, size):
    written = finetune(folder, tmp_path / "run", "--weights", saved(), "--size", *size, "--drop-path", 0.1)
    assert "pos_embed: grid 3 x 3 ->" in written
    model = vitlib.from_pretrained(tmp_path / "run" / "model")
    height, width = size[0], size[-1]
    assert model.preprocess(next((folder / "test").glob("*/*"))).shape[-2:] == [height, width]
    assert model.config.grid_size == (height // 8, width // 8)
    assert model.config.drop_path_rate == 0.1


def test_a_head_for_the_same_classes_is_kept_and_one_for_others_is_fresh(saved, folder, tmp_path):
    finetune(folder, tmp_path / "same", "--weights", saved(CLASSES), "--lr", 1e-9)
    before = arrays(tmp_path / "weights")["head.weight"]
    assert np.abs(arrays(tmp_path / "same" / "model")["head.weight"] - before).max() < 1e-6
    written = finetune(folder, tmp_path / "other", "--weights", saved(["ant", "bee", "cat"]), "--lr", 1e-9)
    assert "the head is fresh" in written
    assert np.abs(arrays(tmp_path / "other" / "model")["head.weight"] - before).max() > 1e-3


def test_both_heads_of_a_deit_get_the_gradient_of_their_mean(folder, tmp_path):
    weights = CHECKPOINTS / "huggingface_deit"
    finetune(folder, tmp_path / "run", "--weights", weights, "--head-only")
    after = arrays(tmp_path / "run" / "model")
    # The loss sees the sum of both biases, which begin as zeros: so they stay equal
    assert (after["head.bias"] == after["head_dist.bias"]).all()
    assert np.abs(after["head.bias"]).min() > 0
    assert (after["head.weight"] != after["head_dist.weight"]).any()
    result = json.loads((tmp_path / "run" / "result.json").read_text())["validation"]
    assert {"model", "class_head", "distillation_head"} <= set(result)


def test_a_file_with_the_names_of_timm_fits_its_preset(folder, tmp_path):
    paddle.seed(0)
    model = vitlib.create_model("vit_tiny_patch16_224", num_classes=5)
    vitlib.save_weights(model, tmp_path / "timm.safetensors", format="timm")
    options = ["--model", "ViT-Ti/16", "--size", 32, "--head-only"]
    written = finetune(folder, tmp_path / "run", "--weights", tmp_path / "timm.safetensors", *options)
    assert "grid 14 x 14 -> 2 x 2" in written
    after = vitlib.from_pretrained(tmp_path / "run" / "model")
    block = "blocks.11.mlp.fc2.weight"
    assert (after.state_dict()[block].numpy() == model.state_dict()[block].numpy()).all()


def test_published_weights_are_fetched_by_the_name_of_the_preset(folder, tmp_path):
    asked = []

    def create_model(name, pretrained, **options):
        asked.append((name, pretrained, options))
        raise OSError("no network")

    with mock.patch("vitlib.pretrained.create_model", create_model):
        error, _ = call(
            "finetune.py",
            folder,
            *QUICK,
            "--weights",
            "vit_tiny_patch16_224.augreg_in21k",
            "--output",
            tmp_path / "run",
        )
    assert error == "finetune.py: no network"
    assert asked == [("vit_tiny_patch16_224.augreg_in21k", True, {"num_classes": 3, "allow": []})]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("vit_tinny_patch16_224", ["--weights vit_tinny_patch16_224: ", "no preset", "vit_tiny_patch16_224"]),
        ("vit_tiny_patch16_224.augreg_in22k", ["augreg_in21k"]),
        ("nowhere/model.safetensors", ["nowhere/model.safetensors", "no such file"]),
        ("model.npz", ["model.npz", "no such file"]),
        ("broken.safetensors", ["broken.safetensors"]),
    ],
)
def test_wrong_weights_are_told_in_a_sentence(folder, tmp_path, monkeypatch, weights, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"no weights at all, but a text of some length")
    error, _ = call("finetune.py", folder, *QUICK, "--weights", weights, "--output", "run")
    for word in ("finetune.py: ", *words):
        assert word in error
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_run_goes_on_without_the_weights_that_it_began_with(saved, folder, tmp_path):
    weights = saved(cls=vitlib.DeiT, drop_path_rate=0.2)
    options = ["--weights", weights, "--freeze-blocks", 1, "--ema", 0.9, "--epochs", 3]
    finetune(folder, tmp_path / "alone", *options)

    end_epoch = Run.end_epoch

    def stopped(run, evaluations):
        if run.log.rows:
            raise KeyboardInterrupt
        end_epoch(run, evaluations)

    with mock.patch.object(Run, "end_epoch", stopped):
        error, written = call("finetune.py", folder, "--output", tmp_path / "stopped", *QUICK, *options)
    assert error == "finetune.py: stopped; the same command goes on after 3 steps"
    shutil.rmtree(weights)
    written = finetune(folder, tmp_path / "stopped", *options)
    assert "going on after 3 steps, in epoch 2 of 3" in written
    alone, again = (tmp_path / name / "model" / "model.safetensors" for name in ("alone", "stopped"))
    assert again.read_bytes() == alone.read_bytes()


def test_a_learning_rate_of_0_is_refused_and_not_taken_for_the_default(saved, folder, tmp_path):
    error, _ = call("finetune.py", folder, *QUICK, "--weights", saved(), "--lr", 0, "--output", tmp_path / "run")
    assert "--lr: expected a number in (0, inf), found '0'" in error


def test_freezing_blocks_beside_training_the_head_only_is_refused(folder, tmp_path):
    options = ["--weights", "any", "--head-only", "--freeze-blocks", 1, "--output", tmp_path / "run"]
    error, _ = call("finetune.py", folder, *options)
    assert "--freeze-blocks: not allowed with --head-only" in error


def test_other_arguments_are_refused_by_name(saved, folder, tmp_path):
    options = ["--weights", saved(), "--epochs", 1]
    finetune(folder, tmp_path / "run", *options)
    error, _ = call("finetune.py", folder, "--output", tmp_path / "run", *QUICK, *options, "--layer-decay", 0.5)
    assert "layer_decay was 0.75 and is 0.5" in error
