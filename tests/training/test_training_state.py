import copy
import random

import numpy as np
import paddle
import pytest
from conftest import refused

import vitlib
from vitlib.training import (
    CheckpointError,
    Checkpoints,
    EpochSampler,
    random_states,
    restore_training_state,
    set_random_states,
    training_state,
)
from vitlib.training.state_file import write_state

OPTIMIZERS = {
    "AdamW": lambda parameters, rate: paddle.optimizer.AdamW(rate, parameters=parameters, weight_decay=0.05),
    "amsgrad": lambda parameters, rate: paddle.optimizer.AdamW(rate, parameters=parameters, amsgrad=True, name="named"),
    "Momentum": lambda parameters, rate: paddle.optimizer.Momentum(rate, parameters=parameters),
    "Lamb": lambda parameters, rate: paddle.optimizer.Lamb(rate, parameters=parameters),
    "SGD": lambda parameters, rate: paddle.optimizer.SGD(rate, parameters=parameters),
}


def network():
    """With buffers (BatchNorm), dropout, and a parameter that is never updated."""
    layers = paddle.nn
    net = layers.Sequential(
        layers.Conv2D(3, 4, 3), layers.BatchNorm2D(4), layers.Dropout(0.5), layers.Flatten(), layers.Linear(16, 5)
    )
    net[0].bias.stop_gradient = True
    return net


def steps(net, optimizer, count, seed):
    """The losses of `count` steps on random images."""
    rng = np.random.default_rng(seed)
    losses = []
    for _ in range(count):
        images = paddle.to_tensor(rng.standard_normal((6, 3, 4, 4)).astype("float32"))
        loss = paddle.nn.functional.cross_entropy(net(images), paddle.arange(6) % 5)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        if isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
            optimizer._learning_rate.step()
        losses.append(float(loss))
    return losses


def arrays(net):
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


def saved(tmp_path, *parts, **options):
    """The state as a file gives it back."""
    checkpoints = Checkpoints(tmp_path / "saved")
    checkpoints.save(0, training_state(*parts, **options))
    return checkpoints.latest()[1]


def written(tmp_path, state):
    """The file of a state, which is the same for the same state."""
    write_state(tmp_path / "state", state)
    return (tmp_path / "state").read_bytes()


def same(a, b):
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("fresh", [True, False], ids=["into a new optimizer", "into one that has stepped"])
def test_a_restored_run_goes_on_to_the_bit(tmp_path, kind, fresh):
    def rate():
        return paddle.optimizer.lr.LinearWarmup(paddle.optimizer.lr.CosineAnnealingDecay(0.01, 10), 3, 0.0, 0.01)

    paddle.seed(1)
    net = network()
    optimizer = OPTIMIZERS[kind](net.parameters(), rate())
    steps(net, optimizer, 4, seed=0)
    state = saved(tmp_path, net, optimizer, extra={"best": 0.5})
    losses = steps(net, optimizer, 4, seed=1)
    paddle.seed(9)
    other = network()  # whose parameters have other generated names
    restored = OPTIMIZERS[kind](other.parameters(), rate())
    if not fresh:
        steps(other, restored, 2, seed=2)
    assert restore_training_state(state, other, restored) == {"best": 0.5}
    assert steps(other, restored, 4, seed=1) == losses
    assert same(arrays(net), arrays(other))


def test_a_state_from_before_the_first_step_makes_the_optimizer_new(tmp_path):
    paddle.seed(1)
    net = network()
    optimizer = OPTIMIZERS["AdamW"](net.parameters(), 0.01)
    state = saved(tmp_path, net, optimizer)
    losses = [steps(net, optimizer, 3, seed=1)]
    restore_training_state(state, net, optimizer)
    losses.append(steps(net, optimizer, 3, seed=1))
    assert losses[0] == losses[1]


