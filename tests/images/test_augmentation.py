"""Augmentations against timm 1.0.31 (data/augmentation.npz, from make_augmentation_references.py) and by statistics."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import PIL
import pytest
from augmentation_cases import MIXUPS, TRANSFORMS, batch
from PIL import Image

from vitlib.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ColorJitter,
    Mixup,
    Preprocess,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    SimpleRandomCrop,
    ThreeAugment,
    TrainTransform,
    random_crop,
)
from vitlib.images.operations import GEOMETRIC, TONAL

REFERENCES = dict(np.load(Path(__file__).parent / "data" / "augmentation.npz"))
IMAGE = Image.fromarray(REFERENCES["image"])
DEIT = TrainTransform(**TRANSFORMS["deit"])
# Older versions resize along the width first, whatever the shape: other roundings.
EXACT = int(PIL.__version__.split(".")[0]) >= 13
OPERATIONS = [key for key in REFERENCES if key.endswith(("/RGB", "/L"))]


@pytest.mark.parametrize("key", OPERATIONS)
def test_operation_equals_timms(key: str) -> None:
    name, level, mode = key.split("/")
    rng, image = np.random.default_rng(0), IMAGE.convert(mode)
    operation, argument = (GEOMETRIC | TONAL)[name]
    arguments = () if argument is None else (argument(float(level), rng),)
    if name in GEOMETRIC:
        arguments += (Image.Resampling.BICUBIC, (124, 116, 104) if mode == "RGB" else 124)
    result = operation(image, *arguments)
    assert result.mode == mode
    np.testing.assert_array_equal(np.asarray(result), REFERENCES[key])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_equals_timms_for_the_same_draws(name: str, seed: int) -> None:
    result = TrainTransform(**TRANSFORMS[name])(IMAGE, np.random.default_rng(seed))
    expected = REFERENCES[f"{name}/{seed}"]
    assert result.dtype == np.float32
    assert result.shape == expected.shape
    if EXACT:
        np.testing.assert_array_equal(result, expected)
    else:
        assert np.abs(result - expected).mean() < 0.05


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MIXUPS)
def test_mixup_equals_timms_for_the_same_draws(name: str, seed: int) -> None:
    images, targets = Mixup(5, **MIXUPS[name])(*batch(), np.random.default_rng(seed))
    np.testing.assert_array_equal(images, REFERENCES[f"{name}/{seed}/images"])
    np.testing.assert_array_equal(targets, REFERENCES[f"{name}/{seed}/targets"])


def test_crop_area_is_uniform_and_ratio_log_uniform() -> None:
    """Of an image so much larger than the crop that no attempt fails."""
    rng, crop = np.random.default_rng(0), RandomResizedCrop(8, scale=(0.05, 0.25))
    boxes = np.array([crop.box(1000, 1000, rng) for _ in range(4000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, log_ratio = width * height / 1e6, np.log(width / height)
    assert abs(area.mean() - 0.15) < 0.004  # four standard errors: 0.2 / sqrt(12 * 4000) * 4
    assert abs(area.std() - 0.2 / np.sqrt(12)) < 0.002
    assert abs(log_ratio.mean()) < 0.011
    assert abs(log_ratio.std() - 2 * np.log(4 / 3) / np.sqrt(12)) < 0.006
    assert abs(((boxes[:, 0] + boxes[:, 2]) / 2).mean() - 500) < 15
    assert boxes.min() >= 0
    assert boxes.max() <= 1000


@pytest.mark.parametrize(("height", "width", "box"), [(10, 1000, (493, 0, 506, 10)), (1000, 12, (0, 492, 12, 508))])
def test_an_image_too_narrow_for_any_crop_gives_its_centre(height: int, width: int, box: tuple[int, ...]) -> None:
    crop = RandomResizedCrop(8, scale=(0.9, 1.0))
    assert crop.box(height, width, np.random.default_rng(0)) == box


def test_every_image_of_few_pixels_can_be_cropped() -> None:
    rng, crop = np.random.default_rng(0), RandomResizedCrop(4)
    for shape in ((1, 1), (1, 2), (3, 1), (2, 300)):
        for _ in range(50):
            assert crop(Image.new("RGB", shape), rng).size == (4, 4)


def test_simple_crop_mirrors_about_the_outermost_pixels() -> None:
    ramp = np.arange(6, dtype=np.uint8) * 10
    image = Image.fromarray(np.add.outer(ramp, ramp // 10))
    padded = np.pad(np.asarray(image), 2, mode="reflect")
    windows = {padded[y : y + 6, x : x + 6].tobytes() for y in range(5) for x in range(5)}
    rng, crop = np.random.default_rng(0), SimpleRandomCrop(6, padding=2)
    assert {np.asarray(crop(image, rng)).tobytes() for _ in range(400)} == windows


def test_jitter_factors_stay_in_their_range_and_fill_it() -> None:
    grey, rng = Image.new("L", (1, 1), 100), np.random.default_rng(0)
    values = np.array([np.asarray(ColorJitter(brightness=0.3)(grey, rng)).item() for _ in range(1000)])
    assert 69 <= values.min() <= 72
    assert 128 <= values.max() <= 130
    assert abs(values.mean() - 99.5) < 2.2  # truncation takes half a level; 4 * 60 / sqrt(12 * 1000)


def test_jitter_draws_the_order() -> None:
    """Brightness 2 then contrast 0 of black and white gives another grey than the other way round."""
    image = Image.fromarray(np.array([[0, 100]], np.uint8))
    jitter, rng = ColorJitter(brightness=(2.0, 2.0), contrast=(0.5, 0.5)), np.random.default_rng(0)
    results = {np.asarray(jitter(image, rng)).tobytes() for _ in range(50)}
    assert len(results) == 1  # these two commute up to clipping
    image = Image.fromarray(np.array([[0, 200]], np.uint8))
    results = {np.asarray(jitter(image, rng)).tobytes() for _ in range(50)}
    assert results == {bytes([64, 191]), bytes([100, 255])}


def test_jitter_without_change_draws_the_order_alone() -> None:
    for jitter in (ColorJitter((1, 1), (1.0, 1.0), 0, (0.0, 0.0)), ColorJitter()):
        rng, other = np.random.default_rng(0), np.random.default_rng(0)
        assert jitter(IMAGE, rng) is IMAGE
        other.permutation(4)
        assert rng.random() == other.random()


@pytest.mark.parametrize(("mode", "fill", "expected"), [
    ("RGB", 128, (128, 128, 128)),
    ("RGB", (10, 20, 30), (10, 20, 30)),
    ("L", (10, 20, 33), 21),
    ("L", 128, 128),
])  # fmt: skip
def test_holes_are_filled_in_every_channel(mode: str, fill: int | tuple[int, ...], expected: int | tuple) -> None:
    white, rng = Image.new(mode, (9, 9), "white"), np.random.default_rng(0)
    augment = RandAugment(10, 1, prob=1, operations="weights", interpolation="nearest", fill=fill)
    colours = {colour for _ in range(100) for _, colour in augment(white, rng).getcolors()}
    assert expected in colours
    if mode == "RGB":
        assert all(colour == expected or len(set(colour)) == 1 for colour in colours)


@pytest.mark.parametrize("fill", ["x", (float("nan"),) * 3, (1, 2), 256, 0.5])
def test_a_fill_that_is_no_colour_is_refused(fill: object) -> None:
    with pytest.raises(ValueError, match="from 0 to 255"):
        RandAugment(fill=fill)


def test_sizes_and_ranges_may_be_numpys_and_lists() -> None:
    rng = np.random.default_rng(0)
    for crop in (RandomResizedCrop(np.int64(8)), SimpleRandomCrop(np.int64(8), np.int64(2))):
        assert crop(IMAGE, rng).size == (8, 8)
    listed = TrainTransform(8, scale=[0.1, 1.0], ratio=[0.5, 2.0], color_jitter=np.array([0.1, 0.2, 0.3]))
    plain = TrainTransform(8, scale=(0.1, 1.0), ratio=(0.5, 2.0), color_jitter=(0.1, 0.2, 0.3))
    assert listed == plain
    assert hash(listed) == hash(plain)


@pytest.mark.parametrize("shape", [(7, 640), (427, 5), (60, 90)])
def test_a_simple_crop_of_a_part_equals_that_of_the_whole(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the rounding of coordinates, as in evaluation: a level, on noise."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8))
    crop = SimpleRandomCrop((30, 17), padding=4)
    whole = [np.asarray(crop(image, np.random.default_rng(seed))).astype(int) for seed in range(40)]
    monkeypatch.setattr(random_crop, "WHOLE_UP_TO", 0)
    for seed, expected in enumerate(whole):
        difference = np.abs(np.asarray(crop(image, np.random.default_rng(seed))) - expected)
        assert difference.max() <= 1
        assert difference.mean() < 0.04


def test_a_strip_of_thirty_thousand_pixels_needs_no_memory() -> None:
    strip = Image.new("RGB", (30_000, 1), (200, 100, 50))  # resized whole it would be 224 x 6,720,000
    result = SimpleRandomCrop(224)(strip, np.random.default_rng(0))
    assert result.getcolors() == [(224 * 224, (200, 100, 50))]


def test_three_augment_takes_each_of_three_equally_often() -> None:
    rng, augment = np.random.default_rng(0), ThreeAugment()
    image = Image.fromarray(np.array([[[250, 20, 20], [0, 0, 90]]], np.uint8))
    solarized = Image.fromarray(np.array([[[5, 20, 20], [0, 0, 90]]], np.uint8))
    results = [augment(image, rng) for _ in range(900)]
    grey = sum(np.ptp(np.asarray(result), axis=2).max() == 0 for result in results)
    solar = sum(result.tobytes() == solarized.tobytes() for result in results)
    assert abs(grey - 300) < 57  # four standard deviations: 4 * sqrt(900 * 2 / 9)
    assert abs(solar - 300) < 57


def test_rand_augment_of_probability_zero_changes_nothing() -> None:
    assert RandAugment(10, layers=5, prob=0.0)(IMAGE, np.random.default_rng(0)) is IMAGE


def test_rand_augment_string_sets_what_it_names() -> None:
    assert RandAugment.from_string("rand-m9-mstd0.5-inc1") == RandAugment(9, 2, 0.5, increasing=True)
    assert RandAugment.from_string("rand-p0.8-n3-mmax30-m17-mstd101-tweights") == RandAugment(
        17, 3, float("inf"), 30, prob=0.8, operations="weights"
    )
    assert RandAugment.from_string("rand-mmax0").max_magnitude == 10  # timm: `magnitude_max or 10`


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("rand-m9-w0", "unknown part 'w0'"),
        ("rand-tfoo", "unknown part 'tfoo'"),
        ("rand-", "unknown part ''"),
        ("rand-m9.5", "the part 'm9.5': expected a whole number"),
        ("rand-mstd", "the part 'mstd': expected a number"),
        ("rand-m9-m8", "the part 'm8' sets magnitude a second time"),
        ("augmix-m3", 'expected "rand"'),
        ("rand-p2", "prob=2.0"),
    ],
)
def test_a_string_that_is_not_understood_is_refused_with_its_part(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=re.escape(part)):
        RandAugment.from_string(text)


def test_erased_area_has_the_expected_mean_and_probability() -> None:
    rng, erase = np.random.default_rng(0), RandomErasing(0.25, area=(0.02, 0.2), mode="const")
    parts = np.array([1 - erase(np.ones((1, 100, 100), np.float32), rng).mean() for _ in range(4000)])
    assert abs((parts > 0).mean() - 0.25) < 0.028  # four standard errors
    assert abs(parts[parts > 0].mean() - 0.11) < 0.007
    assert parts.max() < 0.205


def test_erasing_mode_decides_the_filling() -> None:
    def filled(mode: str) -> np.ndarray:
        image = RandomErasing(1.0, (0.2, 0.3), mode=mode)(np.full((3, 40, 40), 9, np.float32), np.random.default_rng(0))
        return image[:, image[0] != 9]

    assert not filled("const").any()
    noise, color = filled("pixel"), filled("rand")
    assert abs(noise.mean()) < 0.15
    assert abs(noise.std() - 1) < 0.1
    assert [len(np.unique(channel)) for channel in color] == [1, 1, 1]
    assert len(np.unique(color)) == 3


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_mixed_targets_sum_to_one_and_cutmix_targets_are_the_kept_area(mode: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        images = np.zeros((4, 1, 10, 10), np.float32) + np.arange(4, dtype=np.float32)[:, None, None, None]
        mixed, targets = Mixup(4, mixup_alpha=0.0, mode=mode, label_smoothing=0.0)(images, np.arange(4), rng)
        kept = (mixed == np.arange(4)[:, None, None, None]).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(targets[np.arange(4), np.arange(4)], kept, atol=1e-6)
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)


def test_mixup_keeps_the_sum_of_the_batch_and_mixes_images_as_targets() -> None:
    images = np.eye(6, dtype=np.float32)[:, :, None, None].repeat(3, axis=2)
    total = images.sum(axis=0)
    mixed, targets = Mixup(6, cutmix_alpha=0.0, label_smoothing=0.0)(images, np.arange(6), np.random.default_rng(0))
    assert mixed is images
    np.testing.assert_allclose(mixed.sum(axis=0), total, atol=1e-6)
    np.testing.assert_allclose(mixed[:, :, 0, 0], targets, atol=1e-6)


def test_cutmix_is_chosen_with_the_switching_probability() -> None:
    rng, mixup = np.random.default_rng(0), Mixup(2, switch_prob=0.3, label_smoothing=0.0)
    cut = 0
    for _ in range(1000):
        images = np.zeros((2, 1, 4, 4), np.float32)
        images[1] = 1
        mixed, _ = mixup(images, np.array([0, 1]), rng)
        cut += set(np.unique(mixed)) <= {0, 1}
    assert abs(cut / 1000 - 0.3) < 0.07


@pytest.mark.parametrize("mode", ["batch", "elem"])
def test_the_middle_of_an_odd_batch_stays_as_it_is(mode: str) -> None:
    images = np.random.default_rng(1).standard_normal((5, 1, 6, 6)).astype(np.float32)
    before = images.copy()
    mixed, targets = Mixup(5, mode=mode, label_smoothing=0.0)(images, np.arange(5), np.random.default_rng(0))
    np.testing.assert_array_equal(mixed[2], before[2])
    np.testing.assert_allclose(targets[2], np.eye(5)[2], atol=1e-6)
    assert not np.array_equal(mixed[0], before[0])


def test_smoothed_targets_without_mixing_are_those_of_label_smoothing() -> None:
    _, targets = Mixup(4, prob=0.0)(np.zeros((2, 1, 2, 2), np.float32), np.array([3, 0]), np.random.default_rng(0))
    np.testing.assert_allclose(targets, [[0.025, 0.025, 0.025, 0.925], [0.925, 0.025, 0.025, 0.025]], atol=1e-7)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 1, 2, 2), np.float32), np.arange(3), "batch of 3"),
        (np.zeros((2, 1, 2, 2)), np.arange(2), "float64"),
        (np.zeros((2, 1, 2, 2), np.float32), np.array([0, 4]), "from 0 to 4; expected 0 to 3"),
        (np.zeros((2, 1, 2, 2), np.float32), np.array([-1, 2]), "from -1"),
        (np.zeros((2, 1, 2, 2), np.float32), np.zeros((2, 4), np.float32), "whole numbers"),
        (np.broadcast_to(np.float32(0), (2, 1, 2, 2)), np.arange(2), "read-only"),
    ],
)
def test_mixup_refuses_batches_that_it_cannot_mix(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixup(4, mode="pair")(images, labels, np.random.default_rng(0))


def test_the_same_seed_gives_the_same_array_and_another_seed_another() -> None:
    first, again, other = (DEIT(IMAGE, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_pickled_transform_gives_the_same_array() -> None:
    copy = pickle.loads(pickle.dumps(DEIT))
    assert copy == DEIT
    np.testing.assert_array_equal(copy(IMAGE, np.random.default_rng(1)), DEIT(IMAGE, np.random.default_rng(1)))


def test_transform_writes_to_a_row_of_a_batch() -> None:
    images = np.zeros((2, 3, 24, 24), np.float32)
    DEIT(IMAGE, np.random.default_rng(1), out=images[1])
    np.testing.assert_array_equal(images[1], DEIT(IMAGE, np.random.default_rng(1)))
    assert not images[0].any()
    with pytest.raises(ValueError, match=r"expected float32 \[3, 24, 24\]"):
        DEIT(IMAGE, np.random.default_rng(1), out=images)


@pytest.mark.parametrize("auto_augment", [None, "3a", "rand-m9-n5-p1-mstd0.5-inc1"])
def test_grey_images_go_through_every_step(auto_augment: str | None) -> None:
    transform = TrainTransform(
        16, auto_augment=auto_augment, color_jitter=(0.3, 0.3, 0.3, 0.3), erasing=0.5, mean=(0.5,), std=(0.5,)
    )
    rng = np.random.default_rng(0)
    for _ in range(30):
        assert transform(IMAGE, rng).shape == (1, 16, 16)


def test_nothing_random_is_the_evaluation_transform_without_crop() -> None:
    square = IMAGE.crop((0, 0, 48, 48))
    evaluation = Preprocess(size=24, crop_fraction=1.0, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    training = TrainTransform.from_preprocess(evaluation, scale=(1.0, 1.0), ratio=(1.0, 1.0), hflip=0.0)
    np.testing.assert_array_equal(training(square, np.random.default_rng(0)), evaluation.array(square))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": None}, "size=None"),
        ({"scale": (1.0, 0.1)}, "in this order"),
        ({"ratio": (0, 1)}, "expected a number in .1e-6, 1e6"),
        ({"hflip": 1.5}, "expected a number in .0, 1"),
        ({"interpolation": "bicubics"}, "did you mean 'bicubic'"),
        ({"auto_augment": "rand-x3"}, "unknown part 'x3'"),
        ({"color_jitter": (0.1, 0.2)}, "three or four"),
        ({"color_jitter": (0.1, 0.2, 0.3, 0.7)}, "hue=0.7"),
        ({"erasing_mode": "noise", "erasing": 0.1}, "mode='noise'"),
        ({"erasing_count": 0}, "at least 1"),
        ({"mean": (0.5, 0.5)}, "2 channels"),
        ({"crop": "centre"}, "expected one of 'resized', 'simple'"),
        ({"color_jitter": float("inf")}, "expected a number in .0, inf"),
        ({"ratio": (1, float("inf"))}, "expected a number in .1e-6, 1e6"),
        ({"auto_augment": 9}, 'expected "rand"'),
    ],
)
def test_fields_that_cannot_work_are_refused_when_the_record_is_made(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DEIT.replace(**fields)


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'color_jitter'"):
        TrainTransform.from_preprocess(Preprocess(size=8), colour_jitter=0.3)


@pytest.mark.parametrize(
    "fields",
    [
        {"mixup_alpha": 0, "cutmix_alpha": 0},
        {"mode": "half"},
        {"cutmix_minmax": 0.3},
        {"mixup_alpha": float("inf")},
        {"cutmix_alpha": float("inf")},
    ],
)
def test_mixup_settings_that_cannot_work_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"expected|nothing would be mixed"):
        Mixup(10, **fields)


def test_a_seed_is_the_generator_with_that_seed() -> None:
    np.testing.assert_array_equal(DEIT(IMAGE, 3), DEIT(IMAGE, np.random.default_rng(3)))
    assert DEIT.augment(IMAGE, 3).tobytes() == DEIT.augment(IMAGE, np.random.default_rng(3)).tobytes()


def test_a_record_of_numpy_numbers_is_json_and_comes_back_equal() -> None:
    transform = TrainTransform(
        hflip=np.float32(0.25), scale=np.array([0.5, 1]), color_jitter=np.float64(0.5), erasing_count=np.int64(2)
    )
    values = json.loads(json.dumps(transform.to_dict()))
    assert values["scale"] == [0.5, 1]
    assert TrainTransform.from_dict(values) == transform
