"""Mean attention distance equals its closed forms and a computation by loops, and so does its plot."""

import sys
import threading

import numpy as np
import paddle
import pytest
from attention_models import Uniform, subclass
from conftest import difference, refused

import vitlib
from vitlib.analysis import attention_distance, plot_attention_distance


class Masked(vitlib.EncoderBlock):
    """Each token reads those that `allowed` [N, N] says."""

    allowed = None

    def forward(self, x, mask=None):
        return super().forward(x, paddle.to_tensor(self.allowed))


def masked(allowed):
    block = type("Block", (Masked,), {"allowed": allowed})
    return type("Net", (vitlib.VisionTransformer,), {"block_class": block})


def by_loops(weights, grid, patch, prefix):
    """[heads] from weights [B, heads, N, N], patch by patch."""
    places = [(row * patch[0], column * patch[1]) for row in range(grid[0]) for column in range(grid[1])]
    found = np.zeros(weights.shape[:2])
    for image in range(weights.shape[0]):
        for head in range(weights.shape[1]):
            reach = []
            for i, (y, x) in enumerate(places):
                row = weights[image, head, prefix + i, prefix:]
                distances = [np.hypot(y - other_y, x - other_x) for other_y, other_x in places]
                reach.append(np.dot(row, distances) / row.sum())
            found[image, head] = np.mean(reach)
    return found.mean(0)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (vitlib.VisionTransformer, {}),
        (vitlib.VisionTransformer, {"img_size": (16, 48), "patch_size": (8, 4), "reg_tokens": 2}),
        (vitlib.VisionTransformer, {"class_token": False, "global_pool": "avg", "fused_attn": False}),
        (vitlib.DeiT, {"pos_embed": "sincos2d"}),
        (subclass(Uniform), {}),
    ],
    ids=str,
)
def test_distance_equals_a_computation_by_loops(tiny, images, cls, options):
    model = tiny(cls, **options)
    x = images(*model.patch_embed.img_size)
    found = attention_distance(model, x)
    assert found.shape == [3, 3]
    for row, weights in zip(found.numpy(), vitlib.attention_maps(model, x), strict=True):
        expected = by_loops(
            weights.numpy().astype("float64"), model.patch_embed.grid_size, model.patch_embed.patch_size,
            model.num_prefix_tokens,
        )  # fmt: skip
        np.testing.assert_allclose(row, expected, rtol=1e-4)
    assert difference(attention_distance(model, x, [-1, 0]), found[np.array([2, 0])]) < 1e-5


def test_a_head_that_reads_only_its_own_patch_has_distance_zero_and_one_that_reads_the_next_a_patch(tiny, images):
    own = np.eye(17, dtype=bool)
    own[:, 0] = True  # and the class token, which has no place
    np.testing.assert_allclose(attention_distance(tiny(masked(own)), images()).numpy(), 0, atol=1e-6)
    following = np.zeros([17, 17], bool)
    following[0, 0] = True
    for patch in range(16):  # the patch to the right, at the end of a row the one to the left; 8 pixels away
        following[1 + patch, 1 + patch + (1 if patch % 4 < 3 else -1)] = True
    np.testing.assert_allclose(attention_distance(tiny(masked(following)), images()).numpy(), 8, rtol=1e-5)


def test_even_attention_over_many_patches_reaches_half_of_the_image(tiny, images):
    """The mean distance of two points of a unit square is 0.5214 (Santaló)."""
    model = tiny(subclass(Uniform), img_size=64, patch_size=2, depth=1)
    found = attention_distance(model, images(64, 64)).numpy()
    np.testing.assert_allclose(found / 64, 0.5214, rtol=2e-3)


def test_many_images_go_through_in_batches_and_the_model_is_left_as_it_was(tiny, images, monkeypatch):
    model, x = tiny(drop_rate=0.5, attn_drop_rate=0.5), images(batch=7)
    expected = attention_distance(model, x)
    monkeypatch.setattr("vitlib.analysis.distance.default_batch_size", lambda model: 3)
    model.train()
    errors = []

    def run():
        try:
            for _ in range(3):
                assert difference(attention_distance(model, x), expected) < 1e-4
                vitlib.predict(model, x)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert model.training
    assert not any("forward" in vars(layer) for layer in model.sublayers())


def test_layers_that_do_not_exist_are_refused(tiny, images):
    with refused(ValueError, "no layer 3", "3 blocks"):
        attention_distance(tiny(), images(), [3])


def test_the_plot_shows_the_distances_of_every_head(tiny, images, tmp_path):
    model, x = tiny(), images()
    distances = attention_distance(model, x).numpy()
    figure = plot_attention_distance(model, x)
    (axes,) = figure.axes
    points = np.concatenate([points.get_offsets() for points in axes.collections])
    expected = [(layer, distances[layer, head]) for head in range(3) for layer in range(3)]
    np.testing.assert_allclose(points, expected, rtol=1e-6)
    mean, even = axes.lines
    np.testing.assert_allclose(mean.get_ydata(), distances.mean(1), rtol=1e-6)
    np.testing.assert_allclose(
        even.get_ydata()[0], attention_distance(tiny(subclass(Uniform)), x).numpy()[0, 0], rtol=1e-5
    )
    figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_without_matplotlib_the_plot_names_the_extra(tiny, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with refused(ImportError, "vitlib[viz]"):
        plot_attention_distance(tiny(), images())
