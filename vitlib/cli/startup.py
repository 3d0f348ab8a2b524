"""How a process of the command line starts and stops: signals, and lines of other packages that are left out."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def import_paddle(prog: str) -> None:
    """Import Paddle, and end on SIGINT and SIGTERM from then on by KeyboardInterrupt, with the signal's number as
    `signal`. During the import, which may swallow exceptions, a signal ends the process at once."""

    def end_at_once(number: int, _: Any) -> None:
        os.write(2, f"{prog}: stopped while it was starting\n".encode())
        os._exit(128 + number)

    def interrupt(number: int, _: Any) -> None:
        error = KeyboardInterrupt()
        error.signal = number
        raise error

    catch_signals(end_at_once)
    import paddle  # noqa: F401

    catch_signals(interrupt)  # Paddle has taken SIGTERM for itself


def catch_signals(handler: Callable[[int, Any], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


@contextmanager
def quiet(say: Callable[[str], None]) -> Iterator[None]:
    """In the block, warnings are a line each, given to `say`, and those that tell a user nothing are left out."""
    fonts = logging.getLogger("matplotlib.font_manager")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No ccache found")  # of Paddle, at each start
        warnings.showwarning = lambda message, *_: say(str(message))
        fonts.addFilter(_about_no_cache)  # of matplotlib, at its first
        try:
            yield
        finally:
            fonts.removeFilter(_about_no_cache)


def _about_no_cache(record: logging.LogRecord) -> bool:
    return "font cache" not in record.getMessage()


def let_go_of_stdout() -> None:
    """After a closed pipe: nothing more is written, so that the interpreter does not complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
