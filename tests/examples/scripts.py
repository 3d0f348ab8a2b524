"""Calling the examples as their users do, but in this process, so that Paddle is imported once."""

import contextlib
import io
import pathlib
import runpy
import signal
import sys
from unittest import mock

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def call(name, *arguments):
    """(error, output): the sentence that the script ended with, None where it did what it should; and what it wrote."""
    written = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [name, *map(str, arguments)]),
        mock.patch.object(sys, "path", [str(EXAMPLES), *sys.path]),  # as Python has it for a script
        mock.patch("vitlib.deploy.tune_cpu", return_value="the processor is left as it is"),
        contextlib.redirect_stdout(written),
        contextlib.redirect_stderr(written),
    ):
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as end:
            return _sentence(end.code, written.getvalue()), written.getvalue()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return None, written.getvalue()


def _sentence(code, written):
    """Of a script that ended with a code, the last line; `sys.exit(sentence)` ends with it."""
    return written.splitlines()[-1] if isinstance(code, int) and code else code or None
