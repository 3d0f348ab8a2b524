"""create_model(..., pretrained=True): which weights, from where, with which labels; without a network."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import vitlib
from vitlib.checkpoint import open_weights, write_safetensors
from vitlib.hub import DownloadError, downloads
from vitlib.models.presets import published

HERE = pathlib.Path(__file__).parent / "checkpoints"


def repository(name):
    """Of a preset's published weights, on the hub."""
    return published(name).locations[0].removeprefix("hf:")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that serves saved directories: hub[repo] = model."""
    served = {}

    def fetch(repo_id, revision=None):
        if repo_id not in served:
            raise DownloadError(f"{repo_id}: not there")
        directory = tmp_path / repo_id.replace("/", "--")
        vitlib.save_weights(served[repo_id], directory / "model.safetensors")
        return directory

    monkeypatch.setattr("vitlib.hub.huggingface.fetch_hub", fetch)
    monkeypatch.setattr(downloads, "download", lambda url: (_ for _ in ()).throw(DownloadError(f"{url}: no network")))
    return served


def test_the_default_tag_s_weights_come_from_the_hub_with_labels_and_provenance(hub):
    hub[repository("vit_tiny_patch16_224")] = sent = vitlib.create_model("vit_tiny_patch16_224")
    model = vitlib.create_model("vit_tiny_patch16_224", pretrained=True)
    np.testing.assert_array_equal(model.head.weight.numpy(), sent.head.weight.numpy())
    assert len(model.labels) == 1000
    assert model.labels[207].lower().startswith("golden retriever")
    text = str(model.load_report)
    assert "augreg_in21k_ft_in1k" in text
    assert "75.45" in text
    assert "apache-2.0" in text
    assert model.config == vitlib.get_config("vit_tiny_patch16_224")


def test_a_tag_brings_its_classes(hub):
    name = "vit_tiny_patch16_224.augreg_in21k"
    hub[repository(name)] = vitlib.create_model(name)
    model = vitlib.create_model(name, pretrained=True)
    assert model.config.num_classes == 21843 == len(model.labels)


def test_a_name_without_a_tag_prepares_images_as_the_default_tag_s_weights_need_them(hub):
    """DINO's, with ImageNet's mean (timm's record); the preset alone has 0.5."""
    name = "vit_small_patch8_224"
    hub[repository(name)] = vitlib.create_model(name, depth=1, num_classes=0)
    model = vitlib.create_model(name, pretrained=True, depth=1, num_classes=0)
    assert (model.preprocess.mean, model.preprocess.size) == ((0.485, 0.456, 0.406), 224)
    own = vitlib.Preprocess(mean=(0.1, 0.2, 0.3), size=224)
    assert vitlib.create_model(name, pretrained=True, depth=1, num_classes=0, preprocess=own).preprocess == own


def test_other_classes_get_a_new_head_and_no_labels(hub):
    hub[repository("deit_tiny_patch16_224")] = vitlib.create_model("deit_tiny_patch16_224")
    model = vitlib.create_model("deit_tiny_patch16_224", pretrained=True, num_classes=7, img_size=96)
    assert model.labels is None
    assert set(model.load_report.reset) == {"head.weight", "head.bias"}
    assert "14 x 14 -> 6 x 6" in model.load_report.resized["pos_embed"]


def test_weights_without_a_head_name_the_ways_out(hub):
    hub[repository("vit_large_patch32_224")] = vitlib.create_model("vit_large_patch32_224", num_classes=0, depth=1)
    with pytest.raises(vitlib.WeightsError, match="the file has no head") as caught:
        vitlib.create_model("vit_large_patch32_224", pretrained=True, depth=1)
    assert "num_classes=0" in str(caught.value)
    assert "num_classes=N" in str(caught.value)
    headless = vitlib.create_model("vit_large_patch32_224", pretrained=True, num_classes=0, depth=1)
    assert headless.labels is None


def test_the_second_source_is_asked_when_the_first_does_not_answer(hub, monkeypatch, tmp_path):
    path = tmp_path / "ViT.pdparams"
    vitlib.save_weights(vitlib.create_model("deit_tiny_patch16_224"), path, format="paddleclas")
    url = published("deit_tiny_patch16_224").locations[-1]
    assert url.endswith("DeiT_tiny_patch16_224_pretrained.pdparams")

    def download(asked):
        if asked != url:
            raise DownloadError(f"{asked}: 404")
        return path

    monkeypatch.setattr(downloads, "download", download)
    model = vitlib.create_model("deit_tiny_patch16_224", pretrained=True)
    assert model.load_report.dialect == "paddleclas"
    assert "not available" in str(model.load_report)
    assert model.preprocess == vitlib.get_config("deit_tiny_patch16_224").preprocess.replace(size=224)


def test_a_part_of_published_weights_is_taken_and_one_that_they_do_not_have_is_refused(hub, monkeypatch, tmp_path):
    name = "vit_tiny_patch16_224"
    sent = vitlib.create_model(name, depth=1)
    vitlib.save_weights(sent, tmp_path / "one.safetensors")
    with open_weights(tmp_path / "one.safetensors") as file:
        arrays = {f"teacher.{key}": file.read(key) for key in file}
    (tmp_path / "served").mkdir()
    students = {key.replace("teacher", "student"): array + 1 for key, array in arrays.items()}
    write_safetensors(tmp_path / "served" / "model.safetensors", {**students, **arrays})
    monkeypatch.setattr("vitlib.hub.huggingface.fetch_hub", lambda repo_id, revision=None: tmp_path / "served")
    model = vitlib.create_model(name, pretrained=True, depth=1, part="teacher")
    np.testing.assert_array_equal(model.head.weight.numpy(), sent.head.weight.numpy())
    with pytest.raises(vitlib.WeightsError, match="nothing under part='model_ema'"):
        vitlib.create_model(name, pretrained=True, depth=1, part="model_ema")


def test_when_no_source_answers_all_are_named(hub):
    with pytest.raises(DownloadError) as caught:
        vitlib.create_model("deit_tiny_patch16_224", pretrained=True)
    for word in ("timm/deit_tiny_patch16_224.fb_in1k", "dl.fbaipublicfiles.com", "pdparams"):
        assert word in str(caught.value)


def test_a_preset_without_published_weights_says_so():
    with pytest.raises(ValueError, match="vit_huge_patch14_518"):
        vitlib.create_model("vit_huge_patch14_518", pretrained=True)


def test_predictions_are_the_most_probable_classes_by_name():
    model = vitlib.from_pretrained(HERE / "huggingface_vit")
    model.train()
    photo = Image.new("RGB", (40, 30), "teal")
    rows = vitlib.predict(model, [photo, photo], top_k=3)
    assert len(rows) == 2
    for one, other in zip(*rows, strict=True):  # a matrix product rounds its rows differently
        assert (one.label, one.index) == (other.label, other.index)
        assert one.probability == pytest.approx(other.probability, rel=1e-5)
    labels, probabilities, indices = zip(*rows[0], strict=True)
    assert labels == tuple(f"kind {index}" for index in indices)
    assert list(probabilities) == sorted(probabilities, reverse=True)
    assert model.training
    everything = vitlib.predict(model, photo, top_k=99)[0]
    assert len(everything) == 5
    assert sum(row.probability for row in everything) == pytest.approx(1, abs=1e-5)
    model.labels = None
    assert vitlib.predict(model, photo, top_k=1)[0][0].label == f"class {indices[0]}"


def test_predicting_without_classes_or_for_no_classes_is_refused():
    model = vitlib.from_pretrained(HERE / "huggingface_vit")
    with pytest.raises(ValueError, match="top_k=0"):
        vitlib.predict(model, Image.new("RGB", (8, 8)), top_k=0)
    model.reset_head(0)
    with pytest.raises(ValueError, match="num_classes=0"):
        vitlib.predict(model, Image.new("RGB", (8, 8)))


def test_weights_are_imported_when_first_used():
    look = "print('vitlib.weights' in sys.modules)"
    code = f"import sys, vitlib; {look}; vitlib.load_weights; {look}"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_labels_of_another_head_are_not_used():
    model = vitlib.from_pretrained(HERE / "huggingface_vit")
    model.labels = ["one", "two"]
    with pytest.raises(ValueError, match="2 names for 5 classes"):
        vitlib.predict(model, Image.new("RGB", (8, 8)))
