"""The box of what a model sees is where things of the image turn up in its input."""

import numpy as np
import pytest
from conftest import refused
from PIL import Image

from vitlib import Preprocess
from vitlib.images.crop_box import crop_box


def centroid(image):
    """(x, y) of the brightness."""
    grey = np.asarray(image.convert("L"), "float64")
    return [(grey * (axis + 0.5)).sum() / grey.sum() for axis in np.indices(grey.shape)[::-1]]


@pytest.mark.parametrize("rule", ["short", "squash", "border"])
@pytest.mark.parametrize("fraction", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("size", [64, (48, 80)], ids=str)
@pytest.mark.parametrize("image", [(300, 200), (200, 300), (240, 240), (70, 400)], ids=str)
def test_a_spot_of_the_image_turns_up_where_the_box_says(rule, fraction, size, image):
    width, height = image
    preprocess = Preprocess(size=size, resize=rule, crop_fraction=fraction, mean=(0, 0, 0))
    left, top, right, bottom = crop_box(preprocess, (height, width))
    for x, y in [(0.5, 0.5), (0.47, 0.54), (0.53, 0.46)]:
        canvas = Image.new("RGB", image)
        at = round(left + x * (right - left)), round(top + y * (bottom - top))
        canvas.paste((255, 255, 255), (at[0] - 4, at[1] - 4, at[0] + 4, at[1] + 4))
        seen = preprocess.crop(canvas)
        found = centroid(seen)
        expected = [(at[0] - left) / (right - left) * seen.width, (at[1] - top) / (bottom - top) * seen.height]
        np.testing.assert_allclose(found, expected, atol=0.51)  # the size is rounded to whole pixels before the crop


def test_whole_images_have_the_whole_as_their_box():
    assert crop_box(Preprocess(size=100, crop_fraction=1.0, resize="squash"), (300, 200)) == (0, 0, 200, 300)
    assert crop_box(Preprocess(size=100, crop_fraction=1.0), (300, 200)) == (0, 50, 200, 250)
    left, top, right, bottom = crop_box(Preprocess(size=100, crop_fraction=1.0, resize="border"), (300, 200))
    assert (top, bottom) == (0, 300)
    assert left < 0 < 200 < right


def test_a_preprocessing_without_a_size_has_no_box():
    with refused(ValueError, "no size"):
        crop_box(Preprocess(), (300, 200))
