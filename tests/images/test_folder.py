import gc
import os
import shutil
import warnings

import numpy as np
import paddle
import pytest
from conftest import refused
from PIL import Image

from vitlib.images import ImageError, ImageFolder, Preprocess, Sample, TrainTransform, collate, load_batches
from vitlib.images.decode import decode
from vitlib.training import EpochSampler


def noisy(image, rng):
    """A transform that shows both of its inputs."""
    return np.asarray(image, np.float32).transpose(2, 0, 1) + rng.random((3, 1, 1), np.float32)


@pytest.fixture
def folder(tmp_path):
    """cat: 0.png, 1.png, deep/2.JPG; dog: 0.png; each filled with its number among all, times 10."""
    for number, name in enumerate(("cat/0.png", "cat/1.png", "cat/deep/2.JPG", "dog/0.png")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 6), (10 * number,) * 3).save(path, "PNG")
    return tmp_path


@pytest.fixture
def broken(folder):
    (folder / "cat/1.png").write_bytes((folder / "cat/1.png").read_bytes()[:50])
    return folder


def test_samples_are_sorted_by_class_and_path_at_any_depth(folder):
    (folder / "cat/notes.txt").write_text("x")
    (folder / "cat/.hidden.png").write_text("x")
    (folder / ".ipynb_checkpoints").mkdir()
    dataset = ImageFolder(folder)
    assert dataset.classes == ["cat", "dog"]
    names = [("cat/0.png", 0), ("cat/1.png", 0), ("cat/deep/2.JPG", 0), ("dog/0.png", 1)]
    assert dataset.samples == [(str(folder / name), label) for name, label in names]
    assert dataset.labels.tolist() == [0, 0, 0, 1]
    assert dataset.labels.dtype == np.int64
    assert dataset.ignored == [str(folder / "cat/notes.txt")]
    assert [sample.image.getpixel((0, 0))[0] for sample in dataset] == [0, 10, 20, 30]


def test_folders_that_link_to_themselves_are_read_once(folder):
    (folder / "cat/again").symlink_to(folder / "cat")
    assert len(ImageFolder(folder)) == 4


def test_augmentation_depends_on_seed_and_draw_alone(folder):
    dataset = ImageFolder(folder, noisy, seed=3)
    expected = np.random.default_rng([3, 9]).random((3, 1, 1), np.float32) + np.full((3, 6, 4), 20, np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(dataset[2, 9].image, expected)
        dataset[0, 1]
    assert not np.array_equal(dataset[2, 8].image, expected)
    assert not np.array_equal(ImageFolder(folder, noisy, seed=4)[2, 9].image, expected)
    np.testing.assert_array_equal(dataset[-2, 9].image, expected)


def seen_by(loader, epochs=3):
    """The images of some epochs, as bytes."""
    return [image.tobytes() for _ in range(epochs) for batch in loader for image in batch[0].numpy()]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampled", [False, True])
def test_an_image_is_augmented_otherwise_at_each_visit(folder, workers, sampled):
    dataset = ImageFolder(folder, noisy)
    options = {"batch_sampler": EpochSampler(4, 2)} if sampled else {"batch_size": 2}
    seen = seen_by(paddle.io.DataLoader(dataset, collate_fn=collate, num_workers=workers, **options))
    assert len(set(seen)) == len(seen) == 12
    gc.collect()  # of the loader, lest a forked worker of the next waits for its threads (Paddle 3.0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_alone_is_that_of_any_data_set_and_repeatable_by_a_seed(folder, workers):
    class Images(paddle.io.Dataset):
        def __init__(self, transform):
            super().__init__()
            self.transform = transform

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return self.transform(Image.new("RGB", (32, 32), (10 * index, 90, 0))), index

    dataset = Images(TrainTransform(16, auto_augment="rand-m9-mstd0.5-inc1", erasing=1.0))
    runs = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        runs.append(seen_by(paddle.io.DataLoader(dataset, batch_size=2, num_workers=workers)))
        gc.collect()
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) == 12


