"""The linear layer and the swap of axes have the outputs and gradients of Paddle's own, however they are called."""

import numpy as np
import paddle
import pytest
from paddle import nn

from vitlib.layers import Linear
from vitlib.layers.linear import swap_axes


def random(*shape, dtype="float64"):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def pair(dtype="float64", frozen=()):
    """Our layer and Paddle's with the same values."""
    layers = Linear(6, 5), nn.Linear(6, 5)
    for layer in layers:
        layer.to(dtype=dtype)
        layer.weight.set_value(random(6, 5, dtype=dtype))
        layer.bias.set_value(random(5, dtype=dtype))
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
def test_output_and_gradients_are_paddles(dtype, tolerance, shape):
    ours, theirs = pair(dtype)
    values = random(*shape, dtype=dtype)
    assert_same(run(ours, values), run(theirs, values), tolerance)
    with paddle.no_grad():
        x = paddle.to_tensor(values)
        np.testing.assert_allclose(ours(x).numpy(), theirs(x).numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("trained", "frozen"),
    [(True, ["weight"]), (True, ["bias"]), (True, ["weight", "bias"]), (False, ["weight"]), (False, ["bias"])],
)
def test_frozen_parameters_get_no_gradient_and_the_others_the_same(trained, frozen):
    ours, theirs = pair(frozen=frozen)
    values = random(2, 3, 6)
    assert_same(run(ours, values, trained), run(theirs, values, trained), 1e-12)


def test_gradients_of_gradients_are_those_of_finite_differences():
    ours, _ = pair()
    weights, direction = paddle.to_tensor(random(2, 3, 5)), random(3, 6)

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


def test_an_empty_batch_is_passed_through():
    ours, theirs = pair()
    x = paddle.zeros([0, 3, 6], "float64")
    assert ours(x).shape == theirs(x).shape


def test_a_layer_without_bias_is_paddles():
    ours, theirs = Linear(6, 5, bias_attr=False), nn.Linear(6, 5, bias_attr=False)
    theirs.set_state_dict(ours.state_dict())
    x = paddle.to_tensor(random(2, 3, 6, dtype="float32"))
    assert (ours(x) == theirs(x)).all()


@pytest.mark.parametrize("options", [{}, {"full_graph": True}], ids=["default", "full graph"])
def test_a_traced_layer_trains_as_an_eager_one(options):
    ours, _ = pair()
    values = random(2, 3, 6)
    eager = run(ours, values)
    ours.clear_gradients()
    traced = paddle.jit.to_static(ours, **options)
    assert_same(run(traced, values), eager, 1e-12)


def test_two_losses_may_share_a_graph_that_is_kept():
    ours, _ = pair()
    results = []
    for kept in (True, False):
        ours.clear_gradients()
        y = ours(paddle.to_tensor(random(2, 3, 6)))
        if kept:
            y[..., 0].sum().backward(retain_graph=True)
            y[..., 1].sum().backward()
        else:
            y[..., :2].sum().backward()
        results.append([p.grad.numpy() for p in ours.parameters()])
    assert_same(*results, 1e-12)


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 1, 2, 3), (3, 7, 1, 2), (2, 1, 3, 1)])
def test_swapping_axes_is_a_transposition_and_its_own_inverse(shape):
    x = paddle.to_tensor(random(*shape), stop_gradient=False)
    swapped = swap_axes(x)
    assert (swapped.numpy() == x.numpy().transpose(0, 2, 1, 3)).all()
    assert (swap_axes(swapped) == x).all()
    scale = random(*swapped.shape)
    (swapped * paddle.to_tensor(scale)).sum().backward()
    assert (x.grad.numpy() == scale.transpose(0, 2, 1, 3)).all()
