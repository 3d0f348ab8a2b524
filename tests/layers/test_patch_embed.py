"""PatchEmbed is the product of flattened patches and a matrix, and says why an image does not fit."""

import numpy as np
import paddle
import pytest
from conftest import difference, refused

import vitlib


def cut(images, patch):
    """[B, C, H, W] -> flattened patches [B, N, C·P·P], row by row."""
    b, c, height, width = images.shape
    rows, columns = height // patch[0], width // patch[1]
    grid = images.reshape(b, c, rows, patch[0], columns, patch[1]).transpose(0, 2, 4, 1, 3, 5)
    return grid.reshape(b, rows * columns, -1)


def by_matrix(embed, images, patch):
    weight = embed.proj.weight.numpy().astype("float64")
    tokens = cut(images.numpy().astype("float64"), patch) @ weight.reshape(weight.shape[0], -1).T
    return tokens if embed.proj.bias is None else tokens + embed.proj.bias.numpy()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("size", "patch", "channels"),
    [(16, 4, 3), ((8, 24), 8, 1), ((12, 20), (3, 5), 3), ((16, 4), (2, 4), 12), (7, 7, 2)],
)
def test_tokens_are_the_product_of_patches_and_a_matrix(images, size, patch, channels, bias):
    embed = vitlib.PatchEmbed(size, patch, channels, 10, bias=bias)
    (height, width), pair = (s if isinstance(s, tuple) else (s, s) for s in (size, patch))
    x = images(height, width, channels=channels)
    expected = by_matrix(embed, x, pair)
    assert (embed.proj.bias is not None) is bias
    assert embed.grid_size == (height // pair[0], width // pair[1])
    assert embed.num_patches == expected.shape[1]
    np.testing.assert_allclose(embed(x).numpy(), expected, atol=2e-5)


def test_patches_are_ordered_row_by_row():
    embed = vitlib.PatchEmbed((4, 6), 2, 1, 1, bias=False)
    embed.proj.weight.set_value(np.full([1, 1, 2, 2], 0.25, "float32"))
    image = np.repeat(np.repeat(np.arange(6.0).reshape(2, 3), 2, 0), 2, 1)
    tokens = embed(paddle.to_tensor(image[None, None].astype("float32")))
    assert tokens.numpy().ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_without_flatten_the_map_holds_the_same_numbers(images):
    embed = vitlib.PatchEmbed((12, 20), (3, 5), 3, 10, flatten=False)
    feature_map = embed(images(12, 20))
    assert list(feature_map.shape) == [2, 10, 4, 4]
    embed.flatten = True
    assert difference(feature_map.flatten(2).transpose([0, 2, 1]), embed(images(12, 20))) == 0


def test_dynamic_image_size_takes_any_multiple_of_the_patch(images):
    embed = vitlib.PatchEmbed(16, (4, 2), 3, 10, dynamic_img_size=True)
    for height, width in ((16, 16), (4, 2), (8, 22)):
        x = images(height, width)
        assert tuple(embed.grid_for(x)) == (height // 4, width // 2)
        np.testing.assert_allclose(embed(x).numpy(), by_matrix(embed, x, (4, 2)), atol=2e-5)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 12), (8, 13), (11, 17), (3, 1), (15, 23)])
def test_padding_equals_an_image_padded_with_zeros_by_hand(images, height, width):
    embed = vitlib.PatchEmbed(16, (4, 6), 3, 10, dynamic_img_size=True, dynamic_img_pad=True)
    x = images(height, width)
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (0, -height % 4), (0, -width % 6)])
    found = embed(x)
    np.testing.assert_allclose(found.numpy(), by_matrix(embed, paddle.to_tensor(padded), (4, 6)), atol=2e-5)
    rows, columns = embed.grid_for(x)
    assert rows * columns == found.shape[1]


def test_a_fixed_image_size_may_be_padded_too(images):
    embed = vitlib.PatchEmbed((9, 13), (4, 6), 3, 10, dynamic_img_pad=True)
    assert embed.grid_size == (3, 3)
    assert list(embed(images(9, 13)).shape) == [2, 9, 10]
    with pytest.raises(ValueError, match="expected images of 9 x 13, found 12 x 18"):
        embed(images(12, 18))


def test_another_size_can_be_set_and_then_the_old_one_is_refused(images):
    embed = vitlib.PatchEmbed(16, 4, 3, 10)
    embed.set_image_size((8, 12))
    assert (embed.img_size, embed.grid_size, embed.num_patches) == ((8, 12), (2, 3), 6)
    assert list(embed(images(8, 12)).shape) == [2, 6, 10]
    with pytest.raises(ValueError, match="expected images of 8 x 12, found 16 x 16"):
        embed(images(16, 16))


