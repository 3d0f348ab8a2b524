"""Ctrl-C and SIGTERM: when they come through."""

import os
import signal
import threading
import time

import pytest

from vitlib.training.interruption import Interruption, Interrupts


def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def interruption(work):
    """What ended `work`."""
    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    return caught.value


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_next_check(number):
    interrupts, done = Interrupts(), []
    before = signal.getsignal(number)

    def work():
        with interrupts.held():
            interrupts.check()
            send(number)
            done.append("after the signal")
            interrupts.check()

    found = interruption(work)
    assert isinstance(found, Interruption)
    assert found.signal == number
    assert done
    assert signal.getsignal(number) is before


def test_without_a_check_it_comes_through_when_patience_ends():
    def work():
        with Interrupts(patience=0.1).held():
            send()
            for _ in range(500):
                time.sleep(0.01)

    start = time.monotonic()
    assert not isinstance(interruption(work), Interruption)
    assert time.monotonic() - start < 2


def test_a_second_signal_comes_through_at_once():
    def work():
        with Interrupts(patience=60).held():
            send()
            send()
            time.sleep(1)

    assert not isinstance(interruption(work), Interruption)


def test_after_a_check_or_the_block_patience_no_longer_counts():
    interrupts = Interrupts(patience=0.1)
    with interrupts.held():
        send()
        assert isinstance(interruption(interrupts.check), Interruption)
        time.sleep(0.3)
        send()
    time.sleep(0.3)


def test_within_at_once_it_comes_through_everywhere_and_before_it():
    interrupts, begun, ended = Interrupts(), [], []

    def work(early):
        if early:
            send()
        with interrupts.at_once():
            begun.append(early)
            send()
            ended.append(early)

    with interrupts.held():
        for early in (False, True):
            assert isinstance(interruption(lambda early=early: work(early)), Interruption)
    assert (begun, ended) == ([False], [])


def test_other_threads_are_left_alone():
    handlers = []

    def work():
        with Interrupts().held():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
