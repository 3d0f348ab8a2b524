"""Pictures show the map of an image in the right place of that image, with the right words."""

import numpy as np
import pytest
from bright_patches import bright_model, centre, recorded_words, spot, warmth
from conftest import refused
from PIL import Image

import vitlib
from vitlib.analysis import draw_attention, draw_heads, draw_page
from vitlib.analysis.pictures.colors import color_table
from vitlib.analysis.pictures.overlay import open_photo

METHODS = ["relevance", "rollout", "attention"]
SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "num_heads": 2, "depth": 1}
UPRIGHT = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


@pytest.fixture
def words(monkeypatch):
    """The texts that pictures draw."""
    return recorded_words(monkeypatch)


# Where the map lies


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("size", "at"),
    [((640, 480), (250, 180)), ((480, 640), (300, 400)), ((1200, 500), (520, 330)), ((900, 900), (700, 200))],
    ids=str,
)
@pytest.mark.parametrize(
    "preprocess",
    [{}, {"crop_fraction": 0.6}, {"resize": "squash"}, {"resize": "border", "crop_fraction": 1.0}],
    ids=str,
)
def test_the_picture_is_brightest_where_the_model_looks(method, size, at, preprocess):
    model = bright_model()
    model.preprocess = model.preprocess.replace(**preprocess)
    picture = draw_attention(model, spot(size, at, side=80), method=method).crop((0, 0, *size))
    heat = warmth(picture)
    x, y = centre(np.where(heat > 0.6 * heat.max(), heat, 0))
    patch = 8 / 64 * max(size) / 0.6  # the place is known up to about half a patch
    assert abs(x - at[0]) < patch / 2
    assert abs(y - at[1]) < patch / 2


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photograph_is_shown_upright_with_the_map_on_it(tmp_path, orientation):
    model, upright = bright_model(), spot((640, 480), (250, 180), side=80)
    tags = Image.Exif()
    tags[0x0112] = orientation
    upright.transpose(UPRIGHT[orientation]).save(tmp_path / "turned.png", exif=tags)
    found, expected = draw_attention(model, tmp_path / "turned.png"), draw_attention(model, upright)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_the_patches_of_a_padded_grid_lie_beyond_the_image():
    model = bright_model(img_size=60, dynamic_img_pad=True)
    assert tuple(model.patch_embed.grid_size) == (8, 8)
    model.preprocess = model.preprocess.replace(crop_fraction=1.0)
    left, top, right, bottom = open_photo(model, spot((600, 600), (450, 150))).box
    assert (left, top) == (0, 0)
    np.testing.assert_allclose((right, bottom), (640, 640))
    picture = draw_attention(model, spot((600, 600), (450, 150), side=60), method="attention")
    heat = warmth(picture.crop((0, 0, 600, 600)))
    np.testing.assert_allclose(centre(np.where(heat > 0.6 * heat.max(), heat, 0)), (450, 150), atol=40)


@pytest.mark.parametrize(("img_size", "patch_size"), [((32, 96), (8, 16)), ((96, 32), 8)])
def test_models_for_oblong_images_have_an_oblong_window(img_size, patch_size):
    model = bright_model(img_size=img_size, patch_size=patch_size)
    photo = open_photo(model, spot((600, 600), (300, 300)))
    left, top, right, bottom = photo.box
    np.testing.assert_allclose((bottom - top) / (right - left), img_size[0] / img_size[1], rtol=0.02)
    heat = warmth(draw_attention(model, spot((600, 600), (320, 290), side=80)).crop((0, 0, 600, 600)))
    np.testing.assert_allclose(centre(np.where(heat > 0.6 * heat.max(), heat, 0)), (320, 290), atol=50)


def test_what_the_crop_left_out_is_pale_and_grey_and_the_rest_of_the_photo_is_in_place():
    model = bright_model()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, [400, 700, 3], np.uint8))
    picture = draw_attention(model, image).crop((0, 0, 700, 400))
    photo = open_photo(model, image)
    left, _, right, _ = (round(edge) for edge in photo.box)
    pixels, grey = np.asarray(picture, "float64"), np.asarray(image.convert("L"), "float64")
    for outside in (np.s_[:, : left - 1], np.s_[:, right + 1 :]):
        expected = np.repeat((0.3 * grey + 0.7 * 255)[outside][..., None], 3, axis=2)
        np.testing.assert_allclose(pixels[outside], expected, atol=1.01)
    inside = pixels[:, left + 1 : right - 1]
    assert inside.mean() < 140 < pixels[:, : left - 1].mean()


# Pages


