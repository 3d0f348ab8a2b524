"""A run and its folder: the same arguments go on where the last checkpoint is, and other arguments are refused."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ..checkpoint.atomic import write_atomically
from ..images import ImageError
from ..models import VisionTransformer, ViTConfig
from .checkpoints import Checkpoints
from .evaluate import Evaluation
from .evaluate_labels import LabelsEvaluation
from .interruption import Interruption, Interrupts
from .metrics import describe_measures
from .parallel import broadcast, sum_over_processes, unwrapped
from .random_states import random_states, set_random_states
from .run_files import best_path, load_run, read_record
from .run_log import RunLog
from .sampler import EpochSampler
from .state_file import write_state
from .step import TrainingStep
from .training_state import restore_training_state, training_state


class Run:
    """A training run in a folder: it keeps checkpoints, a log and the best weights, and goes on where it was left.

        run = Run(directory, vars(arguments), classes)
        run.start(step, sampler, epochs=300)
        while run.training:
            for images, labels, _, _ in run.batches(load_batches(dataset, sampler)):
                run.log.step(step(images, labels), right, len(labels))
            run.end_epoch(lambda: {"validation": evaluate(model, ...)})
        run.load_best()

    `fit` is this loop.

    Args:
        directory: made at once, with checkpoints/ in it. Gets run.json (arguments, classes, the config of a
            `VisionTransformer`) when the run starts; with each epoch log.csv, curve.png and, when the epoch is the
            best so far, checkpoints/best.safetensors and, for a `VisionTransformer`, model/.
        arguments: of the script; values that JSON does not know are kept as text.
        classes: names, in the order of the labels.
        may_change: names of arguments that may be others when a run is resumed, such as the number of workers.
        save_every: seconds between checkpoints within an epoch; there is one after each epoch, too.

    Under `paddle.distributed` every process makes one, and only rank 0 writes.

    Within `interruptible()` Ctrl-C and SIGTERM save before they end the run, where a step or an evaluation leaves them
    the chance within two seconds.

    `config` is None in a new run. In a run that goes on it is the `ViTConfig` of its model, if it has one: the
    checkpoint fills a model of that config, so the weights that the run began with are not needed again.

    Raises ValueError when the directory has checkpoints of a run with other arguments or classes, naming them, or
    without a readable run.json.
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
        self._interrupts = Interrupts()
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
        self.model = unwrapped(step.model)
        self.log = RunLog(self.directory, epochs * len(sampler), show=self.rank == 0)
        self.best: dict[str, Any] | None = None
        self._spent, self._parts = 0.0, {"scheduler": step.schedule, "ema": step.ema, "sampler": sampler}
        found = self.checkpoints.latest()
        if found is not None:
            self._restore(found[1])
        elif self.rank:
            set_random_states(random_states(), rank=self.rank)  # the same weights, but other dropped paths
        steps = sum_over_processes(np.eye(world_size)[self.rank] * step.num_steps).astype(int).tolist()
        if len(set(steps)) > 1:
            raise ValueError(
                f"the processes would go on after different steps, {steps}, since not all of them see the same "
                f"checkpoints; {self.directory} has to be on a disk that all machines share"
            )
        if self.rank == 0 and found is None:
            config = self.model.config.to_dict() if isinstance(self.model, VisionTransformer) else None
            self.write_json("run.json", {"arguments": self._record, "classes": self.classes, "config": config})
        self._started = self._saved = time.perf_counter()

    def _restore(self, state: Mapping[str, Any]) -> None:
        extra = restore_training_state(state, self.model, self.step.optimizer, **self._parts, rank=self.rank)
        self.step.set_state_dict(extra["step"])
        self.log.set_state_dict(extra["log"])
        self._spent, self.best = extra["seconds"], extra["best"]
        if self.rank == 0:
            where = f"in epoch {len(self.log.rows) + 1} of {self.num_epochs}"
            where = where if self.training else "with no epoch left to do"
            self.log.message(f"going on after {self.step.num_steps} steps, {where}")

    @property
    def training(self) -> bool:
        """Whether there is an epoch to do, or to evaluate."""
        return len(self.log.rows) < self.num_epochs

    @property
    def seconds(self) -> float:
        """Spent on this run, in all its processes one after the other."""
        return self._spent + time.perf_counter() - self._started

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Save the run when Ctrl-C or SIGTERM ends the block, if they can be held back until it is whole.

        Raises `Interruption`, a KeyboardInterrupt, after the run was saved, and KeyboardInterrupt where it was not: no
        step or evaluation batch was done within two seconds, or the signal came twice. With several processes, which
        would have to agree, nothing is held back.
        """
        if paddle.distributed.get_world_size() > 1:
            yield
            return
        try:
            with self._interrupts.held():
                yield
                self._interrupts.check()
        except Interruption:
            self._save()
            raise

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The rest of an epoch: passes batches on, counts each when its step is done, and keeps checkpoints.

        Batches are (images, labels, indices, unreadable) as `vitlib.images.load_batches` gives them. Unreadable
        images are counted and named in the log; a batch without any image is left out, or, where other processes
        wait for its gradient, raises ImageError.
        """
        epoch = self.sampler.epoch
        if epoch > len(self.log.rows):  # an interruption left an epoch without its evaluation
            return
        self.log.restart_clock()
        for batch in batches:
            self.log.unreadable(batch[3])
            if batch[1] is not None:
                yield batch
            elif paddle.distributed.get_world_size() > 1:
                raise ImageError(
                    f"no image of a batch could be read, and other processes wait for it: {'; '.join(batch[3])}; "
                    "mend them, and go on with the same command"
                )
            self.sampler.advance()
            if not self.step.pending:
                self._interrupts.check()
                if self.sampler.epoch == epoch and time.perf_counter() - self._saved > self.save_every:
                    self._save()

    def end_epoch(self, evaluate: Callable[[], Mapping[str, Evaluation | LabelsEvaluation]]) -> None:
        """Evaluate, log and save; keep the weights if they are the best so far.

        evaluate: gives evaluations by name, such as {"validation": ...}, of the model as it is then: with its averaged
            weights, if the step has an average. The best epoch is the one of the highest first measure by the first of
            them, of equal ones that of the lower loss; without any it is the last.
        """
        self.step.drop_pending()  # of an accumulation that the epoch's end cut off
        with self.step.averaged():
            with self._interrupts.at_once():
                evaluations = evaluate()
            best = self._keep_best(next(iter(evaluations.values()), None))
        columns, said = {}, []
        for part, found in evaluations.items():
            measures = found.measures()
            columns |= {f"{part}_loss": found.loss} | {f"{part}_{name}": value for name, value in measures.items()}
            said += [f"{part} loss {found.loss:.3f}, {describe_measures(measures)}"]
            self.log.name_unreadable(found.unreadable)
        row = self.log.epoch(columns)
        if self.rank == 0:
            trained = f"train loss {row['train_loss']:.3f}, accuracy {row['train_accuracy']:.1f} %"
            suffix = " (the best so far)" if best and evaluations else ""
            self.log.message(f"epoch {row['epoch']} of {self.num_epochs}: {'; '.join([trained, *said])}{suffix}")
        self._save()

    def _keep_best(self, found: Evaluation | LabelsEvaluation | None) -> bool:
        """Whether the weights that the model has now are the best so far; they are then written."""
        score = None
        if found is not None:
            measure = next(iter(found.measures().values()))
            score = [-math.inf if math.isnan(measure) else measure, -found.loss]
        if score and self.best and not score > self.best["score"]:
            return False
        self.best = {"epoch": len(self.log.rows) + 1, "score": score}
        if self.rank == 0:
            write_state(best_path(self.directory), {**self.best, "model": dict(self.model.state_dict())})
            self._write_model()
        return True

    def load_best(self) -> None:
        """Fill the model with the weights of the best epoch, whose number is `best["epoch"]`."""
        if self.rank == 0:
            self.best["epoch"] = load_run(self.directory, self.model)
            self._write_model()  # an end of the process between the two files may have left one of an earlier epoch
        broadcast(self.model)

    def _write_model(self) -> None:
        if isinstance(self.model, VisionTransformer):
            self.model.labels = self.classes
            self.model.save_pretrained(self.directory / "model")

    def _save(self) -> None:
        extra = {
            "step": self.step.state_dict(),
            "log": self.log.state_dict(),
            "seconds": self.seconds,
            "best": self.best,
        }
        state = training_state(self.model, self.step.optimizer, **self._parts, extra=extra)
        self.checkpoints.save(self.step.num_steps, state)
        self._saved = time.perf_counter()

    def write_json(self, name: str, content: Any) -> None:
        """A file in the directory, whole or not at all."""
        with write_atomically(self.directory / name) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())
