"""Linear and LayerNorm compute what Paddle's own layers compute, and their gradients, however they are called."""

import numpy as np
import paddle
import pytest
from paddle import nn

from vitlib.layers import LayerNorm, Linear

PAIRS = {"Linear": (Linear, nn.Linear, (6, 5)), "LayerNorm": (LayerNorm, nn.LayerNorm, (6, 2.0**-10))}


def random(*shape, dtype="float64"):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def pair(name, dtype="float64", frozen=()):
    """Our layer and Paddle's with the same values."""
    own_class, paddle_class, arguments = PAIRS[name]
    layers = own_class(*arguments), paddle_class(*arguments)
    for layer in layers:
        layer.to(dtype=dtype)
        layer.weight.set_value(random(*layer.weight.shape, dtype=dtype) + 1)
        layer.bias.set_value(random(*layer.bias.shape, dtype=dtype))
        for parameter in frozen:
            getattr(layer, parameter).stop_gradient = True
    return layers


def run(layer, values, trained=True):
    """The output and the gradients for x, weight and bias of a loss that weighs each output differently."""
    x = paddle.to_tensor(values, stop_gradient=not trained)
    y = layer(x)
    (y * paddle.to_tensor(random(*y.shape).astype(values.dtype))).sum().backward()
    gradients = [None if t.grad is None else t.grad.numpy() for t in (x, layer.weight, layer.bias)]
    return [y.numpy(), *gradients]


def assert_same(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (2, 3, 2, 6)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("name", PAIRS)
def test_output_and_gradients_are_paddles(name, dtype, tolerance, shape):
    ours, theirs = pair(name, dtype)
    values = random(*shape, dtype=dtype)
    assert_same(run(ours, values), run(theirs, values), tolerance)


@pytest.mark.parametrize("frozen", [("weight",), ("bias",), ("weight", "bias")])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("name", PAIRS)
def test_what_is_frozen_gets_no_gradient_and_the_rest_the_same(name, frozen, trained):
    if len(frozen) == 2 and not trained:
        pytest.skip("nothing is left to differentiate")
    values = random(2, 3, 6)
    # Beside Paddle's layer with nothing frozen: on a CPU its LayerNorm's gradient leaves out a weight that is frozen
    y, *gradients = run(pair(name)[1], values)
    kept = [trained, "weight" not in frozen, "bias" not in frozen]
    expected = [g if keep else None for g, keep in zip(gradients, kept, strict=True)]
    assert_same(run(pair(name, frozen=frozen)[0], values, trained), [y, *expected], 1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_of_gradients_are_those_of_finite_differences(name):
    ours, _ = pair(name)
    weights, direction = paddle.to_tensor(random(2, 3, 6)[..., : ours.bias.shape[0]]), random(3, 6)

    def gradient(values, create_graph=False):
        x = paddle.to_tensor(values, stop_gradient=False)
        return x, paddle.grad((ours(x) ** 2 * weights).sum(), x, create_graph=create_graph)[0]

    values = random(2, 3, 6)
    x, first = gradient(values, create_graph=True)
    second = paddle.grad((first * paddle.to_tensor(direction)).sum(), x)[0].numpy()
    step = 1e-6
    plus, minus = (gradient(values + sign * step * direction)[1].numpy() for sign in (1, -1))
    # the Hessian is symmetric: its product with the direction is the change of the gradient along it
    np.testing.assert_allclose(second, (plus - minus) / (2 * step), rtol=1e-6, atol=1e-6)


def test_layer_norm_keeps_its_digits_when_the_mean_is_large():
    ours = pair("LayerNorm", "float32")[0]
    exact = pair("LayerNorm")[0]
    values = (random(4, 6) + 1000).astype("float32")
    gradient = run(ours, values)[1]
    np.testing.assert_allclose(gradient, run(exact, values.astype("float64"))[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", PAIRS)
def test_an_empty_batch_is_passed_through(name):
    ours, theirs = pair(name)
    x = paddle.zeros([0, 3, 6], "float64")
    assert ours(x).shape == theirs(x).shape


def test_layers_without_bias_or_weight_are_paddles():
    x = random(2, 3, 6)
    ours, theirs = Linear(6, 5, bias_attr=False), nn.Linear(6, 5, bias_attr=False)
    theirs.set_state_dict(ours.state_dict())
    x32 = paddle.to_tensor(x.astype("float32"))
    assert (ours(x32) == theirs(x32)).all()
    ours, theirs = (cls(6, weight_attr=False, bias_attr=False) for cls in (LayerNorm, nn.LayerNorm))
    assert (ours(x32) == theirs(x32)).all()


@pytest.mark.parametrize("name", PAIRS)
def test_a_traced_layer_trains_as_an_eager_one(name):
    ours, _ = pair(name)
    values = random(2, 3, 6)
    eager = run(ours, values)
    ours.clear_gradients()
    traced = run(paddle.jit.to_static(ours, full_graph=True), values)
    assert_same(traced, eager, 1e-12)
