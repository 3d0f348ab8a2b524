"""Errors in the words of the command line."""

from __future__ import annotations

import argparse
import re


class UsageError(ValueError):
    """The command cannot be carried out as it was given: a model, file or value that is not there. Exit code 2."""


# What the Python API calls otherwise
_PHRASES = (
    (r"source_grid=\(rows, columns\)", "--source-grid ROWS COLUMNS"),
    (r"img_size=\(height, width\)", "--size HEIGHT WIDTH"),
    (r"\bGive (num_heads|img_size|pos_embed)=", r"Give --set \1="),
    (r"\bverify=False", "--no-verify"),
    (r"num_classes=N for create_model or from_pretrained", "--set num_classes=N"),
    (r"from_pretrained\(source\) builds", "leaving --preset out builds"),
    (r", or give a list of paths", ""),
    (r"\bvitlib\.export\b", "vitlib export"),
    (r"^\[Errno \d+\] (.*): ('.*')$", r"\2: \1"),
)
_QUOTED = r"(?P<quote>['\"])(?P<quoted>[^'\"]*)(?P=quote)"
_RENAMED = {"img_size": "size", "top_k": "top"}


def in_words_of_the_command_line(message: str, parser: argparse.ArgumentParser) -> str:
    """A message of the Python API, whose `name=value` become `--name value` where the command has that option."""
    for pattern, phrase in _PHRASES:
        message = re.sub(pattern, phrase, message)
    options = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}

    def replaced(match: re.Match[str]) -> str:
        name, value = match["name"], match["quoted"] or match["value"] or ""
        option = options.get(_RENAMED.get(name, name))
        return match[0] if option is None else f"{option} {value}".rstrip()

    pattern = rf"(?P<name>[a-z][a-z_]+)=(?:{_QUOTED}|(?P<value>[\w.-]*))"
    # Not inside a path, such as runs/size=64,part=1
    return re.sub(rf"(?<![\w/\\,-])(?<!--set ){pattern}", replaced, message)