def test_a_page_has_a_row_for_each_image_named_by_folder_and_file(tmp_path, words):
    model = bright_model()
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        spot((300, 400), (150, 200), side=60).save(tmp_path / kind / "0001.png")
    one = draw_page(model, tmp_path / "cat" / "0001.png")
    words.clear()
    both = draw_page(model, tmp_path)
    assert [text for text in words if "/" in text] == ["cat/0001.png", "dog/0001.png"]
    assert (both.width, both.height) == (one.width, 2 * one.height)
    assert words.count("relevance for bright") == 2
    assert words.count("bright") == words.count("dark") == 2  # the predictions
    for row in (both.crop((0, 0, one.width, one.height)), both.crop((0, one.height, one.width, 2 * one.height))):
        np.testing.assert_array_equal(warmth(row)[:, :640], warmth(one)[:, :640])


def test_a_row_is_high_enough_for_all_of_its_predictions(words):
    model = vitlib.VisionTransformer(**SMALL, num_classes=30)
    model.eval()
    few, many = (draw_page(model, Image.new("RGB", (320, 100)), top_k=count) for count in (3, 30))
    assert many.height >= few.height + 25 * 28
    assert len([text for text in words if text.startswith("class ")]) == 33
    scale = np.asarray(many)[:, -416:-200].astype("int64")  # below the predictions
    assert (np.abs(scale - color_table("inferno")[128]).sum(-1).min(1) < 8).any()


def test_images_without_a_file_are_numbered_and_names_may_be_given(tmp_path, words):
    model, image = bright_model(), spot((300, 400), (150, 200), side=60)
    draw_page(model, [image, np.asarray(image)])
    assert [text for text in words if text.startswith("image")] == ["image 1", "image 2"]
    words.clear()
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        draw_page(model, [opened, image], names=["first", "second"])
        assert "first" in words
        assert "second" in words
        draw_page(model, opened)
    assert f"{tmp_path.name}/a.png" in words


def test_the_heads_of_every_layer_are_shown_in_a_grid(words):
    model, image = bright_model(), spot((600, 600), (400, 200), side=100)
    picture = draw_heads(model, image, side=200)
    assert sorted(words[-3:]) == ["head 0", "head 1", "layer 0"]
    heat = warmth(picture)
    hot = np.where(heat > 0.6 * heat.max(), heat, 0)
    right, bottom = picture.width - 12, picture.height - 12  # of the last tile; they are 200 wide and 6 apart
    for left in (right - 200, right - 406):
        x, y = centre(hot[bottom - 200 : bottom, left : left + 200])
        np.testing.assert_allclose((x, y), (400 / 3, 200 / 3), atol=12)


# Refusals and the model's state


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "gradcam"}, ["method='gradcam'", "'relevance', 'rollout', 'attention'"]),
        ({"method": "rollout", "class_index": 1}, ["'rollout' does not depend on a class"]),
        ({"class_index": 2}, ["class_index=2", "0 to 1"]),
        ({"class_index": "brigth"}, ["'brigth'", "did you mean 'bright'?"]),
        ({"class_index": 1.5}, ["class_index=1.5"]),
        ({"method": "attention", "layer": 1}, ["no layer 1"]),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with refused(ValueError, *words):
        draw_attention(bright_model(), spot((64, 64), (32, 32)), **options)


def test_images_that_cannot_be_shown_are_refused():
    import paddle

    model = bright_model()
    with refused(ValueError, "tensor", "path"):
        draw_attention(model, paddle.zeros([1, 3, 64, 64]))
    with refused(ValueError, "5 channels"):
        draw_attention(vitlib.VisionTransformer(**SMALL, in_chans=5), spot((64, 64), (32, 32)))
    with refused(ValueError, "list of images is empty"):
        draw_page(model, [])
    with refused(ValueError, "101 images", "100"):
        draw_page(model, ["image.png"] * 101)
    with refused(ValueError, "1 names for 2 images"):
        draw_page(model, ["a.png", "b.png"], names=["a"])
    with pytest.raises(FileNotFoundError):
        draw_attention(model, "nowhere.png")


def test_pictures_leave_the_model_as_it_was_and_take_grey_models_and_models_without_classes(words):
    model, image = bright_model(), spot((300, 200), (150, 100), side=40)
    model.train()
    image_before = np.asarray(image).copy()
    draw_page(model, [image])
    draw_heads(model, image)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    np.testing.assert_array_equal(np.asarray(image), image_before)
    draw_attention(vitlib.VisionTransformer(**SMALL, in_chans=1, num_classes=3), image)
    words.clear()
    draw_page(vitlib.VisionTransformer(**SMALL, num_classes=0), [image], method="rollout")
    assert "attention rollout" in words
    with refused(ValueError, "num_classes=0"):
        draw_attention(vitlib.VisionTransformer(**SMALL, num_classes=0), image)


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (28, 28)], ids=str)
def test_tiny_and_thin_images_are_enlarged_so_that_there_is_room_for_words(size):
    model = bright_model()
    picture = draw_attention(model, Image.new("RGB", size, "gray"))
    assert picture.width >= 320
    draw_page(model, [Image.new("RGB", size, "gray")])
