"""Position tables: each library's resampling against its own numbers, and sin-cos tables against their formula."""

import math
import pathlib

import numpy as np
import paddle
import pytest
from conftest import difference
from paddle import inference
from paddle.static import InputSpec

from vitlib.layers import resample_positions, resize_matrix, sincos_positions
from vitlib.layers.position import RESIZE_METHODS

REFERENCES = np.load(pathlib.Path(__file__).parent.parent / "models" / "references" / "position_tables.npz")
RESIZED = [key for key in REFERENCES.files if not key.startswith("table:")]


def pair(text):
    return tuple(int(side) for side in text.split("x"))


def random_table(rows, dim=6, dtype="float32"):
    return paddle.to_tensor(np.random.default_rng(0).standard_normal([1, rows, dim]).astype(dtype))


def test_there_are_original_numbers_for_every_method():
    assert {key.split(":")[0] for key in RESIZED} == set(RESIZE_METHODS)


@pytest.mark.parametrize("key", RESIZED)
def test_a_table_is_resampled_as_the_original_library_does(key):
    method, old, new = key.split(":")
    table, expected = REFERENCES[f"table:{old}"], REFERENCES[key]
    for dtype in ("float32", "float64"):
        found = resample_positions(paddle.to_tensor(table.astype(dtype)), pair(old), pair(new), method)
        assert str(found.dtype) == f"paddle.{dtype}"
        assert np.abs(found.numpy() - expected).max() < 1e-5 * np.abs(expected).max()
        assert (found.numpy()[:, :2] == table.astype(dtype)[:, :2]).all(), "prefix rows must stay"


def test_the_methods_are_not_one_and_the_same():
    table = paddle.to_tensor(REFERENCES["table:6x6"])
    found = {m: resample_positions(table, (6, 6), (4, 10), m).numpy() for m in RESIZE_METHODS}
    same = {("timm", "dinov2_registers")}  # both are antialiased bicubic
    for a in found:
        for b in found:
            if a < b and (a, b) not in same and (b, a) not in same:
                assert np.abs(found[a] - found[b]).max() > 1e-2, (a, b)


@pytest.mark.parametrize("method", RESIZE_METHODS)
@pytest.mark.parametrize(("old", "new"), [((14, 14), (7, 28)), ((4, 4), (2, 8)), ((6, 2), (2, 6))])
def test_a_table_with_equal_token_count_on_another_grid_is_resampled(method, old, new):
    table = random_table(1 + old[0] * old[1])
    resized = resample_positions(table, old, new, method)
    assert resized.shape == table.shape
    assert float((resized - table)[:, 1:].abs().max()) > 0.1
    assert (resized[:, 0] == table[:, 0]).all()


@pytest.mark.parametrize("method", RESIZE_METHODS)
@pytest.mark.parametrize("new", [(9, 9), (2, 3), (1, 1), (5, 20), (1, 7)])
def test_a_constant_table_stays_constant(method, new):
    table = paddle.full([1, 25, 4], 3.5)
    np.testing.assert_allclose(resample_positions(table, (5, 5), new, method).numpy(), 3.5, rtol=1e-6)


@pytest.mark.parametrize("method", RESIZE_METHODS)
def test_an_unchanged_grid_leaves_every_bit(method):
    table = random_table(2 + 15)
    same = resample_positions(table, (3, 5), (3, 5), method)
    assert same.numpy().tobytes() == table.numpy().tobytes()
    assert (resize_matrix(5, 5, method).numpy() == np.eye(5)).all()


@pytest.mark.parametrize("method", RESIZE_METHODS)
@pytest.mark.parametrize(("old", "new"), [(1, 4), (2, 7), (7, 2), (14, 24), (24, 14), (3, 1), (16, 37)])
def test_rows_of_a_resize_matrix_sum_to_one_and_mirror(method, old, new):
    matrix = resize_matrix(old, new, method).numpy()
    assert matrix.shape == (new, old)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
    if method != "dino" and not (RESIZE_METHODS[method].align_corners and new == 1):
        np.testing.assert_allclose(matrix[::-1, ::-1], matrix, atol=1e-12)  # left and right are alike


@pytest.mark.parametrize("method", [m for m in RESIZE_METHODS if RESIZE_METHODS[m].kernel == "linear"])
def test_linear_methods_keep_a_ramp_straight_inside(method):
    ramp = resize_matrix(9, 17, method).numpy() @ np.arange(9.0)
    steps = np.diff(ramp)[2:-2]
    np.testing.assert_allclose(steps, steps[0], atol=1e-12)


