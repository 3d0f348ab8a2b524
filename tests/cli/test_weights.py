"""convert and export."""

import json

import numpy as np
import pytest
from commands import fail, run, succeed

import vitlib
from vitlib.checkpoint import open_weights, write_safetensors


def same(first, second):
    mine, other = first.state_dict(), second.state_dict()
    assert mine.keys() == other.keys()
    return all(np.array_equal(mine[name].numpy(), other[name].numpy()) for name in mine)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pdparams", "w.npz", "folder", "deep/folder"])
def test_weights_are_the_same_after_conversion_by_the_ending_of_out(model, network, tmp_path, name):
    done = succeed("convert", model, tmp_path / name)
    assert f"wrote     {tmp_path / name}" in done.out
    options = {} if "folder" in name else {"num_heads": 3}
    assert same(vitlib.from_pretrained(tmp_path / name, **options), network)


def test_a_format_may_be_said(model, network, tmp_path):
    done = succeed("convert", model, tmp_path / "hf", "--format", "huggingface", "--json")
    assert done.json["loaded"] == len(network.state_dict())
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == "vit"


def test_what_is_there_already_is_kept_unless_force_is_given(model, network, tmp_path):
    (tmp_path / "w.safetensors").write_text("of before")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("of before")
    fail(2, "convert", model, tmp_path / "w.safetensors", words=["is there already; --force replaces it"])
    fail(2, "convert", model, tmp_path / "full", words=["is there already"])
    fail(2, "export", model, tmp_path / "full", words=["is there already"])
    assert (tmp_path / "w.safetensors").read_text() == "of before"
    succeed("convert", model, tmp_path / "w.safetensors", "--force")
    assert same(vitlib.from_pretrained(tmp_path / "w.safetensors", num_heads=3), network)


def test_what_cannot_be_converted_is_told_and_nothing_is_written(model, tmp_path):
    fail(2, "convert", model, tmp_path / "w.pth", words=[".pth is not written", ".safetensors"])
    fail(2, "convert", model, tmp_path / "w.onnx", words=['.onnx is written by "vitlib export"'])
    fail(1, "convert", model, tmp_path / "w.npz", "--format", "timm", words=["--format"])
    fail(1, "convert", __file__, tmp_path / "out", words=["is of no format that is read"])
    fail(2, "convert", "nowhere", tmp_path / "out", words=["nowhere: there is no such file or folder"])
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_does_not_tell_its_heads_is_read_with_set(tmp_path):
    odd = vitlib.VisionTransformer(img_size=16, patch_size=8, embed_dim=60, depth=1, num_heads=5, num_classes=2)
    vitlib.save_weights(odd, tmp_path / "ours.safetensors", format="timm")
    with open_weights(tmp_path / "ours.safetensors") as file:  # without the note of the heads that vitlib's files have
        write_safetensors(tmp_path / "odd.safetensors", {name: file.read(name) for name in file})
    done = fail(1, "convert", tmp_path / "odd.safetensors", tmp_path / "out", words=["Give --set num_heads="])
    assert "from_pretrained" not in done.err
    succeed("convert", tmp_path / "odd.safetensors", tmp_path / "out", "--set", "num_heads=5")
    assert vitlib.from_pretrained(tmp_path / "out").config.num_heads == 5


@pytest.mark.parametrize(("name", "format"), [("m.onnx", "onnx"), ("folder", "onnx"), ("m.json", "paddle")])
def test_an_export_is_verified_and_says_what_it_is(model, tmp_path, name, format):
    pytest.importorskip("onnxruntime" if format == "onnx" else "paddle")
    found = succeed("export", model, tmp_path / "served" / name, "--json", "--outputs", "logits", "features").json
    assert found["difference"] < 1e-4
    manifest = json.loads((tmp_path / "served" / ("folder" * (name == "folder")) / "vitlib.json").read_text())
    assert manifest["format"] == format
    assert list(manifest["outputs"]) == ["logits", "features"]
    assert manifest["labels"] == ["circle", "square", "triangle"]


def test_an_export_takes_pixels_another_size_and_no_check(model, tmp_path):
    done = succeed("export", model, tmp_path / "m", "--format", "paddle", "--uint8", "--size", 32, "--no-verify")
    assert "differs" not in done.out
    manifest = json.loads((tmp_path / "m" / "vitlib.json").read_text())
    assert manifest["input"]["dtype"] == "uint8"
    assert manifest["input"]["shape"][1:3] == [32, 32]


def test_what_cannot_be_exported_is_told_in_the_words_of_the_command_line(model, tmp_path):
    fail(2, "export", model, tmp_path / "m.onnx", "--format", "paddle", words=["--format paddle does not go with"])
    done = run("export", model, tmp_path / "m", "--outputs", "logit", "--format", "paddle")
    assert done.code == 1
    assert "unknown output 'logit'" in done.err
    assert not (tmp_path / "m").exists()
