"""The parser of all commands, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from ..version import __version__
from . import attention, bench, catalogue, evaluate, predict, weights
from .errors import UsageError, in_words_of_the_command_line
from .parsing import Parser
from .startup import import_paddle, let_go_of_stdout, quiet

COMMANDS = (
    *catalogue.COMMANDS,
    *predict.COMMANDS,
    *attention.COMMANDS,
    *evaluate.COMMANDS,
    *weights.COMMANDS,
    *bench.COMMANDS,
)
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


def build_parser() -> Parser:
    parser = Parser("vitlib", description=_TEXT, epilog=_END)
    parser.add_argument("--version", action="version", version=f"vitlib {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", required=True)
    for command in COMMANDS:
        commands.add_parser(command.name, help=command.summary, command=command)
    return parser


def main(arguments: Sequence[str] | None = None, *, prepare: Callable[[str], None] | None = None) -> int:
    """Run a command and give its exit code. Nothing is raised.

    arguments: after "vitlib"; None: those of the process. prepare: called with "vitlib COMMAND" before it runs.
    """
    try:
        try:
            return _run(build_parser().parse_args(arguments), prepare)
        finally:
            sys.stdout.flush()
    except SystemExit as end:  # of the parser
        return end.code
    except BrokenPipeError:  # whoever reads the output has enough
        let_go_of_stdout()
        return 0


def _run(arguments: argparse.Namespace, prepare: Callable[[str], None] | None) -> int:
    parser = arguments.parser

    def spoken(text: str) -> str:
        return in_words_of_the_command_line(text, parser)

    def say(text: str) -> None:
        print(f"{parser.prog}: {' '.join(spoken(text).split())}", file=sys.stderr)

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
            say("stopped")
            return 128 + getattr(error, "signal", 2)


def run() -> None:
    """The process `vitlib`, or `python -m vitlib`."""
    sys.exit(main(prepare=import_paddle))
