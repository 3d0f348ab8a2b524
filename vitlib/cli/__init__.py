"""The `vitlib` command. Its modules import Paddle when a command runs, so that `--help` and mistakes are answered
at once."""

from .command_line import main, run

__all__ = ["main", "run"]
