"""Layer normalisation against its formula: its output, and its gradients with and without a frozen weight."""

import numpy as np
import paddle
import pytest

from vitlib.layers import LayerNorm

EPS = 2.0**-10


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def make(frozen=()):
    layer = LayerNorm(6, EPS)
    layer.to(dtype="float64")
    layer.weight.set_value(random(6) + 1)
    layer.bias.set_value(random(6, seed=1))
    for name in frozen:
        getattr(layer, name).stop_gradient = True
    return layer


def formula(x, weight, bias, dy):
    """y = n·weight + bias with n = (x - mean)/s and s² = variance + eps; g = dy·weight, and means over the last axis:
    dx = (g - mean(g) - n·mean(g·n))/s."""
    centred = x - x.mean(-1, keepdims=True)
    s = np.sqrt((centred**2).mean(-1, keepdims=True) + EPS)
    n, g = centred / s, dy * weight
    dx = (g - g.mean(-1, keepdims=True) - n * (g * n).mean(-1, keepdims=True)) / s
    return n * weight + bias, {"x": dx, "weight": (dy * n).sum((0, 1)), "bias": dy.sum((0, 1))}


@pytest.mark.parametrize(
    "frozen", [(), ("weight",), ("bias",), ("weight", "bias"), ("x",), ("x", "weight"), ("x", "bias")]
)
def test_output_and_gradients_are_the_formulas_whatever_is_frozen(frozen):
    layer, values, dy = make([name for name in frozen if name != "x"]), random(2, 3, 6, seed=2), random(2, 3, 6, seed=3)
    x = paddle.to_tensor(values, stop_gradient="x" in frozen)
    y = layer(x)
    (y * paddle.to_tensor(dy)).sum().backward()
    expected, gradients = formula(values, layer.weight.numpy(), layer.bias.numpy(), dy)
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-12)
    for name, tensor in (("x", x), ("weight", layer.weight), ("bias", layer.bias)):
        if name in frozen:
            assert tensor.grad is None
        else:
            np.testing.assert_allclose(tensor.grad.numpy(), gradients[name], atol=1e-12)


@pytest.mark.parametrize("options", [{"weight_attr": False}, {"bias_attr": False}], ids=str)
def test_weight_and_bias_can_be_left_out(options):
    layer, values = LayerNorm(6, EPS, **options), random(2, 3, 6)
    if layer.weight is not None:
        layer.weight.stop_gradient = True
    x = paddle.to_tensor(values.astype("float32"), stop_gradient=False)
    expected, _ = formula(values, 1.0, 0.0, values)
    np.testing.assert_allclose(layer(x).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"full_graph": True}], ids=["default", "full graph"])
@pytest.mark.parametrize("frozen", [(), ("bias",), ("weight",), ("weight", "bias")])
def test_a_traced_layer_trains_as_an_eager_one(frozen, options):
    values, dy = random(2, 3, 6, seed=2), random(2, 3, 6, seed=3)
    layer = make(frozen)
    _, gradients = formula(values, layer.weight.numpy(), layer.bias.numpy(), dy)
    x = paddle.to_tensor(values, stop_gradient=False)
    (paddle.jit.to_static(layer, **options)(x) * paddle.to_tensor(dy)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), gradients["x"], atol=1e-12)
