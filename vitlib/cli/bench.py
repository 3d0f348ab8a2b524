"""bench: how fast engines are on this machine."""

from __future__ import annotations

import argparse

from .parsing import Command, Parser


def bench_options(parser: Parser) -> None:
    from ..deploy.benchmark import add_arguments

    parser.describe(
        "Time models on this machine: each engine and precision in a process of its own,\n"
        "all in turn, on random images and weights. Medians, ratios and peak memory.",
        "vitlib bench vit_small_patch16_224",
        "vitlib bench deit_tiny_patch16_224 --batches 1 8 64 --engines paddle eager --json t.json",
        "vitlib bench vit_base_patch16_224 --peers other/bin/python --plot time.png",
        usage="MODEL ... [OPTIONS]",
    )
    add_arguments(parser)


def bench(arguments: argparse.Namespace) -> None:
    from ..deploy.benchmark import run_command
    from .model_argument import check_preset

    for name in arguments.models:
        check_preset(name)
    run_command(arguments)


COMMANDS = (Command("bench", "how fast models are on this machine", bench_options, bench),)
