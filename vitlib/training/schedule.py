"""The learning rate over the steps of a run: linear warm-up, then half a cosine."""

from __future__ import annotations

import math

from paddle.optimizer.lr import LambdaDecay

from ..images.checks import check_count, check_number


def warmup_cosine(
    base_lr: float,
    *,
    total_steps: int,
    warmup_steps: int = 0,
    warmup_lr: float = 1e-6,
    final_lr: float = 1e-5,
) -> LambdaDecay:
    """A Paddle scheduler: warmup_lr at step 0, linearly to base_lr at step warmup_steps, then half a cosine to final_lr
    at total_steps, where it stays: final + (base - final) · (1 + cos(π · share of the steps after warm-up)) / 2.

    Args:
        base_lr: the highest rate. DeiT: 5e-4 · batch size / 512, the batch size over all processes.
        total_steps, warmup_steps: optimizer steps, warm-up included. DeiT: 300 and 5 epochs of them.
        warmup_lr, final_lr: the rate at the start (if there is a warm-up) and at the end.

    Give it to the optimizer as learning_rate and call its `step()` after every `optimizer.step()` (`TrainingStep`
    does). `state_dict` and `set_state_dict` resume it. Paddle's own CosineAnnealingDecay rises again after its last
    step; this schedule keeps final_lr.

    Raises ValueError for rates that are not finite, below 0 or above base_lr, and for steps that do not fit.
    """
    base_lr = check_number("base_lr", base_lr, "(0, inf)")
    for name, rate in (("final_lr", final_lr), ("warmup_lr", warmup_lr if warmup_steps else 0)):
        if check_number(name, rate, "[0, inf)") > base_lr:
            raise ValueError(f"{name}={rate!r}: expected at most base_lr={base_lr!r}")
    if check_count("warmup_steps", warmup_steps) >= check_count("total_steps", total_steps, 1):
        raise ValueError(f"warmup_steps={warmup_steps!r}: expected less than total_steps={total_steps!r}")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (warmup_lr + (base_lr - warmup_lr) * step / warmup_steps) / base_lr
        share = min((step - warmup_steps) / (total_steps - warmup_steps), 1.0)
        return (final_lr + (base_lr - final_lr) * (1 + math.cos(math.pi * share)) / 2) / base_lr

    return LambdaDecay(base_lr, factor)