@pytest.mark.parametrize("method", RESIZE_METHODS)
def test_a_size_given_as_a_tensor_means_the_same_as_an_int(method):
    for new in (3, 5, 8):
        matrix = resize_matrix(5, paddle.to_tensor(new), method).numpy()
        assert (matrix == resize_matrix(5, new, method).numpy()).all()


@pytest.mark.parametrize("method", RESIZE_METHODS)
def test_paddle_inference_with_onednn_resamples_as_the_model_does(tiny, images, tmp_path, method):
    model = tiny(depth=1, dynamic_img_size=True, position_resize=method)
    paddle.jit.save(model, f"{tmp_path}/model", input_spec=[InputSpec([None, 3, None, None], "float32", "x")])
    config = inference.Config(f"{tmp_path}/model.json", f"{tmp_path}/model.pdiparams")
    config.disable_glog_info()
    config.enable_new_ir(True)
    config.enable_new_executor(True)
    getattr(config, "enable_onednn" if hasattr(config, "enable_onednn") else "enable_mkldnn")()  # Paddle 3.0's name
    predictor = inference.create_predictor(config)
    for height, width in [(64, 64), (24, 56)]:
        x = images(height, width)
        expected = model(x)
        found = predictor.run([x])[0]
        assert difference(found, expected) < 1e-5 * float(expected.abs().max()), (height, width)


@pytest.mark.parametrize("prefix", [0, 1, 2, 6])
def test_rows_beyond_the_grid_are_prefix_rows_and_are_not_touched(prefix):
    table = random_table(prefix + 12)
    resized = resample_positions(table, (3, 4), (6, 5))
    assert resized.shape[1] == prefix + 30
    assert (resized.numpy()[:, :prefix] == table.numpy()[:, :prefix]).all()
    alone = resample_positions(table[:, prefix:], (3, 4), (6, 5))
    np.testing.assert_allclose(resized.numpy()[:, prefix:], alone.numpy(), atol=1e-6)


def test_the_gradient_of_a_resampled_table_reaches_the_table():
    table = random_table(1 + 9)
    table.stop_gradient = False
    resample_positions(table, (3, 3), (5, 4)).sum().backward()
    # every output row holds weights that sum to one, so what the patches receive sums to the number of new rows
    np.testing.assert_allclose(table.grad.numpy()[0, 0], 1)
    np.testing.assert_allclose(table.grad.numpy()[0, 1:].sum(0), 20, rtol=1e-5)


def test_an_unknown_method_is_named_beside_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown position_resize 'bicubic'.*'timm'.*'torchvision'"):
        resample_positions(random_table(9), (3, 3), (4, 4), "bicubic")


def test_a_table_that_is_too_small_for_its_grid_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="9 rows cannot hold a grid of 3 x 4 = 12 patches"):
        resample_positions(random_table(9), (3, 4), (4, 4))


@pytest.mark.parametrize(("grid", "dim"), [((3, 5), 8), ((4, 4), 48), ((1, 2), 16)])
@pytest.mark.parametrize("include_end", [True, False])
def test_a_sincos_table_follows_its_formula(grid, dim, include_end):
    """big_vision: ω_k = T^(-k / (n - 1)); MAE and MoCo v3: ω_k = T^(-k / n); n = D / 4."""
    table = sincos_positions(grid, dim, temperature=1000.0, include_end=include_end)
    n = dim // 4
    assert table.shape == (grid[0] * grid[1], dim)
    assert table.dtype == np.float32
    for y in range(grid[0]):
        for x in range(grid[1]):
            row = table[y * grid[1] + x]
            for k in range(n):
                omega = 1000.0 ** (-k / (n - 1 if include_end else n))
                expected = [math.sin(x * omega), math.cos(x * omega), math.sin(y * omega), math.cos(y * omega)]
                assert np.abs(row[k::n] - expected).max() < 1e-6


@pytest.mark.parametrize("dim", [0, 4, 6, 10, 50])
def test_a_width_that_sincos_cannot_fill_is_refused(dim):
    with pytest.raises(ValueError, match=f"width {dim}: expected a multiple of 4, at least 8"):
        sincos_positions((2, 2), dim)
