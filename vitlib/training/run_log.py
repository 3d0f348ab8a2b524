"""`RunLog`: a progress bar, a CSV row per epoch, a curve, and VisualDL where it is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.atomic import write_atomically
from .parallel import sum_over_processes

_SMOOTHING = 0.98  # of loss and accuracy in the bar: about the last fifty steps


class RunLog:
    """The record of a training run in `directory`: log.csv, curve.png, and visualdl/ when that package is installed.

    On a terminal, a bar shows loss and accuracy (smoothed over about fifty steps), images per second and the time left.
    Call `step` after every step and `epoch` after every epoch. The rows are in `state_dict()`: keep it in the
    checkpoint, and a run that resumes drops the rows of steps that it repeats.

    Args:
        directory: made if it is missing.
        total_steps: steps of the whole run, for the time left.
        show: whether this process shows the bar and writes the files; give `rank == 0` where several train together.

    Raises ImportError, naming the extra, when tqdm or matplotlib is missing.
    """

    def __init__(self, directory: str | os.PathLike[str], total_steps: int, *, show: bool = True) -> None:
        self.directory = Path(directory)
        self.rows: list[dict[str, Any]] = []
        self.show = show
        self._visualdl: Any = None
        self._sums = np.zeros(4)  # of this epoch: loss · images, right ones, images, unreadable ones
        self._left_out = 0  # unreadable ones of this process since the last step
        self._steps, self._named = 0, set[str]()
        self._smooth = np.zeros(2)  # loss, accuracy
        self.restart_clock()
        if not show:
            return
        for package in ("tqdm", "matplotlib"):
            if importlib.util.find_spec(package) is None:
                raise ImportError(f"a run's log needs {package}: pip install 'vitlib[train]'")
        from tqdm import tqdm

        self.directory.mkdir(parents=True, exist_ok=True)
        self._bar = tqdm(total=total_steps, unit="step", dynamic_ncols=True, mininterval=1.0, disable=None)

    def step(self, loss: float, right: int, images: int) -> None:
        """After a step: the mean loss of its images, how many of them were classified rightly, and their number.

        Each process gives its own, and all of them have to: the record is of all."""
        found = sum_over_processes(np.array([loss * images, right, images, self._left_out], float))
        self._sums += found
        self._left_out = 0
        self._steps += 1
        self._images += int(found[2])
        self._until = time.perf_counter()
        if not self.show:
            return
        now = found[:2] / found[2]
        keep = min(_SMOOTHING, 1 - 1 / self._steps)  # the mean of the first fifty
        self._smooth = keep * self._smooth + (1 - keep) * now
        text = f"loss {self._smooth[0]:.3f}, accuracy {100 * self._smooth[1]:.1f} %, {self._speed():.0f} images/s"
        self._bar.set_description_str(f"epoch {len(self.rows) + 1}", refresh=False)
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()

    def unreadable(self, reasons: Iterable[str]) -> None:
        """Count training images that could not be read, and name each once: sentences, as `vitlib.images.collate`
        gives."""
        reasons = list(reasons)
        self._left_out += len(reasons)
        self.name_unreadable(reasons)

    def name_unreadable(self, reasons: Iterable[str]) -> None:
        """Name those of them that were not named before."""
        for reason in reasons:
            if reason not in self._named:
                self._named.add(reason)
                self.message(f"left out: {reason}")

    def epoch(self, evaluation: Mapping[str, float | None] | None = None) -> dict[str, Any]:
        """After an epoch: a row of loss, accuracy (percent), images per second of training over all processes, and
        `evaluation`, which has the same names each time. Gives the row."""
        sums = self._totals()
        row = {
            "epoch": len(self.rows) + 1,
            "train_loss": sums[0] / max(sums[2], 1),
            "train_accuracy": 100 * sums[1] / max(sums[2], 1),
            "images_per_second": self._speed(),
            "unreadable": int(sums[3]),
            **(evaluation or {}),
        }
        self.rows.append({name: round(x, 6) if isinstance(x, float) else x for name, x in row.items()})
        self._sums, self._left_out = np.zeros(4), 0
        if self.show:
            self._write_csv()
            self._draw()
            self._write_visualdl()
        self.restart_clock()
        return self.rows[-1]

    def message(self, text: str) -> None:
        """A line above the bar; in other processes, on their standard error."""
        self._bar.write(text) if self.show else print(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.show:
            self._bar.close()
        if self._visualdl is not None:
            self._visualdl.close()

    def state_dict(self) -> dict[str, Any]:
        """The rows so far and the sums of the present epoch, as plain values."""
        rows = [dict(row) for row in self.rows]
        return {"rows": rows, "steps": self._steps, "sums": self._totals().tolist(), "smooth": self._smooth.tolist()}

    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after these rows; log.csv and the curve follow with the next epoch."""
        self.rows = [dict(row) for row in state["rows"]]
        self._sums, self._smooth = (np.array(state[name], float) for name in ("sums", "smooth"))
        self._steps = int(state["steps"])
        if self.show:
            self._bar.n = self._bar.initial = self._steps
            self._bar.refresh()

    def _totals(self) -> np.ndarray:
        return self._sums + np.array([0, 0, 0, self._left_out])

    def restart_clock(self) -> None:
        """Before the first batch of an epoch: images per second are counted from here."""
        self._images, self._since, self._until = 0, time.perf_counter(), math.inf

    def _speed(self) -> float:
        """Images per second of all processes, from the start of the clock to the last step."""
        return self._images / max(self._until - self._since, 1e-9)

    def _write_csv(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with write_atomically(self.directory / "log.csv") as file:
            file.write(text.getvalue().encode())

    def _draw(self) -> None:
        """Losses on the left; accuracies, and what else is in percent, on the right."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 4), layout="constrained")
        FigureCanvasAgg(figure)
        for axis, kinds in zip(figure.subplots(1, 2), (("loss",), ("accuracy", "map", "f1")), strict=True):
            kind = kinds[0]
            for name in self.rows[0]:
                if name.endswith(kinds):
                    points = [(row["epoch"], row[name]) for row in self.rows if row[name] is not None]
                    label = name.removesuffix(kind).replace("_", " ").strip() or kind
                    axis.plot(*zip(*points, strict=True), marker=".", label=label)
            axis.set(xlabel="epoch", ylabel=f"{kind}{' (%)' if kind == 'accuracy' else ''}")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(alpha=0.3)
            axis.legend()
        with write_atomically(self.directory / "curve.png") as file:
            figure.savefig(file, format="png", dpi=110)

    def _write_visualdl(self) -> None:
        if importlib.util.find_spec("visualdl") is None:
            return
        rows = self.rows[-1:]
        if self._visualdl is None:
            from visualdl import LogWriter

            # VisualDL shows the newest file of a folder alone, so that of a resumed run has to hold all rows
            self._visualdl, rows = LogWriter(logdir=str(self.directory / "visualdl")), self.rows
        for row in rows:
            for name, value in row.items():
                if name != "epoch" and isinstance(value, (int, float)):
                    self._visualdl.add_scalar(tag=name, value=value, step=int(row["epoch"]))
        self._visualdl.flush()