def test_a_size_that_does_not_fit_changes_nothing():
    embed = vitlib.PatchEmbed(16, 4, 3, 10)
    with pytest.raises(ValueError, match="18"):
        embed.set_image_size(18)
    assert (embed.img_size, embed.grid_size) == ((16, 16), (4, 4))


ERRORS = {
    "another size": (ValueError, lambda: paddle.zeros([1, 3, 20, 16]), ["16 x 16", "20 x 16", "dynamic_img_size"]),
    "other channels": (ValueError, lambda: paddle.zeros([1, 4, 16, 16]), ["in_chans=3", "found 4", "[1, 4, 16, 16]"]),
    "channels last": (ValueError, lambda: paddle.zeros([1, 16, 16, 3]), ["in_chans=3", "found 16", "[B, C, H, W]"]),
    "no batch axis": (ValueError, lambda: paddle.zeros([3, 16, 16]), ["rank 3", "[B, C, H, W]"]),
    "empty batch": (ValueError, lambda: paddle.zeros([0, 3, 16, 16]), ["at least one image", "[0, 3, 16, 16]"]),
    "integers": (TypeError, lambda: paddle.zeros([1, 3, 16, 16], "uint8"), ["uint8", "floating", "Preprocess"]),
    "array": (TypeError, lambda: np.zeros([1, 3, 16, 16], "float32"), ["ndarray", "paddle.Tensor", "Preprocess"]),
    "path": (TypeError, lambda: "cat.jpg", ["str", "paddle.Tensor", "Preprocess"]),
    "list": (TypeError, lambda: [paddle.zeros([3, 16, 16])], ["list", "paddle.Tensor"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_image_that_does_not_fit_is_refused_with_what_was_found_and_expected(case):
    error, make, words = ERRORS[case]
    with refused(error, *words):
        vitlib.PatchEmbed(16, 4, 3, 10)(make())


@pytest.mark.parametrize(
    ("height", "width", "words"),
    [(2, 16, ["2 x 16", "smaller than one patch", "4 x 4"]), (16, 18, ["16 x 18", "width 18", "multiple of 4", "pad"])],
)
def test_a_dynamic_size_still_has_to_hold_whole_patches(images, height, width, words):
    embed = vitlib.PatchEmbed(16, 4, 3, 10, dynamic_img_size=True)
    with refused(ValueError, *words):
        embed(images(height, width))


def test_padding_makes_no_patch_of_an_image_without_pixels():
    embed = vitlib.PatchEmbed(16, 4, 3, 10, dynamic_img_size=True, dynamic_img_pad=True)
    with refused(ValueError, "0 x 16", "smaller than one patch", "height"):
        embed(paddle.zeros([1, 3, 0, 16]))


@pytest.mark.parametrize(
    ("size", "patch", "words"),
    [
        (3, 4, ["3 x 3", "smaller than one patch", "4 x 4", "dynamic_img_pad"]),
        (18, 4, ["18 x 18", "4 x 4", "height 18", "multiple of 4", "Use 16", "dynamic_img_pad"]),
        ((16, 19), (4, 8), ["16 x 19", "width 19", "multiple of 8", "Use 16"]),
        (0, 4, ["img_size=0", "positive"]),
        (-16, 4, ["img_size=-16", "positive"]),
        (16.0, 4, ["img_size=16.0", "positive int"]),
        ("16", 4, ["img_size='16'", "positive int"]),
        ((16, 16, 16), 4, ["img_size=(16, 16, 16)", "(height, width)"]),
        (True, 4, ["img_size=True"]),
        (None, 4, ["img_size=None"]),
        (16, (4, 0), ["patch_size=(4, 0)", "positive"]),
        (16, (4,), ["patch_size=(4,)", "(height, width)"]),
    ],
)
def test_sizes_that_cannot_work_are_refused_at_construction(size, patch, words):
    with refused(ValueError, *words):
        vitlib.PatchEmbed(size, patch, 3, 10)


@pytest.mark.parametrize(("option", "value"), [("in_chans", 0), ("embed_dim", 0), ("in_chans", -3), ("embed_dim", 1.5)])
def test_channels_and_width_have_to_be_positive_ints(option, value):
    with pytest.raises(ValueError, match=f"{option}={value}"):
        vitlib.PatchEmbed(16, 4, **{option: value})


def test_an_unknown_scheme_is_named_beside_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown weight_init 'pytorch'.*'timm'.*'jax'"):
        vitlib.PatchEmbed(16, 4, weight_init="pytorch")


def test_numpy_integers_are_sizes_too(images):
    embed = vitlib.PatchEmbed(np.int64(16), (np.int32(4), 4), 3, 10)
    assert embed.img_size == (16, 16)
    assert list(embed(images(16, 16)).shape) == [2, 16, 10]
