"""list, info and inspect."""

import json

import numpy as np
import pytest
from commands import fail, run, succeed

import vitlib
from vitlib.hub import DownloadError


def test_list_gives_the_names_of_all_presets_one_a_line():
    assert succeed("list").out.splitlines() == vitlib.list_models()


def test_a_pattern_is_part_of_a_name_or_one_of_the_shell_and_papers_names_count():
    assert succeed("list", "deit_tiny").out.splitlines() == vitlib.list_models("*deit_tiny*")
    assert succeed("list", "vit_*_384", "DeiT-B*").out.splitlines() == vitlib.list_models(["vit_*_384", "DeiT-B*"])


def test_nothing_that_fits_is_told_and_the_exit_code_is_1():
    fail(1, "list", "resnet", words=["no preset is called resnet"])


def test_published_weights_are_listed_with_accuracy_and_licence():
    done = succeed("list", "deit_base_patch16_224", "--weights")
    (line,) = done.out.splitlines()
    assert line.split() == ["deit_base_patch16_224.fb_in1k", "1000", "classes", "81.80", "%", "apache-2.0"]
    (row,) = succeed("list", "deit_base_patch16_224", "--weights", "--json").json
    assert row["top1"] == 81.8
    assert row["locations"][0] == "hf:timm/deit_base_patch16_224.fb_in1k"


def test_list_as_json_has_the_shape_of_each_preset():
    rows = {row["name"]: row for row in succeed("list", "--json").json}
    assert sorted(rows) == vitlib.list_models()
    large = rows["vit_large_patch16_384"]  # ViT paper, Table 1
    assert (large["image_size"], large["embed_dim"], large["depth"], large["num_heads"]) == (384, 1024, 24, 16)


@pytest.mark.parametrize(
    ("name", "options", "parameters", "macs"),
    [
        ("ViT-B/16", [], "86,567,656", "17.564 G"),
        ("ViT-B/16", ["--size", "384"], "86,567,656", "55.4"),
        ("deit_small_distilled_patch16_224", [], "22,436,432", "4.624 G"),
    ],
)
def test_info_of_a_preset_has_its_published_size_and_where_its_weights_are(name, options, parameters, macs):
    written = succeed("info", name, *options).out
    rows = dict(line.split(maxsplit=1) for line in written.splitlines())
    assert rows["parameters"] == parameters
    assert rows["macs"].startswith(macs)
    assert "licence apache-2.0" in rows["weights"]
    assert "hf:timm/" in rows["weights"]


def test_info_of_a_tag_counts_its_classes():
    found = succeed("info", "vit_base_patch16_224.augreg_in21k", "--json").json
    assert found["classes"] == 21843
    assert found["parameters"] == 86_567_656 + (21843 - 1000) * 769
    assert [row["name"] for row in found["weights"]] == ["vit_base_patch16_224.augreg_in21k"]


def test_info_of_a_saved_model_shows_its_classes_and_layers(model, network):
    found = succeed("info", model, "--json").json
    assert found["parameters"] == sum(p.size for p in network.parameters())
    assert found["labels"] == ["circle", "square", "triangle"]
    assert found["preprocess"]["size"] == 24
    written = succeed("info", model, "--layers").out
    assert "labels        circle, square, triangle" in written
    assert "blocks.0 to 1" in written
    assert str(vitlib.summary(network)) in written


def test_a_model_that_is_nowhere_is_told_with_the_nearest_names():
    fail(2, "info", "vit_tinny_patch16_224", words=["vit_tiny_patch16_224", "no such file or folder"])
    fail(2, "info", "deit_base_patch16_224.fb", words=["fb_in1k"])


def test_inspect_says_what_a_checkpoint_is_and_would_load_as(model, network):
    written = succeed("inspect", model).out
    rows = dict(line.split(maxsplit=1) for line in written.splitlines())
    assert rows["dialect"] == "timm"
    assert rows["tensors"] == f"{len(network.state_dict())} with {sum(p.size for p in network.parameters()):,} values"
    assert "embed_dim=24" in rows["model"]
    found = succeed("inspect", model / "model.safetensors", "--json").json
    assert found["options"]["depth"] == 2
    assert found["problem"] == ""


def test_inspect_of_weights_that_would_be_refused_says_why_in_the_words_of_the_command_line(tmp_path):
    rng = np.random.default_rng(0)
    two = {f"{part}.head.weight": rng.normal(size=(4, 8)).astype("float32") for part in ("teacher", "student")}
    np.savez(tmp_path / "two.npz", **two)
    done = run("inspect", tmp_path / "two.npz")
    assert done.code == 1
    assert "problem" in done.out
    assert "part=" not in done.out
    fail(1, "inspect", __file__, words=["is of no format that is read"])


def test_inspect_of_a_preset_looks_at_the_first_place_that_answers(monkeypatch, tmp_path):
    name, path = "deit_tiny_patch16_224", tmp_path / "DeiT.pdparams"
    vitlib.save_weights(vitlib.create_model(name), path, format="paddleclas")
    asked = []

    def download(url):
        asked.append(url)
        if not url.endswith(".pdparams"):
            raise DownloadError(f"{url}: no network")
        return path

    def fetch_hub(repo_id, revision=None):
        raise ImportError("the hub needs an extra")

    monkeypatch.setattr("vitlib.hub.downloads.download", download)
    monkeypatch.setattr("vitlib.hub.huggingface.fetch_hub", fetch_hub)
    found = succeed("inspect", name, "--json").json
    assert (found["source"], found["dialect"], found["problem"]) == (str(path), "paddleclas", "")
    assert len(asked) == 2
    monkeypatch.setattr("vitlib.hub.downloads.download", lambda url: fetch_hub(url))
    fail(1, "inspect", name, words=["no source of these weights answered"])


def test_info_and_inspect_know_an_export(model, tmp_path):
    succeed("export", model, tmp_path / "served", "--format", "paddle")
    found = json.loads(succeed("info", tmp_path / "served", "--json").out)
    assert found["kind"] == "export, paddle"
    assert found["labels"] == ["circle", "square", "triangle"]
    fail(2, "inspect", tmp_path / "served", words=["is an export"])
