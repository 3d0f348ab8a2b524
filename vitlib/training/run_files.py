"""What others read in the folder of a run: its record, and the weights of its best epoch."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from .state_file import read_state


def read_record(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """run.json of a run's directory: "arguments", "classes" and "config", which is None where the model has none.

    Raises ValueError when it is missing or damaged.
    """
    path, what = Path(directory) / "run.json", "is missing"
    if path.exists():
        what = "is damaged"
        with suppress(ValueError):  # no JSON, or no text at all
            record = json.loads(path.read_bytes())
            if isinstance(record, dict) and {"arguments", "classes"} <= record.keys():
                return record
    raise ValueError(
        f"{path} {what}, which says what arguments and classes the checkpoints beside it are of; restore it from a "
        "copy, or remove the checkpoints to start anew"
    )


def best_path(directory: str | os.PathLike[str]) -> Path:
    """The weights of the best epoch, below the directory of a run."""
    return Path(directory) / "checkpoints" / "best.safetensors"


def load_run(directory: str | os.PathLike[str], model: nn.Layer) -> int:
    """Fill a model, built as in the run of this directory, with the weights of its best epoch: the averaged ones, if
    the run averaged them. Gives the number of that epoch, from 1.

    Raises FileNotFoundError where no epoch was finished, CheckpointError when the file is damaged, and ValueError when
    names or shapes do not fit.
    """
    if not best_path(directory).exists():
        raise FileNotFoundError(f"{os.fspath(directory)} has no {best_path('')}; train an epoch of it first")
    content = read_state(best_path(directory))
    values = content["model"]
    own = model.state_dict()
    wrong = [name for name in {**own, **values} if list(np.shape(own.get(name))) != list(np.shape(values.get(name)))]
    if wrong:
        raise ValueError(
            f"the weights in {os.fspath(directory)} do not fit this {type(model).__name__}: {len(wrong)} names or "
            f"shapes differ, {sorted(wrong)[0]!r} for one"
        )
    model.set_state_dict(values)
    return content["epoch"]
