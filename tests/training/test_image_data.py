"""The parts of a data set: what each of them is read with, and what is refused."""

import shutil

import numpy as np
import paddle
import pytest
from conftest import refused
from shapes import CLASSES, draw_folder

import vitlib
from vitlib.images import Mixup, Preprocess, TrainTransform
from vitlib.training import ImageData


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("shapes"), train=4, validation=2, test=3)


def test_training_is_augmented_and_evaluation_is_not(root, tiny):
    data = ImageData(root, ["validation", "test"], batch_size=5)
    model = tiny(num_classes=3)
    transform = TrainTransform.from_preprocess(model.preprocess)
    data.prepare(transform, model.preprocess)
    assert data.classes == CLASSES
    seen = []
    for epoch in range(2):
        data.sampler.set_epoch(epoch)
        for images, labels, indices, unreadable in data.batches():
            assert images.shape == [5, 3, 32, 32]
            assert labels.tolist() == data.train.labels[indices.numpy()].tolist()
            assert unreadable == []
            seen += [image.tobytes() for image in images.numpy()]
    assert len(set(seen)) == 2 * 2 * 5

    found = data.evaluate(model, "test")
    images = sorted((root / "test").glob("*/*"))
    said = [row[0].label for row in vitlib.predict(model, [str(path) for path in images], top_k=1)]
    assert [f"class {index}" for index in found.predictions["model"]] == said
    assert found.labels.tolist() == np.repeat([0, 1, 2], 3).tolist()


def test_images_without_transforms_are_refused(root, tiny):
    data = ImageData(root, batch_size=2)
    for use in (data.batches, lambda: data.evaluate(tiny())):
        with refused(RuntimeError, "prepare"):
            use()


def test_a_folder_named_val_is_that_of_validation(tmp_path):
    draw_folder(tmp_path, train=2, validation=1)
    (tmp_path / "validation").rename(tmp_path / "val")
    data = ImageData(tmp_path, batch_size=2)
    assert data.parts["validation"].root == str(tmp_path / "val")
    assert (len(data.train), data.notes) == (6, [])
    (tmp_path / "validation").mkdir()
    with refused(ValueError, "both validation/ and val/"):
        ImageData(tmp_path, batch_size=2)


@pytest.mark.parametrize("flat", [False, True])
def test_without_a_folder_for_validation_a_share_is_set_apart_and_told(tmp_path, flat):
    draw_folder(tmp_path, train=10, validation=0)
    folder = tmp_path / "train" if flat else tmp_path
    data = ImageData(folder, batch_size=2)
    assert data.classes == CLASSES
    assert (len(data.train), len(data.parts["validation"])) == (27, 3)
    assert data.notes == [
        "there is no folder for validation, so 3 of 30 training images are set apart for it (10 % of each class, "
        "always the same ones)"
    ]
    other = ImageData(folder, batch_size=2, seed=5, validation_share=0.4)
    assert (len(other.train), len(other.parts["validation"])) == (18, 12)
    assert not {*other.train.samples} & {*other.parts["validation"].samples}
    again = ImageData(folder, batch_size=2, seed=6, validation_share=0.4)
    assert again.parts["validation"].samples == other.parts["validation"].samples
    with refused(ValueError, "share=1.5", "(0, 1)"):
        ImageData(folder, batch_size=2, validation_share=1.5)


def test_a_share_of_the_training_images_of_each_class_is_drawn_by_the_seed(root):
    drawn = [ImageData(root, ["validation", "test"], batch_size=2, seed=seed, train_share=0.5) for seed in (0, 0, 1)]
    assert [sorted(data.train.labels.tolist()) for data in drawn] == [[0, 0, 1, 1, 2, 2]] * 3
    assert drawn[0].train.samples == drawn[1].train.samples != drawn[2].train.samples
    assert drawn[0].notes == ["6 of 12 training images are trained on"]
    assert (len(drawn[0].sampler), len(drawn[0].parts["validation"]), len(drawn[0].parts["test"])) == (3, 6, 9)
    with refused(ValueError, "share"):
        ImageData(root, batch_size=2, train_share=1.5)


def test_no_class_is_lost_by_a_share_of_the_training_images(tmp_path):
    draw_folder(tmp_path, train=20, validation=1)
    for number, path in enumerate(sorted((tmp_path / "train" / CLASSES[0]).iterdir())):
        if number:
            path.unlink()
    data = ImageData(tmp_path, batch_size=2, train_share=0.1)
    assert np.bincount(data.train.labels).tolist() == [1, 2, 2]


def test_a_validation_share_beside_a_folder_is_refused(root):
    with refused(ValueError, "validation share", "validation/"):
        ImageData(root, batch_size=2, validation_share=0.2)


def test_a_class_that_a_part_lacks_keeps_its_label_and_is_told(tmp_path, tiny):
    draw_folder(tmp_path, train=2, validation=2)
    shutil.rmtree(tmp_path / "validation" / "square")
    data = ImageData(tmp_path, batch_size=2)
    assert data.notes == ["validation/ has no images of 'square'"]
    model = tiny(num_classes=3)
    data.prepare(TrainTransform.from_preprocess(model.preprocess), model.preprocess)
    assert data.evaluate(model).labels.tolist() == [0, 0, 2, 2]


def test_too_few_images_or_classes_are_told(tmp_path):
    draw_folder(tmp_path, train=2, validation=1)
    with refused(ValueError, "6 training images", "a batch of 7"):
        ImageData(tmp_path, batch_size=7)
    for name in CLASSES[1:]:
        for part in ("train", "validation"):
            shutil.rmtree(tmp_path / part / name)
    with refused(ValueError, "one class, 'circle'", "two or more"):
        ImageData(tmp_path, batch_size=1)


def test_the_parts_must_have_the_classes_of_train(root, tmp_path):
    ImageData(root, batch_size=2)
    with refused(FileNotFoundError, "check"):
        ImageData(root, ["check"], batch_size=2)
    draw_folder(tmp_path, train=1, validation=1)
    (tmp_path / "validation" / "square").rename(tmp_path / "validation" / "oblong")
    with refused(ValueError, "lacks 'square' and has 'oblong' besides"):
        ImageData(tmp_path, batch_size=1)


def test_steps_of_an_epoch_are_whole_accumulations(root):
    data = ImageData(root, batch_size=2)
    assert [data.steps_per_epoch(accumulate) for accumulate in (1, 2, 4, 6)] == [6, 3, 1, 1]
    with refused(ValueError, "6 batches", "7"):
        data.steps_per_epoch(7)
    with refused(ValueError, "accumulate=0", "at least 1"):
        data.steps_per_epoch(0)


def test_mixing_depends_on_the_seed_and_the_number_of_the_batch(root):
    images, labels = np.random.default_rng(0).random((4, 3, 8, 8), "float32"), np.array([0, 1, 2, 0])
    tensors = paddle.to_tensor(images), paddle.to_tensor(labels)
    data, mixup = ImageData(root, batch_size=2, seed=5), Mixup(3, label_smoothing=0)
    data.prepare(TrainTransform(8), Preprocess(8))
    assert all(found is given for found, given in zip(data.mix(*tensors), tensors, strict=True))
    data.prepare(TrainTransform(8), Preprocess(8), mixup)
    for number in range(8):  # an epoch has 6
        assert data.batch_number == number
        expected = mixup(images.copy(), labels, np.random.default_rng([5, number, 1]))
        for found, wanted in zip(data.mix(*tensors), expected, strict=True):
            assert (found.numpy() == wanted).all()
        data.sampler.advance()
    assert (tensors[0].numpy() == images).all()
