"""The parser of all commands, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from ..version import __version__
from . import attention, bench, catalogue, evaluate, finetune, predict, train, weights
from .errors import UsageError, in_words_of_the_command_line
from .parsing import Parser
from .startup import let_go_of_stdout, quiet

_MODULES = (catalogue, predict, attention, evaluate, train, finetune, weights, bench)
COMMANDS = tuple(command for module in _MODULES for command in module.COMMANDS)
_TEXT = """\
Vision Transformers (ViT, DeiT) on PaddlePaddle: look at models, use them, train
them, ship them.

A MODEL is one of
  - a preset, with its published weights: vit_base_patch16_224, or with a tag
    deit_small_patch16_224.fb_in1k ("vitlib list" shows all)
  - a file of weights: .safetensors, .npz, .pdparams, .pth, .pt, .bin, .ckpt
  - a folder with a model, or that of a training run
  - hf:org/repo, modelscope:org/repo, aistudio:org/repo, or a URL
  - an export, for predict, embed and evaluate"""
_END = """\
examples:
  vitlib predict photo.jpg
  vitlib predict photos/ --model deit_small_patch16_224 --json
  vitlib COMMAND --help

Exit codes: 0 done; 1 something failed, if only one image of many; 2 the command
cannot be carried out as it was given. Results go to standard output, all else
to standard error; progress is shown on terminals alone."""


def parser_of_all() -> Parser:
    """Of `vitlib COMMAND ...`."""
    listed = "\n".join(f"  {command.name:<10} {command.summary}" for command in COMMANDS)
    parser = Parser("vitlib", usage="vitlib COMMAND ...", description=f"{_TEXT}\n\ncommands:\n{listed}", epilog=_END)
    parser.add_argument("--version", action="version", version=f"vitlib {__version__}", help="show the version")
    commands = parser.add_subparsers(
        dest="command", prog="vitlib", metavar="COMMAND", help=argparse.SUPPRESS, required=True
    )
    for command in COMMANDS:
        commands.add_parser(command.name, command=command)
    return parser


def parser_of_one(name: str, prog: str, text: str) -> Parser:
    """Of a script that is one command, with a text of its own for --help."""
    (command,) = (command for command in COMMANDS if command.name == name)
    return Parser(prog, command=command, text=text)


def execute(
    parser: Parser, arguments: Sequence[str] | None = None, *, prepare: Callable[[str], None] | None = None
) -> int:
    """Run the command of these arguments (None: of the process) and give its exit code. Nothing is raised.

    prepare: called with the name of the program before the command runs.
    """
    try:
        try:
            with quiet(lambda text: print(f"{parser.prog}: {text}", file=sys.stderr)):
                given = parser.parse_args(arguments)
            return _run(given, prepare)
        finally:
            sys.stdout.flush()
    except SystemExit as end:  # of the parser
        return end.code
    except BrokenPipeError:  # whoever reads the output has enough
        let_go_of_stdout()
        return 0
    except OSError as error:  # such as a full disk
        let_go_of_stdout()
        print(f"{parser.prog}: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace, prepare: Callable[[str], None] | None) -> int:
    parser = arguments.parser

    def spoken(text: str) -> str:
        return in_words_of_the_command_line(text, parser)

    def say(text: str) -> None:
        head, *others = [" ".join(line.split()) for line in spoken(text).splitlines()] or [""]
        line = f"{head} {'; '.join(others)}".strip() if head.endswith(":") else "; ".join([head, *others])
        print(f"{parser.prog}: {line}", file=sys.stderr, flush=True)

    def note(text: str) -> None:
        if sys.stderr.isatty():
            say(text)

    arguments.spoken, arguments.say, arguments.note = spoken, say, note
    with quiet(say):
        try:
            if prepare is not None:
                prepare(parser.prog)
            return arguments.run(arguments) or 0
        except BrokenPipeError:
            raise
        except UsageError as error:
            say(str(error))
            return 2
        except (ValueError, OSError, ImportError, RuntimeError, FloatingPointError, MemoryError) as error:
            say(str(error) or type(error).__name__)
            return 1
        except KeyboardInterrupt as error:
            say(arguments.stopped(arguments) if hasattr(arguments, "stopped") else "stopped")
            return 128 + getattr(error, "signal", 2)