def test_parameters_that_are_thawed_after_restoring_get_moments_of_their_own(tmp_path):
    paddle.seed(1)
    net = network()
    optimizer = OPTIMIZERS["AdamW"](net.parameters(), 0.01)
    steps(net, optimizer, 2, seed=0)
    state = saved(tmp_path, net, optimizer)
    net[0].bias.stop_gradient = False
    losses = steps(net, optimizer, 3, seed=1)
    other = network()
    restored = OPTIMIZERS["AdamW"](other.parameters(), 0.01)
    restore_training_state(state, other, restored)
    other[0].bias.stop_gradient = False
    assert steps(other, restored, 3, seed=1) == losses


def test_copies_of_a_model_are_told_apart_by_structure(tmp_path, tiny):
    model = tiny(vitlib.DeiT)
    optimizer = paddle.optimizer.AdamW(0.01, parameters=model.parameters())
    model.train()
    sum(logits.sum() for logits in model(paddle.ones([1, 3, 32, 32]))).backward()
    optimizer.step()
    duplicate = copy.deepcopy(model)
    other = paddle.optimizer.AdamW(0.5, parameters=duplicate.parameters())
    restore_training_state(saved(tmp_path, model, optimizer), duplicate, other)
    moments = training_state(duplicate, other)["optimizer"]["tensors"]["moment1"]
    assert set(moments) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(moments[name].numpy(), 0.1 * parameter.grad.numpy(), rtol=1e-6, atol=1e-12)
    assert other.get_lr() == 0.01


def test_every_random_generator_goes_on_where_it_was(tmp_path):
    kinds = (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)
    named = {kind.__name__: np.random.Generator(kind(3)) for kind in kinds}

    def draw():
        paddle_numbers = [paddle.rand([3]).tolist(), paddle.randperm(9).tolist(), paddle.randint(0, 99, [3]).tolist()]
        own = [generator.integers(0, 9, 3, np.uint8).tolist() for generator in named.values()]
        return [paddle_numbers, np.random.randn(3).tolist(), random.gauss(0, 1), random.random(), own]

    paddle.seed(7)
    draw()  # each normal distribution now holds its second number back
    Checkpoints(tmp_path).save(0, random_states(named))
    expected = draw(), draw()
    set_random_states(Checkpoints(tmp_path).latest()[1], named)
    assert (draw(), draw()) == expected
    with refused(ValueError, "PCG64", "none"):
        set_random_states(Checkpoints(tmp_path).latest()[1])


def test_other_processes_draw_other_numbers_but_always_the_same():
    states = random_states()
    draws = []
    for rank in (0, 1, 2, 1):
        set_random_states(states, rank=rank)
        draws.append((paddle.rand([2]).tolist(), np.random.rand(), random.random()))
    assert len({str(draw) for draw in draws}) == 3
    assert draws[1] == draws[3]


class Average:
    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"w": self.value}

    def set_state_dict(self, state):
        self.value = state["w"]


def test_averages_and_samplers_are_restored(tmp_path):
    net = network()
    optimizer = OPTIMIZERS["SGD"](net.parameters(), 0.1)
    sampler, average = EpochSampler(20, 4), Average(np.ones(3))
    sampler.advance()
    state = saved(tmp_path, net, optimizer, ema=average, sampler=sampler)
    others = {"ema": Average(None), "sampler": EpochSampler(20, 4)}
    restore_training_state(state, net, optimizer, **others)
    assert others["sampler"].batch == 1
    np.testing.assert_array_equal(others["ema"].value, np.ones(3))
    with refused(CheckpointError, "checkpoint has a ema", "run has none"):
        restore_training_state(state, net, optimizer, sampler=sampler)


