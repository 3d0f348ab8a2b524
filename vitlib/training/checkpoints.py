"""`Checkpoints`: a folder with the last states of a run, at least one of which is always whole."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

from ..checkpoint.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from ..images.checks import check_count
from .state_file import CheckpointError, read_state, write_state

_NAME = re.compile(r"step-(\d{8,})\.safetensors")


class Checkpoints:
    """The last `keep` checkpoints of one run, in files step-00001234.safetensors.

    Args:
        directory: created if it does not exist. Use one directory per run.
        keep: checkpoints to keep. With 2 or more, a damaged last one costs the work of one interval, not of the run.
        rank: of this process. Only 0 writes and removes; all may read.

    A checkpoint is written under a temporary name and renamed when it is complete and on the disk; only then are older
    ones removed. Files that a killed run left half-written (`.vitlib-*.partial`) are removed here.

    `damaged` holds a sentence for each file that the last call of `latest` passed over.

    Raises ValueError for keep < 1, NotADirectoryError when there is a file of that name, and OSError as the system
    does.
    """

    def __init__(self, directory: str | os.PathLike[str], *, keep: int = 2, rank: int = 0) -> None:
        self.directory = Path(directory)
        self.keep = check_count("keep", keep, 1)
        self.rank = check_count("rank", rank)
        self.damaged: list[str] = []
        self._unusable: set[int] = set()
        if self.directory.exists() and not self.directory.is_dir():
            raise NotADirectoryError(f"{self.directory} is a file; expected a directory for checkpoints")
        if rank == 0:
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
                leftover.unlink()

    def save(self, step: int, state: Any) -> Path | None:
        """Writes the state after `step` optimiser steps, then removes all but the last `keep`; the path, or None on
        processes that do not write. For what a state may hold see `write_state`.

        Raises ValueError, before anything is written, when the directory has checkpoints of later steps: those of
        another run, which the next `latest` would take for the last. Raises TypeError for what cannot be saved and
        OSError, for instance when the disk is full; the older checkpoints are then still there.
        """
        check_count("step", step)
        if self.rank:
            return None
        present = self.steps()
        later = [other for other in present if other > step and other not in self._unusable]
        if later:
            raise ValueError(
                f"{self.directory} has a checkpoint of step {later[-1]}, later than {step}; "
                "continue from `latest()`, or take an empty directory for a new run"
            )
        path = self._path(step)
        write_state(path, {"step": step, "state": state})
        self._unusable.discard(step)
        usable = sorted({step, *present} - self._unusable)
        for other in {*present} - {step, *usable[-self.keep :]}:
            self._path(other).unlink(missing_ok=True)
        self._unusable.clear()
        return path

    def latest(self) -> tuple[int, Any] | None:
        """(step, state) of the last whole checkpoint, or None when the directory has none.

        A damaged one is passed over with a warning that names it and the reason, and is removed after the next save.
        Raises CheckpointError when there are checkpoints and none is whole: starting anew must be somebody's decision.
        Raises OSError as the system does, and MemoryError, of any file that cannot be read now: it may be whole, and
        going on from the one before would remove it.
        """
        self.damaged = []
        self._unusable = set()
        for step in reversed(self.steps()):
            try:
                content = read_state(self._path(step))
                if not isinstance(content, dict) or not {"step", "state"} <= content.keys():
                    raise CheckpointError(f"{self._path(step)} was not written by `Checkpoints.save`")
                if content["step"] != step:
                    raise CheckpointError(f"{self._path(step)} is of step {content['step']}; it was renamed")
                return step, content["state"]
            except CheckpointError as error:
                self.damaged.append(str(error))
                self._unusable.add(step)
                warnings.warn(f"{error}; taking the checkpoint before it", UserWarning, stacklevel=2)
        if self.damaged:
            raise CheckpointError(
                f"no checkpoint in {self.directory} is whole: {'; '.join(self.damaged)}; "
                "restore one from a copy, or remove them to start anew"
            )
        return None

    def steps(self) -> list[int]:
        """Steps of which there is a file, ascending."""
        if not self.directory.is_dir():
            return []
        matches = (_NAME.fullmatch(name) for name in os.listdir(self.directory))
        return sorted(int(match[1]) for match in matches if match)

    def _path(self, step: int) -> Path:
        return self.directory / f"step-{step:08d}.safetensors"
