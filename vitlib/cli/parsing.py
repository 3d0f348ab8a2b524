"""Parsers that answer in one line, show every default, and know numbers within limits."""

from __future__ import annotations

import argparse
import difflib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True)
class Command:
    """A subcommand: its name, a line for `vitlib --help`, what adds its options, and what runs it.

    run: gives the exit code; None is 0.
    """

    name: str
    summary: str
    add_options: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int | None]


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Texts as they are written, and each option with its default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if not action.option_strings or action.default is None or action.default is False or "default:" in action.help:
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default)) or 'none'})"
        return super()._get_help_string(action)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return getattr(action.type, "metavar", None) or super()._get_default_metavar_for_optional(action)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line, and that adds the options of a command when it is asked for."""

    def __init__(self, *args: Any, command: Command | None = None, text: str | None = None, **options: Any) -> None:
        """text: in place of the description and examples that the command has."""
        super().__init__(*args, formatter_class=HelpFormatter, allow_abbrev=False, **options)
        self._command, self._text = command, text

    def describe(self, text: str, *examples: str, usage: str) -> None:
        """The texts of --help: what the command does, and examples of it, each a line of the shell."""
        self.usage = f"{self.prog} {usage}"
        if self._text is not None:
            self.description = self._text
            return
        self.description = text
        self.epilog = "examples:\n" + "\n".join(f"  {example}" for example in examples)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._command is not None:
            command, self._command = self._command, None
            command.add_options(self)
            self.set_defaults(run=command.run, parser=self)
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parser = getattr(found, "parser", self)
            options = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
            name = unknown[0].partition("=")[0]
            nearest = difflib.get_close_matches(name, options, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            what = "option" if name.startswith("-") else "argument"
            parser.error(f"unknown {what} {unknown[0]}{hint}")
        return found

    def error(self, message: str) -> NoReturn:
        found = re.fullmatch(r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", message)
        if found:
            names = [name.strip("' ") for name in found[2].split(",")]
            nearest = difflib.get_close_matches(found[1], names, n=1)
            message = f"there is no command {found[1]!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
        message = re.sub(r"^argument (\S+?)(?:/\S+)?: ", r"\1: ", message)
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def number(interval: str) -> Callable[[str], float]:
    """The type of an option that takes a number in an interval, such as "[0, 1)"."""
    return _checked(float, "check_number", interval, f"a number in {interval}", "X")


def whole(low: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number of at least `low`."""
    return _checked(int, "check_count", low, f"a whole number of at least {low}", "N")


def _checked(convert: Any, check: str, limit: Any, wanted: str, metavar: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        from ..images import checks

        try:
            return getattr(checks, check)("", convert(text), limit)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {wanted}, found {text!r}") from None

    parse.metavar = metavar
    return parse


def settings(pairs: list[str]) -> dict[str, Any]:
    """["img_size=64", "global_pool=avg"] -> {"img_size": 64, "global_pool": "avg"}"""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"--set {pair}: expected OPTION=VALUE, such as depth=6")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def add_json(parser: argparse.ArgumentParser, what: str = "as JSON") -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what}, for programs")
