"""Running commands in this process, so that Paddle is imported once."""

import contextlib
import io
import json
import sys
from typing import NamedTuple
from unittest import mock

from vitlib.cli import main


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def run(*arguments, stdin="", terminal=False):
    """`vitlib` with these arguments; terminal: whether standard error is one."""
    out, err = io.StringIO(), io.StringIO()
    err.isatty = lambda: terminal
    with (
        mock.patch("vitlib.deploy.tune_cpu", return_value="the processor is left as it is"),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(list(map(str, arguments)))
    return Done(code, out.getvalue(), err.getvalue())


def succeed(*arguments, **options):
    done = run(*arguments, **options)
    assert done.code == 0, done.err
    return done


def fail(code, *arguments, words=(), **options):
    """The command ends with this code and one line that holds all of the words."""
    done = run(*arguments, **options)
    assert done.code == code, done
    assert len(done.err.splitlines()) == 1, done.err
    missing = [word for word in words if str(word) not in done.err]
    assert not missing, f"{missing} missing in: {done.err}"
    return done
