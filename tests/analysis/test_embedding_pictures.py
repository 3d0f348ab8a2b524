"""Pictures of positions, filters and features equal what NumPy computes from the weights."""

import numpy as np
import paddle
import pytest
from bright_patches import bright_model, recorded_words, spot
from conftest import refused
from PIL import Image

import vitlib
from vitlib.analysis import draw_patch_features, draw_patch_filters, draw_position_similarity
from vitlib.analysis.pictures.colors import color_table
from vitlib.analysis.pictures.patch_features import principal_colors


@pytest.fixture
def words(monkeypatch):
    """The texts that pictures draw."""
    return recorded_words(monkeypatch)


def test_positions_are_compared_patch_by_patch(tiny):
    model = tiny(vitlib.DeiT, img_size=(16, 24), patch_size=8)  # 2 x 3 patches behind two prefix tokens
    table = model.pos_embed.numpy()[0, 2:].astype("float64")
    picture = np.asarray(draw_position_similarity(model)).astype("int64")
    colors = color_table("viridis").astype("int64")
    cell = 900 // (3 * 4)
    for i in range(2):
        for j in range(3):
            for k in range(2):
                for m in range(3):
                    a, b = table[3 * i + j], table[3 * k + m]
                    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                    y, x = (
                        16 + i * (2 * cell + 8) + k * cell + cell // 2,
                        16 + j * (3 * cell + 8) + m * cell + cell // 2,
                    )
                    level = (cosine + 1) / 2 * 255
                    expected = colors[[int(np.floor(level)), int(np.ceil(level))]]
                    assert abs(picture[y, x] - expected).sum(1).min() == 0


def test_models_without_a_table_of_positions_are_refused(tiny):
    with refused(ValueError, "pos_embed='none'"):
        draw_position_similarity(tiny(pos_embed="none"))


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_made_of_a_few_patterns_have_these_as_their_components(tiny, words, channels):
    """Filters that are sums of orthonormal patterns, with coefficients that are orthogonal, have mean 0 and shrink from
    pattern to pattern, have the patterns as their principal components, up to sign."""
    rng = np.random.default_rng(3)
    model = tiny(in_chans=channels, embed_dim=48)
    patterns = np.linalg.qr(rng.standard_normal([channels * 64, 4]))[0].T
    centred = rng.standard_normal([48, 4])
    coefficients = np.linalg.qr(centred - centred.mean(0))[0] * [8, 4, 2, 1]
    kernel = (coefficients @ patterns).reshape(48, channels, 8, 8)
    model.patch_embed.proj.weight.set_value((kernel + 0.7).astype("float32"))  # the mean does not count
    picture = np.asarray(draw_patch_filters(model, 3)).astype("int64")
    assert words == ["Patch filters: 3 components, 99 % of the variance"]  # (64 + 16 + 4) / 85
    top = 12 + round(1.9 * 15)
    for index in range(3):
        tile = picture[top : top + 64, 12 + 70 * index : 76 + 70 * index][4::8, 4::8]  # the middle of each pixel
        pattern = patterns[index].reshape(channels, 8, 8).transpose(1, 2, 0)
        expected = 127.5 * (1 + pattern / abs(pattern).max())
        assert min(abs(tile - expected).max(), abs(tile - (255 - expected)).max()) <= 1


def test_filters_that_no_image_shows_are_refused(tiny):
    with refused(ValueError, "5 channels"):
        draw_patch_filters(tiny(in_chans=5))
    with refused(ValueError, "count=0"):
        draw_patch_filters(tiny(), 0)
    model = tiny()
    model.patch_embed.proj = paddle.nn.Linear(4, 4)
    with refused(ValueError, "PatchEmbed", "no convolution called proj"):
        draw_patch_filters(model)
    assert draw_patch_filters(tiny(), 10_000).width < 1000  # there are no more than pixels of a patch


def test_colours_of_features_are_their_first_three_components_over_all_images():
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal([4, 5, 7]) * [9, 5, 3, 1, 1, 1, 1], rng.standard_normal([3, 3, 7])]
    found, share = principal_colors(maps)
    flat = np.concatenate([features.reshape(-1, 7) for features in maps])
    u, s, _ = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    np.testing.assert_allclose(share, (s[:3] ** 2).sum() / (s**2).sum())
    colors = np.concatenate([color.reshape(-1, 3) for color in found])
    for channel in range(3):
        score = u[:, channel] * s[channel]
        low, high = np.percentile(score, [1, 99])
        expected = ((score - low) / (high - low)).clip(0, 1)
        assert min(abs(colors[:, channel] - expected).max(), abs(colors[:, channel] - 1 + expected).max()) < 1e-6


def test_equal_features_have_equal_colours_whatever_there_is_of_them():
    same = np.ones([2, 2, 5])
    found, share = principal_colors([same, same])
    assert np.isfinite(found[0]).all()
    assert share <= 1
    thin, _ = principal_colors([np.arange(8.0).reshape(2, 2, 2)])
    assert thin[0].shape == (2, 2, 3)


def test_alike_patches_of_different_images_get_one_colour(words, tmp_path):
    model = bright_model()
    model.preprocess = model.preprocess.replace(crop_fraction=1.0)
    spot((320, 320), (100, 100), side=80).save(tmp_path / "a.png")
    spot((320, 320), (220, 220), side=80).save(tmp_path / "b.png")
    picture = np.asarray(draw_patch_features(model, tmp_path)).astype("int64")
    assert [text for text in words if "/" in text] == [f"{tmp_path.name}/a.png", f"{tmp_path.name}/b.png"]
    height, width = picture.shape[:2]
    tile = 2 * 320 + 6
    first = picture[height - 332 : height - 12, 12 + 326 : 12 + tile]
    second = picture[height - 332 : height - 12, width - 332 : width - 12]
    np.testing.assert_allclose(first[100, 100], second[220, 220], atol=2)  # the spots
    np.testing.assert_allclose(first[220, 220], second[100, 100], atol=2)  # the ground
    assert abs(first[100, 100] - first[220, 220]).max() > 100
    np.testing.assert_array_equal(picture[height - 332 + 100, 12 + 100], 250)  # the photo beside it
    with refused(ValueError, "no layer 5"):
        draw_patch_features(model, Image.new("RGB", (64, 64)), layer=5)
