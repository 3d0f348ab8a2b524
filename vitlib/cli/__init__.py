"""The `vitlib` command. Its modules import Paddle when a command runs, so that `--help` and mistakes are answered at
once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .startup import start

__all__ = ["main", "run", "run_script"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command in this process, as `vitlib COMMAND ...` does, and give its exit code. Nothing is raised.

    arguments: those after "vitlib"; None: of the process.
    """
    from .command_line import execute, parser_of_all

    return execute(parser_of_all(), arguments)


def run() -> None:
    """The process `vitlib`, or `python -m vitlib`."""
    start("vitlib")
    from .command_line import execute, parser_of_all
    from .startup import import_paddle

    sys.exit(execute(parser_of_all(), prepare=import_paddle))


def run_script(command: str, text: str) -> None:
    """The process of a script that is one command, with a text of its own for --help."""
    name = os.path.basename(sys.argv[0])
    start(name)
    from .command_line import execute, parser_of_one
    from .startup import import_paddle

    sys.exit(execute(parser_of_one(command, name, text), prepare=import_paddle))
