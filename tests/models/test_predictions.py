"""Predictions come in batches, from any kind of images, with labels and in order."""

import io
import sys

import numpy as np
import paddle
import pytest
from conftest import refused
from PIL import Image

import vitlib
from vitlib.images import ImageError
from vitlib.models.predictions import default_batch_size


def sample_images(count):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, [40, 30 + i, 3], np.uint8)) for i in range(count)]


def saved(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer


def same(rows, expected):
    assert [[(p.label, p.index) for p in row] for row in rows] == [
        [(p.label, p.index) for p in row] for row in expected
    ]
    found, wanted = ([p.probability for row in some for p in row] for some in (rows, expected))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.fixture
def model(tiny):
    return tiny()


def test_probabilities_are_the_softmax_of_the_logits_and_labels_the_models_own(model):
    model.labels = [f"kind {i}" for i in range(7)]
    images = sample_images(3)
    logits = model(model.preprocess(images)).numpy().astype("float64")
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for row, probabilities in zip(vitlib.predict(model, images, top_k=99), expected, strict=True):
        order = np.argsort(-probabilities)
        assert [p.index for p in row] == list(order)
        assert [p.label for p in row] == [f"kind {i}" for i in order]
        np.testing.assert_allclose([p.probability for p in row], probabilities[order], rtol=1e-5)
    assert [len(row) for row in vitlib.predict(model, images)] == [5, 5, 5]
    model.labels = None
    assert vitlib.predict(model, images[0])[0][0].label.startswith("class ")


def test_images_go_through_the_model_in_batches_and_come_out_in_their_order(model):
    images, sizes = sample_images(5), []
    expected = [vitlib.predict(model, image, top_k=3)[0] for image in images]
    model.register_forward_pre_hook(lambda layer, inputs: sizes.append(inputs[0].shape[0]))
    stacked = np.stack([np.asarray(image.resize([30, 40])) for image in images])
    same(vitlib.predict(model, stacked, top_k=3), vitlib.predict(model, list(stacked), top_k=3))
    for given in (images, tuple(images), iter(images), (image for image in images), model.preprocess(images)):
        sizes.clear()
        same(vitlib.predict(model, given, top_k=3, batch_size=2), expected)
        assert sizes == [2, 2, 1]


def test_a_generator_is_read_one_batch_at_a_time(model):
    alive, most = 0, 0

    class Counted:
        def __init__(self, image):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            self.content = saved(image).getvalue()

        def read(self):
            return self.content

        def __del__(self):
            nonlocal alive
            alive -= 1

    assert len(vitlib.predict(model, (Counted(image) for image in sample_images(12)), batch_size=3)) == 12
    assert most <= 4


def test_open_files_bytes_arrays_and_paths_are_images(model, tmp_path):
    image = sample_images(1)[0]
    expected = vitlib.predict(model, image, top_k=2)
    image.save(tmp_path / "one.png")
    buffer = saved(image)
    with open(tmp_path / "one.png", "rb") as file:
        for given in (file, buffer, buffer, buffer.getvalue(), np.asarray(image), str(tmp_path / "one.png"), [buffer]):
            same(vitlib.predict(model, given, top_k=2), expected)
    same(vitlib.predict(model, tmp_path / "one.png", top_k=2), expected)


def test_a_folder_stands_for_its_images_sorted_by_path(model, tmp_path):
    images = sample_images(4)
    for name, image in zip(["b.png", "a/x.PNG", "c/d/e.jpeg", ".hidden.png"], images, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / name, quality=100)
    (tmp_path / "notes.txt").write_text("none")
    paths = [tmp_path / "a/x.PNG", tmp_path / "b.png", tmp_path / "c/d/e.jpeg"]
    for folder in (tmp_path, str(tmp_path)):
        same(vitlib.predict(model, folder, batch_size=2), vitlib.predict(model, paths))
    with refused(ImageError, "empty", "no images", ".jpg"):
        (tmp_path / "empty").mkdir()
        vitlib.predict(model, tmp_path / "empty")


def test_a_broken_image_is_named_with_its_place_in_the_whole_list(model, tmp_path):
    (tmp_path / "bad.jpg").write_text("nothing")
    with refused(ImageError, "item 3, counted from 0", "bad.jpg"):
        vitlib.predict(model, [*sample_images(3), tmp_path / "bad.jpg"], batch_size=2)
    with refused(ImageError, "list of images is empty"):
        vitlib.predict(model, [])


def test_the_default_batch_holds_what_fits_in_a_quarter_of_a_gigabyte():
    def batch(name, **options):
        with paddle.LazyGuard():
            return default_batch_size(vitlib.create_model(name, **options))

    assert batch("vit_tiny_patch16_224") == 64
    # the two largest tensors, by hand: 197 tokens with 4 * 768 hidden features; attention weights of 12 heads
    base = batch("vit_base_patch16_224")
    assert 16 <= base <= 64
    assert base * 4 * max(2 * 197 * 4 * 768, 2 * 12 * 197**2) <= 1 << 29
    assert batch("vit_huge_patch14_518") == 1
    assert batch("vit_base_patch16_224", img_size=2048) == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("tqdm", [True, False])
def test_progress_shows_on_a_terminal_and_where_it_is_asked_for(model, monkeypatch, tqdm):
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)

    def shown(stream, count, **options):
        monkeypatch.setattr(sys, "stderr", stream)
        vitlib.predict(model, model.preprocess(sample_images(count)), batch_size=2, **options)
        return stream.getvalue()

    text = shown(Terminal(), 6)
    assert "6" in text
    assert text.endswith("\n")
    assert "6" in shown(io.StringIO(), 6, progress=True)
    assert shown(Terminal(), 6, progress=False) == ""
    assert shown(io.StringIO(), 6) == ""
    assert shown(Terminal(), 2) == "", "a single batch needs no bar"


def test_arguments_that_cannot_work_are_refused_by_name(model):
    image = sample_images(1)[0]
    for name in ("top_k", "batch_size"):
        for value in (0, -1, 1.5, True, "3"):
            with refused(ValueError, f"{name}={value!r}"):
                vitlib.predict(model, image, **{name: value})
    model.labels = ["one", "two"]
    with refused(ValueError, "2 names for 7 classes"):
        vitlib.predict(model, image)


def test_without_classes_or_pooling_there_is_nothing_to_predict(tiny, model):
    model.reset_head(0)
    with refused(ValueError, "num_classes=0", "reset_head"):
        vitlib.predict(model, sample_images(1))
    with refused(ValueError, "global_pool='none'"):
        vitlib.predict(tiny(global_pool="none"), sample_images(1))


def test_a_model_in_double_precision_predicts_from_the_same_images(model):
    images = sample_images(2)
    expected = vitlib.predict(model, images)
    model.to(dtype="float64")
    same(vitlib.predict(model, images), expected)
    same(vitlib.predict(model, model.preprocess(images)), expected)


def test_pixels_that_were_not_normalised_are_refused(model):
    with refused(TypeError, "uint8", "normalise"):
        vitlib.predict(model, paddle.zeros([1, 3, 32, 32], "uint8"))