@pytest.mark.parametrize("mean", [(0.5,), (0.5,) * 3])
def test_preprocess_gives_what_it_gives_for_the_path(folder, mean):
    preprocess = Preprocess(size=4, mean=mean, std=mean)
    dataset = ImageFolder(folder, preprocess=preprocess)
    np.testing.assert_array_equal(dataset[3].image, preprocess.array(dataset.samples[3][0]))
    assert dataset[3].image.shape == (len(mean), 4, 4)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_image_with_an_orientation_tag_is_turned_once(tmp_path, mode):
    """Orientation 6: what was stored as the top row is seen as the right column."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    (tmp_path / "a").mkdir()
    Image.fromarray(stored).convert(mode).save(tmp_path / "a/0.png", exif=exif)
    seen = np.rot90(stored, -1)

    def plain(image, rng):
        return np.asarray(decode(image), np.float32).transpose(2, 0, 1)

    preprocess = Preprocess(size=(6, 4), crop_fraction=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    transform = TrainTransform((6, 4), scale=(1, 1), ratio=(4 / 6, 4 / 6), hflip=0, mean=(0.0,) * 3, std=(1.0,) * 3)
    path = tmp_path / "a/0.png"
    for values in (
        ImageFolder(tmp_path, preprocess=preprocess)[0].image * 255,
        ImageFolder(tmp_path, transform)[0].image * 255,
        ImageFolder(tmp_path, plain)[0].image,
        preprocess.array(preprocess.crop(path)) * 255,
        np.asarray(decode(decode(path))).transpose(2, 0, 1),
    ):
        np.testing.assert_allclose(values, np.stack([seen] * 3), atol=1e-3)


def test_pillow_images_are_not_made_a_batch(folder):
    dataset = ImageFolder(folder)
    with refused(ValueError, "sample 0 is a Pillow image", "transform or preprocess"):
        collate([dataset[0], dataset[1]])


def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch):
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    with refused(OSError, "deep", "cannot be listed", "Permission denied", "make it readable"):
        ImageFolder(folder)


@pytest.mark.parametrize("seed", [1.5, float("nan"), -1, None, "3", True])
def test_a_seed_that_cannot_work_is_refused_at_once(folder, seed):
    with refused(ValueError, f"seed={seed!r}", "whole number"):
        ImageFolder(folder, seed=seed)


@pytest.mark.parametrize("key", [1.5, (1, 1.7)])
def test_positions_are_whole_numbers(folder, key):
    with pytest.raises(TypeError, match="integer"):
        ImageFolder(folder, noisy)[key]


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_skip_and_name_what_is_unreadable(broken, workers):
    (broken / "dog/1.png").write_text("no image")
    dataset = ImageFolder(broken, noisy, seed=1)
    keys = [[(0, 7), (1, 8), (2, 9)], [(1, 10), (4, 11)], [(3, 12)]]
    for loader in (
        load_batches(dataset, keys, num_workers=workers),
        paddle.io.DataLoader(dataset, batch_sampler=keys, collate_fn=collate, num_workers=workers),
        paddle.io.DataLoader(
            dataset, batch_sampler=keys, collate_fn=collate, num_workers=workers, use_shared_memory=False
        ),
    ):
        gc.collect()  # of the loader before, lest a forked worker waits for its threads (Paddle 3.0)
        batches = list(loader)
        assert [batch[2].tolist() for batch in batches] == [[0, 2], [1, 4], [3]]
        images, labels, _, unreadable = batches[0]
        np.testing.assert_array_equal(images.numpy(), np.stack([dataset[0, 7].image, dataset[2, 9].image]))
        assert images.dtype == paddle.float32
        assert labels.dtype == paddle.int64
        assert len(unreadable) == 1
        assert unreadable[0].startswith(repr(str(broken / "cat/1.png")))
        assert labels.tolist() == [0, 0]
        assert list(batches[1][:2]) == [None, None]
        assert len(batches[1][3]) == 2
        assert batches[2][3] == []


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_raise_when_told_so(broken, workers):
    dataset = ImageFolder(broken, noisy, on_unreadable="raise")
    with refused(ImageError, "cat/1.png"):
        list(load_batches(dataset, [[0], [1]], num_workers=workers))
    with refused(ImageError, "cat/1.png"):
        dataset[1]


def test_errors_of_a_transform_are_not_taken_for_unreadable_images(folder):
    def wrong(image, rng):
        raise ImageError("a mistake")

    with refused(ImageError, "a mistake"):
        ImageFolder(folder, wrong)[0]


def test_a_file_that_disappears_is_unreadable(folder):
    dataset = ImageFolder(folder, noisy)
    (folder / "dog/0.png").unlink()
    assert dataset[3].image is None
    assert "disappeared" in dataset[3].reason


def test_a_batch_of_different_shapes_is_refused(folder):
    with refused(ValueError, "[3, 6, 4]", "[3, 5, 4]", "sample 8"):
        collate([Sample(np.zeros((3, 6, 4)), 0, 7), Sample(np.zeros((3, 5, 4)), 0, 8)])


def test_bad_folders_are_refused(folder, tmp_path):
    with refused(FileNotFoundError, "nowhere"):
        ImageFolder(tmp_path / "nowhere")
    with refused(NotADirectoryError, "0.png"):
        ImageFolder(folder / "dog/0.png")
    with refused(ValueError, "lie directly", "'0.png'", "subfolder"):
        ImageFolder(folder / "dog")
    (folder / "eel/deep").mkdir(parents=True)
    (folder / "eel/deep/x.mp4").write_text("")
    with refused(ValueError, "'eel'", "1 file passed over: 1 .mp4", ".jpg"):
        ImageFolder(folder)
    with refused(ValueError, "no subfolders"):
        ImageFolder(folder / "eel/deep")


def test_classes_must_be_those_of_the_folder(folder):
    assert ImageFolder(folder, classes=["dog", "cat"]).labels.tolist() == [0, 1, 1, 1]
    with refused(ValueError, "lacks 'eel'", "has 'dog' besides"):
        ImageFolder(folder, classes=["cat", "eel"])
    with refused(ValueError, "'cat' more than once"):
        ImageFolder(folder, classes=["cat", "cat", "dog"])


def test_folders_of_operating_systems_are_passed_over(folder):
    for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "cat/@eaDir", "dog/__MACOSX"):
        (folder / name).mkdir()
        shutil.copy(folder / "dog/0.png", folder / name / "x.png")
    dataset = ImageFolder(folder)
    assert dataset.classes == ["cat", "dog"]
    assert (len(dataset), dataset.ignored) == (4, [])


def test_names_are_the_same_whether_their_letters_are_composed_or_not(tmp_path):
    composed, decomposed = "\u00c9clair", "E\u0301clair"
    for part, names in (("train", [decomposed, "Zander"]), ("mixed", [composed, decomposed, "Zander"])):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / part / name / f"{len(name)}.png")
    train = ImageFolder(tmp_path / "train")
    assert train.classes == ["Zander", composed]
    mixed = ImageFolder(tmp_path / "mixed", classes=train.classes)
    assert mixed.labels.tolist() == [0, 1, 1]
    assert all(sample.image is not None for sample in mixed)
    assert ImageFolder(tmp_path / "mixed", classes=["Zander", decomposed]).labels.tolist() == [0, 1, 1]
    assert ImageFolder(tmp_path / "mixed").labels.tolist() == [0, 1, 1]


def test_a_class_without_images_keeps_its_label_where_that_is_allowed(folder):
    (folder / "eel").mkdir()
    with refused(ValueError, "'eel' has no images", "allow_empty"):
        ImageFolder(folder)
    assert ImageFolder(folder, allow_empty=True).classes == ["cat", "dog", "eel"]
    with refused(ValueError, "lacks 'ant'", "allow_empty"):
        ImageFolder(folder, classes=["ant", "cat", "dog", "eel"])
    dataset = ImageFolder(folder, classes=["ant", "eel", "cat", "dog"], allow_empty=True)
    assert dataset.labels.tolist() == [2, 2, 2, 3]
    assert dataset.classes == ["ant", "eel", "cat", "dog"]
    with refused(ValueError, "has 'cat' besides"):
        ImageFolder(folder, classes=["ant", "dog", "eel"], allow_empty=True)
    for name in ("a/1.txt", "b/2.txt"):
        (folder / "none" / name).parent.mkdir(parents=True)
        (folder / "none" / name).write_text("")
    with refused(ValueError, "has no images", "2 .txt"):
        ImageFolder(folder / "none", allow_empty=True)


def test_images_of_other_kinds_are_counted_by_their_ending_and_taken_where_asked_for(folder):
    image = Image.new("RGB", (4, 4))
    for number in range(8):
        for ending, kind in ((".GIF", "GIF"), (".jfif", "JPEG"), (".avif", "PNG"), (".heic", "PNG")):
            image.save(folder / "dog" / f"{number}{ending}", kind)
    (folder / "cat" / "list.txt").write_text("")
    counted = (
        r"33 files passed over: 8 \.avif, 8 \.gif, 8 \.heic, 8 \.jfif, 1 \.txt; extensions .*pip install pillow-heif"
    )
    with pytest.warns(UserWarning, match=counted):
        dataset = ImageFolder(folder)
    assert (len(dataset), len(dataset.ignored)) == (4, 33)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = ImageFolder(folder, extensions=(".png", "JPG", "gif", ".jfif", ".avif", ".heic"))
    assert (len(dataset), len(dataset.ignored)) == (36, 1)
    assert all(sample.image is not None for sample in dataset)
    for extensions in (".png", [], [1]):
        with refused(ValueError, f"extensions={extensions!r}", "('.jpg', '.png')"):
            ImageFolder(folder, extensions=extensions)


def test_a_share_of_each_class_is_set_apart_by_a_seed(tmp_path):
    for name, count in (("ant", 10), ("bee", 4), ("cat", 1)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{number}.png")
    dataset = ImageFolder(tmp_path, noisy)
    rest, part = dataset.split(0.2)
    assert np.bincount(part.labels, minlength=3).tolist() == [2, 1, 0]  # 0.8 images are one, and one of one is kept
    assert sorted(rest.samples + part.samples) == dataset.samples
    assert rest.classes == part.classes == dataset.classes
    assert [rest.samples[i][1] for i in range(len(rest))] == rest.labels.tolist()
    assert len(dataset) == 15
    assert dataset.split(0.2)[1].samples == part.samples != dataset.split(0.2, seed=1)[1].samples
    assert np.bincount(dataset.split(0.99)[0].labels).tolist() == [1, 1, 1]
    for share in (0, 1, float("nan")):
        with refused(ValueError, f"share={share}", "(0, 1)"):
            dataset.split(share)
    for name in ("ant", "bee"):
        shutil.rmtree(tmp_path / name)
    with refused(ValueError, "no class with two images"):
        ImageFolder(tmp_path).split(0.5)


def test_arguments_that_cannot_work_are_refused(folder):
    preprocess = Preprocess(size=4)
    with refused(ValueError, "transform", "preprocess"):
        ImageFolder(folder, noisy, preprocess=preprocess)
    with refused(TypeError, "preprocess="):
        ImageFolder(folder, preprocess)
    with refused(ValueError, "no size"):
        ImageFolder(folder, preprocess=Preprocess())
    with refused(ValueError, "5 channels"):
        ImageFolder(folder, preprocess=preprocess.with_channels(5))
    with refused(ValueError, "ignore"):
        ImageFolder(folder, on_unreadable="ignore")
    with refused(IndexError, "4"):
        ImageFolder(folder)[4]


@pytest.mark.parametrize(
    "options",
    [
        {"transform": TrainTransform(4, squash=(5, 6), color_jitter=0.3, erasing=0.5)},
        {"preprocess": Preprocess(4)},
        {"preprocess": Preprocess(4, mean=(0.5,), std=(0.5,))},
        {"transform": noisy},
    ],
)
def test_images_from_the_cache_equal_those_from_the_files(folder, options):
    plain, cached = ImageFolder(folder, **options), ImageFolder(folder, cache=10**6, **options)
    for draw in range(3):
        for index in range(4):
            assert (plain[index, draw].image == cached[index, draw].image).all()
    assert len(cached.cache) == 4


def test_cached_images_are_not_read_again(folder):
    dataset = ImageFolder(folder, noisy, cache=10**6)
    first = dataset[2, 0]
    (folder / "cat/deep/2.JPG").unlink()
    assert (dataset[2, 0].image == first.image).all()
    assert dataset[2, 1].image is not None


def test_the_cache_holds_three_bytes_a_pixel_and_no_more_than_its_limit(folder):
    dataset = ImageFolder(folder, noisy, cache=2 * 3 * 4 * 6 + 5)
    dataset.fill_cache()
    assert (len(dataset.cache), dataset.cache.num_bytes) == (2, 2 * 3 * 4 * 6)
    assert (dataset[3, 0].image == ImageFolder(folder, noisy)[3, 0].image).all()


def test_images_larger_than_twice_the_input_are_cached_smaller(folder):
    Image.new("RGB", (120, 40)).save(folder / "dog/0.png")
    dataset = ImageFolder(folder, TrainTransform(10, scale=(0.5, 1)), cache=10**6)
    dataset[3, 0]
    assert dataset.cache.num_bytes == 60 * 20 * 3


def test_the_smallest_crop_of_a_cached_image_has_the_pixels_of_the_input(folder):
    Image.new("RGB", (200, 200)).save(folder / "dog/0.png")
    dataset = ImageFolder(folder, TrainTransform(10, scale=(0.01, 1)), cache=10**6)
    dataset[3, 0]
    assert dataset.cache.num_bytes == 100 * 100 * 3  # a hundredth of it is 10 x 10


def test_a_full_cache_is_filled_once_for_each_transform(folder):
    read = []
    dataset = ImageFolder(folder, noisy, cache=2 * 3 * 4 * 6 + 5)
    decoded = dataset._decoded
    dataset._decoded = lambda path: read.append(path) or decoded(path)
    dataset.fill_cache()
    assert len(read) == 3  # the third has no room
    dataset.fill_cache()
    assert len(read) == 3
    dataset.transform = TrainTransform(4, squash=5)
    dataset.fill_cache()
    assert len(read) == 5  # 5 x 5 pixels: the second has no room


def test_another_transform_empties_the_cache(folder):
    dataset = ImageFolder(folder, TrainTransform(4, squash=5), cache=10**6)
    dataset.fill_cache()
    dataset.transform = TrainTransform(4, squash=6)
    expected = ImageFolder(folder, dataset.transform)
    assert (dataset[1, 7].image == expected[1, 7].image).all()
    assert (len(dataset.cache), dataset.cache.num_bytes) == (1, 6 * 6 * 3)


def test_without_a_limit_nothing_is_kept(folder):
    dataset = ImageFolder(folder, noisy)
    dataset.fill_cache()
    dataset[0, 0]
    assert len(dataset.cache) == 0
    with refused(ValueError, "cache"):
        ImageFolder(folder, noisy, cache=-1)


def test_unreadable_images_are_told_with_a_cache_too(broken):
    dataset = ImageFolder(broken, noisy, cache=10**6)
    dataset.fill_cache()
    assert dataset[1, 0].image is None
    assert "1.png" in dataset[1, 0].reason


def test_workers_find_the_cache_filled_in_every_epoch(folder):
    dataset = ImageFolder(folder, TrainTransform(4, squash=5), cache=10**6)
    for _ in range(2):
        order = EpochSampler(len(dataset), 2, drop_last=False)
        batches = [images.shape[0] for images, *_ in load_batches(dataset, order, num_workers=1)]
        assert batches == [2, 2]
        for path, _ in dataset.samples:
            if os.path.exists(path):
                os.unlink(path)
