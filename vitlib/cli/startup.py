"""How a process of the command line starts and stops: signals, and lines of other packages that are left out."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Of Paddle, at each start and at each network with a batch norm
_IDLE_WARNINGS = ("No ccache found", "When training, we now always track global mean and variance")


def start(prog: str) -> None:
    """The first that a process does."""
    end_at_once(prog)
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's libraries remark on themselves; errors remain
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, and a file opened later must not take its place
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    # Names of files may be any bytes
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape" if os.name == "posix" else "backslashreplace")


def end_at_once(prog: str) -> None:
    """Have SIGINT and SIGTERM end the process with a line, while imports are running, which may swallow exceptions."""

    def end(number: int, _: Any) -> None:
        os.write(2, f"{prog}: stopped while it was starting\n".encode())
        os._exit(128 + number)

    _catch_signals(end)


def import_paddle(prog: str) -> None:
    """Import Paddle. From then on signals interrupt."""
    end_at_once(prog)
    with _sigterm_held():  # Paddle takes it for itself meanwhile
        import paddle  # noqa: F401

        interrupt()


def interrupt() -> None:
    """Have SIGINT and SIGTERM raise KeyboardInterrupt, with their number as its `signal`."""
    _catch_signals(_interrupt)


@contextmanager
def _sigterm_held() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _interrupt(number: int, _: Any) -> None:
    error = KeyboardInterrupt()
    error.signal = number
    raise error


def _catch_signals(handler: Callable[[int, Any], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


@contextmanager
def quiet(say: Callable[[str], None]) -> Iterator[None]:
    """In the block, warnings are a line each, given to `say`, and those that tell a user nothing are left out."""
    import logging

    fonts = logging.getLogger("matplotlib.font_manager")
    with warnings.catch_warnings():
        for text in _IDLE_WARNINGS:
            warnings.filterwarnings("ignore", text)
        warnings.showwarning = lambda message, *_: say(str(message))
        fonts.addFilter(_about_no_fonts)  # of matplotlib, at its first start
        try:
            yield
        finally:
            fonts.removeFilter(_about_no_fonts)


def _about_no_fonts(record: Any) -> bool:
    return not any(words in record.getMessage() for words in ("font cache", "generated new fontManager"))


def let_go_of_stdout() -> None:
    """After a closed pipe: nothing more is written, so that the interpreter does not complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
