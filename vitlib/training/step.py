"""One optimizer step: gradient accumulation, clipping, mixed precision, schedule and average in their right order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..images.checks import check_count, check_number
from .ema import ExponentialMovingAverage
from .param_groups import trained_parameters


class TrainingStep:
    """One training step: `step(images, *targets)`, tensors or arrays, trains on one batch and returns the loss as a
    float.

    Args:
        model: in training mode; in a `paddle.DataParallel` or not. `model.set_recompute()` saves memory in here too.
            In several processes the gradient is the mean of theirs, also where one has a smaller batch. An output that
            the loss does not use gets a gradient of 0 there; freeze its head, or weight decay shrinks it.
        loss: called with (model(images), *targets), gives a scalar.
        optimizer: any of Paddle's. Without a grad_clip when it has parameter groups, as Paddle then clips each
            group by itself; use clip_norm.
        accumulate: number k of calls for one optimizer step. The gradient is the mean over the k batches, that of one
            k times larger batch if they are equally large. Processes exchange gradients at the k-th call only.
        clip_norm: scale gradients down to this global norm (as `torch.nn.utils.clip_grad_norm_`); None: no clipping.
        amp: "bfloat16" or "float16" for mixed precision (`paddle.amp.auto_cast`, level O1), float16 with a scaled
            loss; on accelerators only. None: as the model is.
        schedule: a `paddle.optimizer.lr.LRScheduler`, such as `warmup_cosine` makes, stepped after the optimizer, which
            has to be made with it. Without it the schedule is not stepped, and the optimizer keeps its first rate.
        ema: an `ExponentialMovingAverage`, updated after the optimizer.

    After a call `outputs` holds the model's outputs. After an optimizer step `num_steps` has grown by one, and
    `grad_norm` is the global norm before clipping.
    `state_dict` and `set_state_dict` resume it; take them between optimizer steps.

    Raises ValueError for options that cannot work. A call raises RuntimeError for a model in evaluation mode, and
    FloatingPointError, naming the step, in place of an optimizer step with a loss or gradient that is not finite:
    weights, optimizer, schedule and average are then as before it, and its gradients are gone. With amp="float16" a
    gradient that is not finite raises nothing, for the scaled loss may have been too large: the step is left out,
    `grad_norm` is not finite, all those are as before, `num_steps` too, and the scale is lowered.
    """

    def __init__(
        self,
        model: nn.Layer,
        loss: Callable[..., paddle.Tensor],
        optimizer: paddle.optimizer.Optimizer,
        *,
        accumulate: int = 1,
        clip_norm: float | None = None,
        amp: str | None = None,
        schedule: paddle.optimizer.lr.LRScheduler | None = None,
        ema: ExponentialMovingAverage | None = None,
    ) -> None:
        if clip_norm is not None:
            check_number("clip_norm", clip_norm, "(0, inf]")
        if amp not in (None, "bfloat16", "float16"):
            raise ValueError(f"amp={amp!r}: expected 'bfloat16', 'float16' or None")
        if amp is not None and paddle.get_device() == "cpu":
            raise ValueError(f"amp={amp!r} needs an accelerator, and Paddle computes on the CPU; leave it out here")
        groups = optimizer._param_groups
        if optimizer._grad_clip is not None and isinstance(groups[0], dict):
            raise ValueError(
                f"the optimizer has {len(groups)} parameter group(s) and a grad_clip, with which Paddle clips each "
                "group by itself; make it without grad_clip and give clip_norm here"
            )
        if schedule is not None and optimizer._learning_rate is not schedule:
            raise ValueError(
                "the optimizer does not use this schedule; make it with learning_rate=schedule, the same object"
            )
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.accumulate = check_count("accumulate", accumulate, 1)
        self.clip_norm = clip_norm
        self.amp = amp
        self.schedule = schedule
        self.ema = ema
        self.num_steps = 0
        self.grad_norm = 0.0
        self.outputs: Any = None
        self._pending, self._trouble = 0, ""
        self._scaler = paddle.amp.GradScaler() if amp == "float16" else None

    def __call__(self, images: paddle.Tensor | np.ndarray, *targets: paddle.Tensor | np.ndarray) -> float:
        images, *targets = (paddle.to_tensor(x) if isinstance(x, np.ndarray) else x for x in (images, *targets))
        if not self.model.training:
            raise RuntimeError("the model is in evaluation mode; call model.train() before training goes on")
        last = self._pending + 1 == self.accumulate
        with self._unsynchronised(last):
            with self._mixed_precision():
                self.outputs = self.model(images)
                loss = self.loss(self.outputs, *targets) + self._unused(self.outputs)
            share = loss / self.accumulate
            (share if self._scaler is None else self._scaler.scale(share)).backward()
        value = float(loss.item())
        self._pending += 1
        if not math.isfinite(value):
            self._trouble = self._trouble or f"the loss of batch {self._pending} of {self.accumulate} is {value}"
        if last:
            self._step()
        return value

    def _step(self) -> None:
        # Only now, after the exchange of gradients, so that the processes of a DataParallel stop together
        if self._trouble:
            self._give_up(self._trouble)
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        # Not of all the model's: gradients of those that are not trained are not cleared, and would count
        norm = paddle.nn.utils.clip_grad_norm_(
            trained_parameters(self.optimizer), math.inf if self.clip_norm is None else self.clip_norm
        )
        self.grad_norm = float(norm)
        done = math.isfinite(self.grad_norm)
        if self._scaler is not None:  # which leaves out steps that overflowed, and lowers its scale
            self._scaler.step(self.optimizer)
            self._scaler.update()
        elif done:
            self.optimizer.step()
        else:
            self._give_up(f"the norm of the gradients is {self.grad_norm}")
        self._clear()
        if not done:
            return
        if self.schedule is not None:
            self.schedule.step()
        if self.ema is not None:
            self.ema.update()
        self.num_steps += 1

    def _give_up(self, what: str) -> None:
        self._clear()
        raise FloatingPointError(
            f"{what} at step {self.num_steps + 1}, and no weight was changed; look at its batch, lower the learning "
            "rate, lengthen the warm-up or give clip_norm"
        )

    def averaged(self) -> AbstractContextManager[Any]:
        """Within the block the model has its averaged weights, if there is an average, see
        `ExponentialMovingAverage.averaged`."""
        return nullcontext() if self.ema is None else self.ema.averaged()

    @property
    def pending(self) -> int:
        """Batches whose gradients wait for the rest of an accumulation."""
        return self._pending

    def drop_pending(self) -> None:
        """Discard these gradients, as at the end of an epoch whose number of batches `accumulate` does not divide."""
        if self._pending:
            self._clear()

    def _clear(self) -> None:
        self.optimizer.clear_grad(set_to_zero=False)  # frees them
        self._pending, self._trouble = 0, ""

    def _unused(self, outputs: Any) -> paddle.Tensor | float:
        """Zero times every output. DataParallel exchanges gradients only when all of its outputs have one, and a loss
        may not use a head. `find_unused_parameters` does not help: it looks at what the outputs depend on."""
        if not isinstance(self.model, paddle.DataParallel):
            return 0.0
        heads = outputs if isinstance(outputs, (tuple, list)) else [outputs]
        return 0.0 * sum(head.astype("float32").mean() for head in heads)

    def _unsynchronised(self, last: bool) -> AbstractContextManager[Any]:
        waits = isinstance(self.model, paddle.DataParallel) and not last
        return self.model.no_sync() if waits else nullcontext()

    def _mixed_precision(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.amp is None else paddle.amp.auto_cast(dtype=self.amp, level="O1")

    def state_dict(self) -> dict[str, Any]:
        """{"num_steps": int, "scaler": dict}: the optimizer, schedule and average have states of their own."""
        return {"num_steps": self.num_steps, "scaler": {} if self._scaler is None else self._scaler.state_dict()}

    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        self.num_steps = int(state["num_steps"])
        if self._scaler is not None and state["scaler"]:
            self._scaler.load_state_dict(dict(state["scaler"]))