@pytest.mark.parametrize("new", [True, False], ids=["into a new optimizer", "into one that has stepped"])
def test_a_part_that_does_not_fit_leaves_all_others_as_they_were(tmp_path, new):
    class Refuses(Average):
        def set_state_dict(self, state):
            raise ValueError("another average")

    def rate():
        return paddle.optimizer.lr.StepDecay(0.1, 3)

    def parts(sampler=None, ema=None, rate=None, rng=None):
        return {
            "sampler": sampler or EpochSampler(20, 4),
            "ema": ema or Average(np.zeros(3)),
            "scheduler": rate,
            "rng": np.random.default_rng(1) if rng is None else rng,
        }

    net = network()
    optimizer = OPTIMIZERS["AdamW"](net.parameters(), rate())
    steps(net, optimizer, 2, seed=0)
    state = saved(tmp_path, net, optimizer, **parts())
    refusals = {
        "batch_size": parts(sampler=EpochSampler(20, 5)),
        "another average": parts(ema=Refuses(np.zeros(3))),
        "MT19937": parts(rng=np.random.Generator(np.random.MT19937(1))),
        "LinearWarmup": parts(rate=paddle.optimizer.lr.LinearWarmup(rate(), 3, 0.0, 0.1)),
    }
    for words, others in refusals.items():
        other = network()
        other[0].bias.stop_gradient = False  # so that it gets moments, which the state has not
        restored = OPTIMIZERS["AdamW"](other.parameters(), others["scheduler"] or rate())
        if not new:
            steps(other, restored, 1, seed=1)
        before = written(tmp_path, {**training_state(other, restored, **others), "sampler": None})
        with refused(CheckpointError, words):
            restore_training_state(state, other, restored, **others)
        # the sampler is the only part that may have gone on
        assert written(tmp_path, {**training_state(other, restored, **others), "sampler": None}) == before


def test_an_optimizer_of_other_moments_is_left_as_it_was(tmp_path):
    net = network()
    optimizer = OPTIMIZERS["AdamW"](net.parameters(), 0.1)
    steps(net, optimizer, 1, seed=0)
    state = saved(tmp_path, net, optimizer)
    for count in (0, 1):
        other = network()
        other[0].bias.stop_gradient = False
        restored = OPTIMIZERS["amsgrad"](other.parameters(), 0.1)
        steps(other, restored, count, seed=1)
        before = written(tmp_path, training_state(other, restored))
        with refused(CheckpointError, "the optimizer", "lacks 'moment2_max of"):
            restore_training_state(state, other, restored)
        assert written(tmp_path, training_state(other, restored)) == before


def test_another_model_or_optimizer_is_refused_before_anything_is_changed(tmp_path):
    net = network()
    optimizer = OPTIMIZERS["AdamW"](net.parameters(), 0.1)
    steps(net, optimizer, 1, seed=0)
    state = saved(tmp_path, net, optimizer)
    larger = network()
    larger[4] = paddle.nn.Linear(16, 7)
    larger.add_sublayer("more", paddle.nn.Linear(7, 7))
    before = arrays(larger)
    with refused(
        CheckpointError,
        "lacks 'more.bias', 'more.weight'",
        "'4.weight' is float32 [16, 7]",
        "checkpoint's float32 [16, 5]",
    ):
        restore_training_state(state, larger, OPTIMIZERS["AdamW"](larger.parameters(), 0.1))
    assert same(before, arrays(larger))
    other = network()
    before = arrays(other)
    with refused(CheckpointError, "is SGD", "AdamW"):
        restore_training_state(state, other, OPTIMIZERS["SGD"](other.parameters(), 0.1))
    with refused(CheckpointError, "does not update", "'4.weight'"):
        restore_training_state(state, other, OPTIMIZERS["AdamW"](other[:4].parameters(), 0.1))
    with refused(CheckpointError, "the optimizer", "lacks 'moment2_max of"):
        restore_training_state(state, other, OPTIMIZERS["amsgrad"](other.parameters(), 0.1))
    with refused(CheckpointError, "run has a scheduler", "checkpoint has none"):
        rate = paddle.optimizer.lr.StepDecay(0.1, 3)
        restore_training_state(state, other, OPTIMIZERS["AdamW"](other.parameters(), rate))
    assert same(before, arrays(other))
    with refused(CheckpointError, "PCG64", "none"):
        restore_training_state(state, other, OPTIMIZERS["AdamW"](other.parameters(), 0.1), rng=np.random.default_rng())
    assert same(before, arrays(other))
    with refused(ValueError, "moment1", "no parameter of the model"):
        training_state(other, optimizer)
