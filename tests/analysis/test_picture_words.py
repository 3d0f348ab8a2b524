"""Colours, scales and words of pictures are those of the numbers that they stand for."""

import numpy as np
import pytest
from bright_patches import bright_model, recorded_words, spot, warmth
from conftest import refused
from PIL import Image

import vitlib
from vitlib.analysis import draw_attention, draw_classes
from vitlib.analysis.pictures.captions import Scale
from vitlib.analysis.pictures.colors import color_table
from vitlib.analysis.pictures.overlay import open_photo, overlay
from vitlib.analysis.pictures.smooth import mitchell_matrix
from vitlib.analysis.pictures.text import fitted, number, percent


@pytest.fixture
def words(monkeypatch):
    """The texts that pictures draw."""
    return recorded_words(monkeypatch)


# Colours and smoothness


def test_a_map_of_one_value_has_that_value_everywhere_and_rows_of_the_filter_sum_to_one():
    for start, end in [(0, 5), (0.3, 4.1), (2, 2.5)]:
        matrix = mitchell_matrix(5, start, end, 37)
        np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-5)
        inner = mitchell_matrix(9, start + 2, end + 2, 37)
        np.testing.assert_allclose(inner @ np.arange(9), np.linspace(start, end, 75)[1::2] + 1.5, rtol=1e-4)  # a ramp


def test_colours_are_those_of_the_scale_over_the_dimmed_photo():
    """For a map of one value v the pixel is a · colour(v) + (1 - a) · 0.65 · grey, with a = 0.8 · v^0.7."""
    model = bright_model()
    photo = open_photo(model, Image.new("RGB", (400, 400), (100, 100, 100)))
    for value in (0.0, 0.25, 1.0):
        picture = overlay(photo, np.full([8, 8], 3 * value), Scale(0.0, 3.0))
        opacity = 0.8 * value**0.7
        expected = opacity * color_table("inferno")[round(255 * value)] + (1 - opacity) * 65
        np.testing.assert_allclose(np.asarray(picture)[200, 200], expected, atol=1.6)


@pytest.mark.parametrize("name", ["inferno", "viridis"])
def test_colour_maps_grow_brighter_with_the_value(name):
    table = color_table(name).astype("float64")
    luminance = table @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -0.5).all()
    assert luminance[-1] - luminance[0] > 150


@pytest.mark.parametrize("name", ["inferno", "viridis"])
def test_colour_maps_are_matplotlibs(name):
    import matplotlib

    expected = 255 * matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    assert abs(color_table(name) - expected).max() < 14  # it is given in eleven steps
    np.testing.assert_allclose(color_table(name)[[0, 255]], expected[[0, 255]].round(), atol=1)


# Words


def test_the_strip_names_the_class_its_probability_and_the_ends_of_the_scale(words):
    model, image = bright_model(), spot((640, 480), (320, 240), side=100)
    best = vitlib.predict(model, image)[0][0]
    assert best.label == "bright"
    values = vitlib.relevance(model, image).numpy()
    draw_attention(model, image)
    assert words == [f"bright · {percent(best.probability)}", "relevance", "0", number(float(values.max()))]
    words.clear()
    draw_attention(model, image, class_index="dark")
    assert words[0] == f"dark · {percent(1 - best.probability)}"
    words.clear()
    draw_attention(model, image, method="rollout")
    shares = 100 * vitlib.attention_rollout(model, image)[0, 1:].numpy()
    assert words[1:] == ["attention rollout", number(float(shares.min()), "%"), number(float(shares.max()), "%")]


def test_two_classes_stand_side_by_side_on_one_scale(words):
    model, image = bright_model(), spot((640, 480), (320, 240), side=100)
    picture = draw_classes(model, image)
    assert [text.partition(" · ")[0] for text in words if "·" in text] == ["bright", "dark"]
    top = number(float(vitlib.relevance(model, image, 1).max()))
    assert [text for text in words if text == top] == [top] * 2
    assert picture.width > 2 * 640
    left, right = picture.crop((0, 0, 640, 480)), picture.crop((picture.width - 640, 0, picture.width, 480))
    assert warmth(left).max() > 100 > 30 > warmth(right).max()  # nothing speaks for "dark"
    with refused(ValueError, "classes=(1,)", "two"):
        draw_classes(model, image, (1,))


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0312, "0.031"), (4.21, "4.2"), (42.3, "42"), (1e-7, "1e-07"), (100, "100")]
)
def test_numbers_have_two_digits_that_count(value, text):
    assert number(value) == text
    assert number(value, "%") == f"{text} %"


@pytest.mark.parametrize(
    ("value", "text"), [(0.874, "87 %"), (1.0, "100 %"), (0.0314, "3.1 %"), (0.00099, "< 0.1 %"), (0.0, "< 0.1 %")]
)
def test_probabilities_are_percentages(value, text):
    assert percent(value) == text


def test_long_text_ends_in_an_ellipsis_and_any_script_is_drawn():
    assert fitted("short", 15, 400) == "short"
    cut = fitted("a very long label that goes on and on", 15, 100)
    assert cut.startswith("a very")
    assert cut.endswith("…")
    cut = fitted("a very long folder that goes on/0001.png", 15, 100, keep_end=True)
    assert cut.startswith("…")
    assert cut.endswith("/0001.png")
    model = bright_model()
    model.labels = ["犬", "Ünïcode → 猫 \U0001f600"]
    draw_attention(model, spot((640, 480), (320, 240), side=100))
