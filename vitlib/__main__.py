"""`python -m vitlib`: the command line."""

from .cli import run

run()
