"""The learning rate is its closed form at every step, and stays at its end."""

import math

import paddle
import pytest
from conftest import refused

from vitlib.training import warmup_cosine


def rates(schedule, steps):
    found = []
    for _ in range(steps):
        found.append(schedule())
        schedule.step()
    return found


def test_every_step_has_the_closed_form():
    found = rates(warmup_cosine(1e-3, total_steps=50, warmup_steps=10, warmup_lr=1e-6, final_lr=1e-5), 51)
    for step, rate in enumerate(found):
        if step < 10:
            expected = 1e-6 + (1e-3 - 1e-6) * step / 10
        else:
            expected = 1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * (step - 10) / 40))
        assert rate == pytest.approx(expected, rel=1e-12), step
    assert found[0] == pytest.approx(1e-6)
    assert found[10] == pytest.approx(1e-3)
    assert found[30] == pytest.approx((1e-3 + 1e-5) / 2), "half way down"
    assert found[50] == pytest.approx(1e-5)


def test_the_rate_never_rises_after_warm_up_nor_after_the_end():
    for warmup in (0, 7):
        found = rates(warmup_cosine(1e-3, total_steps=40, warmup_steps=warmup), 150)
        assert all(a >= b for a, b in zip(found[warmup:], found[warmup + 1 :], strict=False))
        assert max(found) == found[warmup] == pytest.approx(1e-3)
        assert found[40:] == [pytest.approx(1e-5)] * 110


def test_it_resumes_in_the_middle():
    options = {"total_steps": 30, "warmup_steps": 5}
    whole = rates(warmup_cosine(1e-3, **options), 30)
    for cut in (3, 17):
        first = warmup_cosine(1e-3, **options)
        rates(first, cut)
        second = warmup_cosine(1e-3, **options)
        second.set_state_dict(first.state_dict())
        assert rates(second, 30 - cut) == whole[cut:]


def test_optimizers_take_it():
    schedule = warmup_cosine(1e-3, total_steps=4, warmup_steps=2)
    layer = paddle.nn.Linear(1, 1)
    optimizer = paddle.optimizer.SGD(schedule, parameters=layer.parameters())
    schedule.step()
    assert optimizer.get_lr() == pytest.approx((1e-6 + 1e-3) / 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_lr": 0.0}, ("base_lr=0.0",)),
        ({"base_lr": float("nan")}, ("base_lr=nan",)),
        ({"base_lr": 5e-6}, ("final_lr=1e-05", "base_lr=5e-06")),
        ({"warmup_lr": 1.0, "warmup_steps": 5}, ("warmup_lr=1.0",)),
        ({"warmup_steps": 10}, ("warmup_steps=10", "total_steps=10")),
        ({"total_steps": 0}, ("total_steps=0",)),
    ],
)
def test_rates_and_steps_that_cannot_work_are_refused(options, words):
    with refused(ValueError, *words):
        warmup_cosine(**{"base_lr": 1e-3, "total_steps": 10, **options})
