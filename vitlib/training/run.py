"""A run and its folder: the same arguments go on where the last checkpoint is, and other arguments are refused."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..checkpoint.atomic import write_atomically
from ..images import ImageError
from ..models import VisionTransformer, ViTConfig
from .checkpoints import Checkpoints
from .evaluate import Evaluation
from .parallel import sum_over_processes, unwrapped
from .random_states import random_states, set_random_states
from .run_log import RunLog
from .sampler import EpochSampler
from .step import TrainingStep
from .training_state import restore_training_state, training_state


class Run:
    """What a training script does beside training: resume, log, keep checkpoints, write the result.

        run = Run(directory, vars(arguments), classes)
        run.start(step, sampler, epochs=300)
        while run.training:
            for images, labels, _, unreadable in run.batches(load_batches(dataset, sampler)):
                run.log.step(step(images, labels), right, len(labels))
            run.end_epoch({"validation": evaluate(...)})
        run.finish({"test": evaluate(...)})

    Args:
        directory: is made at once, with checkpoints/ in it; gets run.json (arguments, classes, the config of a
            `VisionTransformer`) when the run starts, log.csv and curve.png with the first epoch; at its end
            result.json, and for a `VisionTransformer` model/.
        arguments: of the script; what JSON does not know is kept as text.
        classes: names, in the order of the labels.
        may_change: names of arguments that may be others when a run is resumed, such as the number of workers.
        save_every: seconds between checkpoints within an epoch; there is one after each epoch, too.

    Under `paddle.distributed` every process makes one, and only rank 0 writes.

    `config` is None in a new run, and in one that goes on the `ViTConfig` of its model, if it has one: the checkpoint
    fills a model of that config, so the weights that the run began with are not needed again.

    Raises ValueError when the directory has checkpoints of a run with other arguments or classes, naming them, or
    without the run.json that tells.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        arguments: Mapping[str, Any],
        classes: list[str],
        *,
        may_change: Collection[str] = (),
        save_every: float = 300.0,
    ) -> None:
        self.directory = Path(directory)
        self.classes = list(classes)
        self.save_every = save_every
        self.rank = paddle.distributed.get_rank()
        self.config: ViTConfig | None = None
        self._record = json.loads(json.dumps(dict(arguments), default=str))
        self.checkpoints = Checkpoints(self.directory / "checkpoints", rank=self.rank)
        if self.checkpoints.steps():  # without them there is nothing that other arguments would spoil
            before = read_record(self.directory)
            self._compare(before, may_change)
            if before.get("config"):
                self.config = ViTConfig.from_dict(before["config"])

    def _compare(self, before: dict[str, Any], may_change: Collection[str]) -> None:
        old, record = before["arguments"], self._record
        changed = [name for name in {**old, **record} if name not in may_change and old.get(name) != record.get(name)]
        if changed:
            listed = ", ".join(f"{name} was {old.get(name)!r} and is {record.get(name)!r}" for name in changed)
            raise ValueError(
                f"{self.directory} holds a run with other arguments: {listed}; give the same to go on with it, or "
                "another directory"
            )
        if before["classes"] != self.classes:
            raise ValueError(f"{self.directory} holds a run on the classes {before['classes']}, not {self.classes}")

    def start(self, step: TrainingStep, sampler: EpochSampler, *, epochs: int) -> None:
        """Begin, or go on after the last whole checkpoint.

        Raises CheckpointError when the checkpoints are of another model or all damaged, and ValueError when the
        processes would see the same samples, or go on after different steps."""
        world_size = paddle.distributed.get_world_size()
        if (sampler.rank, sampler.world_size) != (self.rank, world_size):
            raise ValueError(
                f"this is process {self.rank} of {world_size}, and the sampler is for {sampler.rank} of "
                f"{sampler.world_size}; make it with rank=paddle.distributed.get_rank() and "
                "world_size=paddle.distributed.get_world_size()"
            )
        self.step, self.sampler, self.num_epochs = step, sampler, epochs
        self.log = RunLog(self.directory, epochs * len(sampler), show=self.rank == 0)
        self._spent, self._parts = 0.0, {"scheduler": step.schedule, "ema": step.ema, "sampler": sampler}
        if (found := self.checkpoints.latest()) is not None:
            extra = restore_training_state(
                found[1], unwrapped(step.model), step.optimizer, **self._parts, rank=self.rank
            )
            step.set_state_dict(extra["step"])
            self.log.set_state_dict(extra["log"])
            self._spent = extra["seconds"]
            if self.rank == 0:
                where = f"in epoch {sampler.epoch + 1} of {epochs}" if self.training else "with no epoch left to do"
                self.log.message(f"going on after {step.num_steps} steps, {where}")
        elif self.rank:
            set_random_states(random_states(), rank=self.rank)  # the same weights, but other dropped paths
        steps = sum_over_processes(np.eye(world_size)[self.rank] * step.num_steps).astype(int).tolist()
        if len(set(steps)) > 1:
            raise ValueError(
                f"the processes would go on after different steps, {steps}, since not all of them see the same "
                f"checkpoints; {self.directory} has to be on a disk that all machines share"
            )
        if self.rank == 0 and found is None:
            model = unwrapped(step.model)
            config = model.config.to_dict() if isinstance(model, VisionTransformer) else None
            content = {"arguments": self._record, "classes": self.classes, "config": config}
            _write_json(self.directory / "run.json", content)
        self._started = self._saved = time.perf_counter()

    @property
    def training(self) -> bool:
        """Whether there is an epoch to do."""
        return self.sampler.epoch < self.num_epochs

    @property
    def seconds(self) -> float:
        """Spent on this run, in all its processes one after the other."""
        return self._spent + time.perf_counter() - self._started

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The rest of an epoch: passes batches on, counts each when its step is done, and keeps checkpoints.

        Batches are (images, labels, indices, unreadable) as `vitlib.images.load_batches` gives them. Unreadable
        pictures are counted and named in the log; a batch without any picture is left out, or, where other processes
        wait for its gradient, raises ImageError.
        """
        epoch = self.sampler.epoch
        self.log.restart_clock()
        for batch in batches:
            self.log.unreadable(batch[3])
            if batch[1] is not None:
                yield batch
            elif paddle.distributed.get_world_size() > 1:
                raise ImageError(
                    f"no picture of a batch could be read, and other processes wait for it: {'; '.join(batch[3])}; "
                    "mend them, and go on with the same command"
                )
            self.sampler.advance()
            late = time.perf_counter() - self._saved > self.save_every
            if late and self.sampler.epoch == epoch and not self.step.pending:
                self._save()

    def end_epoch(self, evaluations: Mapping[str, Evaluation]) -> None:
        """A row of the log, with loss and accuracy of each (`validation_loss`, ...) beside those of training, and a
        checkpoint."""
        self.step.drop_pending()  # of an accumulation that the epoch's end cut off
        columns = {}
        for part, found in evaluations.items():
            columns |= {f"{part}_loss": found.loss, f"{part}_accuracy": found.accuracy}
            self.log.name_unreadable(found.unreadable)
        self.log.epoch(columns)
        self._save()

    def _save(self) -> None:
        extra = {"step": self.step.state_dict(), "log": self.log.state_dict(), "seconds": self.seconds}
        state = training_state(unwrapped(self.step.model), self.step.optimizer, **self._parts, extra=extra)
        self.checkpoints.save(self.step.num_steps, state)
        self._saved = time.perf_counter()

    def finish(self, evaluations: Mapping[str, Evaluation]) -> str:
        """Write result.json and model/; give a few lines that say what they hold."""
        for evaluation in evaluations.values():
            self.log.name_unreadable(evaluation.unreadable)  # each process has its own, and rank 0 alone a result.json
        self.log.close()
        model = unwrapped(self.step.model)
        parameters, seconds = sum(math.prod(p.shape) for p in model.parameters()), self.seconds
        if self.rank == 0:
            parts = {part: _described(evaluation) for part, evaluation in evaluations.items()}
            about = {"parameters": parameters, "seconds": round(seconds), "paddle": paddle.__version__}
            _write_json(self.directory / "result.json", about | parts)
            if isinstance(model, VisionTransformer):
                model.labels = self.classes
                model.save_pretrained(self.directory / "model")
        lines = [
            f"{part}: "
            + ", ".join(f"{name.replace('_', ' ')} {found.accuracy_of(name):.1f} %" for name in found.predictions)
            + f" of {(found.labels >= 0).sum()} pictures"
            + (f", and {(found.labels < 0).sum()} that could not be read" if (found.labels < 0).any() else "")
            for part, found in evaluations.items()
        ]
        return "\n".join([*lines, f"{parameters:,} parameters, {seconds:.0f} s; everything is in {self.directory}"])


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


def load_run(directory: str | os.PathLike[str], model: nn.Layer) -> None:
    """Fill a model, built as in the run of this directory, with the weights of its last checkpoint: the
    averaged ones, if the run averaged them.

    Raises FileNotFoundError where there is no checkpoint, and ValueError when names or shapes do not fit.
    """
    found = Checkpoints(Path(directory) / "checkpoints", rank=1).latest()  # other ranks than 0 only read
    if found is None:
        raise FileNotFoundError(f"{os.fspath(directory)} has no checkpoint; finish its training first")
    state = found[1]
    values = state["model"] if state["ema"] is None else state["ema"]["average"]
    own = model.state_dict()
    wrong = [name for name in {**own, **values} if list(np.shape(own.get(name))) != list(np.shape(values.get(name)))]
    if wrong:
        raise ValueError(
            f"the checkpoint in {os.fspath(directory)} does not fit this {type(model).__name__}: {len(wrong)} names or "
            f"shapes differ, {sorted(wrong)[0]!r} for one"
        )
    model.set_state_dict(values)


def _described(evaluation: Evaluation) -> dict[str, Any]:
    """Accuracies in percent, and which pictures were right, as bits in hexadecimal; of unreadable ones the sentences of
    this process."""
    names = list(evaluation.predictions)
    return {
        "pictures": len(evaluation.labels),
        "loss": evaluation.loss,
        **{name: evaluation.accuracy_of(name) for name in names},
        "right": {name: np.packbits(evaluation.correct(name)).tobytes().hex() for name in names},
        "unreadable": evaluation.unreadable,
    }


def _write_json(path: Path, content: Any) -> None:
    with write_atomically(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
