"""Ctrl-C and SIGTERM while a run trains: held back to a point where the run can be saved, and no longer than that."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interruption(KeyboardInterrupt):
    """Raised by `Interrupts` at a point that allows it; `signal` is the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


class Interrupts:
    """Within `held` SIGINT and SIGTERM wait for the next call of `check`, which raises Interruption.

    patience: seconds after which KeyboardInterrupt is raised wherever the program is, as by a second signal.

    Signals reach the main thread alone; in others `held` changes nothing.
    """

    def __init__(self, patience: float = 2.0) -> None:
        self.patience = patience
        self._received, self._at_once = 0, False
        self._timer: threading.Timer | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back; the handlers of before are there again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            self._stop_timer()
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Allow interruption anywhere in the block."""
        self.check()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def check(self) -> None:
        """Raise Interruption if a signal came."""
        if self._received:
            self._stop_timer()
            number, self._received = self._received, 0
            raise Interruption(number)

    def _handle(self, number: int, _: Any) -> None:
        if self._received:  # by a second signal, or by the timer
            raise KeyboardInterrupt
        self._received = number
        if self._at_once:
            self.check()
        self._timer = threading.Timer(self.patience, _thread.interrupt_main)
        self._timer.daemon = True
        self._timer.start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
