"""Features of a folder are those of its images, and a cache of them is never stale."""

import os
import shutil

import numpy as np
import paddle
import pytest
from conftest import refused
from shapes import CLASSES, draw_folder

import vitlib
from vitlib.analysis import folder_features, knn_accuracy, linear_probe


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path / "data", train=3, validation=2)


@pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])
def test_features_are_those_of_each_image_alone(tiny, folder, cls):
    model = tiny(cls)
    found = folder_features(model, folder / "train", batch_size=4)
    assert found.classes == tuple(CLASSES)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    paths = sorted((folder / "train").rglob("*.*"))
    for row, path in zip(found.features, paths, strict=True):
        tokens = model.forward_features(model.preprocess(path))
        expected = tokens[0, :2].mean(0) if cls is vitlib.DeiT else tokens[0, 0]
        np.testing.assert_allclose(row, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_cache_is_used_until_weights_images_or_preprocessing_change(tiny, folder, tmp_path, monkeypatch):
    model, cache, calls = tiny(), tmp_path / "features.npz", []
    forward = vitlib.VisionTransformer.forward_features
    monkeypatch.setattr(
        vitlib.VisionTransformer, "forward_features", lambda *args: (calls.append(1), forward(*args))[1]
    )

    def computed():
        calls.clear()
        found = folder_features(model, folder / "train", cache=cache)
        fresh = bool(calls)
        np.testing.assert_array_equal(found.features, folder_features(model, folder / "train").features)
        return fresh

    assert computed()
    assert not computed()
    model.head.bias.set_value(model.head.bias + 1)  # weights are taken as a whole
    assert computed()
    assert not computed()
    model.preprocess = model.preprocess.replace(crop_fraction=0.5)
    assert computed()
    shutil.copy(folder / "validation" / "circle" / "000.png", folder / "train" / "circle" / "000.png")
    assert computed()
    assert not computed()
    os.remove(folder / "train" / "circle" / "000.png")
    assert computed()


def test_a_cache_that_is_a_file_of_something_else_is_refused_and_left_as_it_is(tiny, folder, tmp_path):
    cache = tmp_path / "new folder" / "features.npz"
    folder_features(tiny(), folder / "validation", cache=cache)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "other.npy", np.zeros(3))
    others = [(tmp_path / "other.npz").read_bytes(), (tmp_path / "other.npy").read_bytes()]
    for content in (b"", b"not an archive", cache.read_bytes()[:-200], *others):
        cache.write_bytes(content)
        with refused(ValueError, "features.npz", "none of features", "another name"):
            folder_features(tiny(), folder / "validation", cache=cache)
        assert cache.read_bytes() == content


def test_unreadable_images_are_named_also_from_the_cache_and_the_rest_go_on(tiny, folder, tmp_path):
    broken = folder / "train" / "square" / "001.jpg"
    broken.write_text("no image")
    for _ in range(2):
        found = folder_features(tiny(), folder / "train", cache=tmp_path / "cache.npz")
        assert found.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
        assert len(found.unreadable) == 1
        assert "001.jpg" in found.unreadable[0]
    for path in (folder / "train").rglob("*.*"):
        path.write_text("no image")
    with refused(vitlib.ImageError, "none of the 9 images"):
        folder_features(tiny(), folder / "train")


def test_two_folders_are_told_apart_by_a_trained_model_and_the_model_stays_as_it_was(tiny, folder):
    model = tiny()
    model.train()
    train = folder_features(model, folder / "train")
    test = folder_features(model, folder / "validation", classes=train.classes)
    assert set(knn_accuracy(train, test)) == {10, 20}
    assert 0 <= linear_probe(train, 0.1).accuracy(test) <= 1
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert paddle.is_grad_enabled()
