"""The average of the weights: its recurrence, its names, and how a model borrows it."""

import copy
import gc
import pathlib
import resource

import numpy as np
import paddle
import pytest
from conftest import refused

import vitlib
from vitlib.training import ExponentialMovingAverage


def convolutional():
    paddle.seed(0)
    return paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))


def values(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def test_the_average_is_its_recurrence_and_buffers_are_copied():
    model = convolutional()
    ema = ExponentialMovingAverage(model, decay=0.9)
    expected = values(model)
    rng = np.random.default_rng(0)
    for _ in range(3):
        for value in model.state_dict().values():
            value.set_value(rng.standard_normal(value.shape).astype("float32"))
        ema.update()
        for name, value in values(model).items():
            expected[name] = value if name in ("1._mean", "1._variance") else 0.9 * expected[name] + 0.1 * value
    assert set(ema.average) == set(expected) >= {"1._mean", "1._variance"}
    for name, average in ema.average.items():
        assert np.abs(average.numpy() - expected[name]).max() < 1e-6, name
        assert average.stop_gradient
    assert not model[0].weight.stop_gradient


def test_warm_up_begins_with_a_short_memory():
    """Decays 1/10, 2/11, 3/12 for weights 1, 2, 3 after 0; then no more than the decay asked for."""
    model = paddle.nn.Linear(1, 1, bias_attr=False)
    model.weight.set_value(np.zeros([1, 1], "float32"))
    ema, expected = ExponentialMovingAverage(model, decay=0.2, warmup=True), 0.0
    for step, decay in enumerate((1 / 10, 2 / 11, 0.2, 0.2)):
        model.weight.set_value(np.full([1, 1], step + 1.0, "float32"))
        ema.update()
        expected = decay * expected + (1 - decay) * (step + 1)
        assert ema.average["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_the_model_has_the_average_within_the_block_and_its_own_weights_after_it_even_on_errors(tiny, images):
    model = tiny(vitlib.DeiT)
    ema = ExponentialMovingAverage(model, decay=0.5)
    model.head.weight.set_value(model.head.weight + 1.0)
    ema.update()
    own, identities = values(model), [id(p) for p in model.parameters()]

    def borrow():
        with ema.averaged():
            assert np.abs(model.head.weight.numpy() - (own["head.weight"] - 0.5)).max() < 1e-6
            raise KeyError("within")

    with pytest.raises(KeyError):
        borrow()
    for name, value in values(model).items():
        assert (value == own[name]).all(), name
    assert [id(p) for p in model.parameters()] == identities, "optimizers still know them"
    model.train()
    model(images()).logits.sum().backward()
    assert model.head.weight.grad is not None


def test_parameters_that_layers_share_are_averaged_under_each_of_their_names():
    """From 0 to 1 with decay 0.9: 0.1, whichever name writes last."""
    first, second = (paddle.nn.Linear(1, 1, bias_attr=False) for _ in range(2))
    second.weight = first.weight
    first.weight.set_value(np.zeros([1, 1], "float32"))
    model = paddle.nn.Sequential(first, second)
    ema = ExponentialMovingAverage(model, decay=0.9)
    first.weight.set_value(np.ones([1, 1], "float32"))
    ema.update()
    assert {name: average.item() for name, average in ema.average.items()} == pytest.approx(
        {"0.weight": 0.1, "1.weight": 0.1}
    )
    with ema.averaged():
        assert first.weight.item() == pytest.approx(0.1)
    assert first.weight.item() == 1.0


def test_an_interrupt_while_the_average_is_put_in_leaves_the_model_its_own_weights(monkeypatch):
    model = paddle.nn.Linear(2, 2)
    ema = ExponentialMovingAverage(model, decay=0.5)
    model.weight.set_value(model.weight + 1.0)
    own, put_in = values(model), ema.apply_to

    def interrupted(model):
        put_in(model)
        raise KeyboardInterrupt

    monkeypatch.setattr(ema, "apply_to", interrupted)
    with pytest.raises(KeyboardInterrupt), ema.averaged():
        pass
    assert all((value == own[name]).all() for name, value in values(model).items())


def test_names_are_those_of_the_structure_whatever_copies_and_wrappers_call_them(tiny):
    model = tiny()
    ema = ExponentialMovingAverage(paddle.DataParallel(model), decay=0.5)
    assert set(ema.average) == {name for name, _ in model.named_parameters()}
    twin = copy.deepcopy(model)
    assert twin.cls_token.name != model.cls_token.name
    model.cls_token.set_value(model.cls_token + 1.0)
    ema.update()
    before = twin.cls_token.numpy().copy()
    ema.apply_to(twin)
    assert np.abs(twin.cls_token.numpy() - before - 0.5).max() < 1e-6


def test_state_goes_on_where_it_stopped():
    model, other = convolutional(), convolutional()
    first = ExponentialMovingAverage(model, decay=0.9, warmup=True)
    for _ in range(2):
        model[0].weight.set_value(model[0].weight * 1.5)
        first.update()
    state = first.state_dict()
    second = ExponentialMovingAverage(other, decay=0.9, warmup=True)
    arrays = {name: average.numpy().copy() for name, average in state["average"].items()}
    second.set_state_dict({"num_updates": state["num_updates"], "average": arrays})
    other.set_state_dict(model.state_dict())
    for ema in (first, second):
        ema.update()
    for name in first.average:
        assert (first.average[name].numpy() == second.average[name].numpy()).all(), name


def test_the_average_shares_no_memory_with_the_model():
    model = paddle.nn.Linear(2, 2)
    ema = ExponentialMovingAverage(model, decay=0.5)
    before = values(model)
    ema.apply_to(model)
    model.weight.set_value(model.weight + 1.0)
    assert (ema.average["weight"].numpy() == before["weight"]).all()


def test_half_precision_weights_are_averaged_in_single_precision():
    """0.999 of the way from 1 to 1.0078 is lost in bfloat16, whose next number after 1 is 1.0078."""
    model = paddle.nn.Linear(1, 1, bias_attr=False)
    model.weight.set_value(np.ones([1, 1], "float32"))
    model.to(dtype="bfloat16")
    ema = ExponentialMovingAverage(model, decay=0.999)
    with paddle.no_grad():
        model.weight.copy_(paddle.full([1, 1], 2.0, "bfloat16"), True)
    ema.update()
    assert ema.average["weight"].item() == pytest.approx(1.001, rel=1e-6)
    with ema.averaged():
        assert model.weight.dtype == paddle.bfloat16


def test_what_cannot_work_is_refused(tiny):
    for decay in (1.0, -0.1, float("nan")):
        with refused(ValueError, f"decay={decay}", "[0, 1)"):
            ExponentialMovingAverage(tiny(), decay)
    model = tiny()
    ema = ExponentialMovingAverage(model)
    model.reset_head(3)
    with refused(ValueError, "head.weight", "(48, 3)", "(48, 7)"):
        ema.update()
    state = ExponentialMovingAverage(model).state_dict()
    with refused(ValueError, "head.weight", "(48, 3)", "(48, 7)"):
        ema.set_state_dict(state)
    with paddle.LazyGuard():
        empty = vitlib.VisionTransformer(img_size=32, patch_size=8, embed_dim=8, depth=1, num_heads=1)
    with refused(ValueError, "LazyGuard"):
        ExponentialMovingAverage(empty)


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="reads the memory of the process from Linux")
@pytest.mark.parametrize("warmup", [False, True])
def test_memory_stays_flat_over_two_thousand_updates(warmup):
    layers = paddle.nn.LayerList([paddle.nn.Linear(4, 4) for _ in range(20)])  # 40 tensors
    ema = ExponentialMovingAverage(layers, 0.999, warmup=warmup)

    def pages():
        gc.collect()
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1])

    def update(times):
        for _ in range(times):
            ema.update()

    update(200)
    before = pages()
    update(2000)
    assert (pages() - before) * resource.getpagesize() < 40 * 2000 * 10  # bytes for each tensor and update
