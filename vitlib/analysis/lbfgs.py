"""Limited-memory BFGS (Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 7.5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np


def minimize(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    steps: int,
    *,
    memory: int = 10,
    tolerance: float = 1e-5,
) -> np.ndarray:
    """A minimum of a smooth convex function, from `start` [n] in at most so many steps.

    loss: point [n] -> (value, gradient [n]). It stops where no entry of the gradient exceeds `tolerance`, or where no
    step along its direction makes the value smaller.
    """
    point = np.asarray(start, "float64")
    value, gradient = loss(point)
    pairs: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=memory)  # (change of the point, of the gradient)
    for _ in range(steps):
        if np.abs(gradient).max() <= tolerance:
            break
        direction = _direction(gradient, pairs)
        slope = float(direction @ gradient)
        length = 1.0 if pairs else min(1.0, 1 / np.abs(gradient).sum())
        for _ in range(30):  # backtracking until the value falls enough (Armijo)
            trial = point + length * direction
            trial_value, trial_gradient = loss(trial)
            if trial_value <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break
        moved, turned = trial - point, trial_gradient - gradient
        if moved @ turned > 1e-10 * float(turned @ turned):
            pairs.append((moved, turned))
        point, value, gradient = trial, trial_value, trial_gradient
    return point


def _direction(gradient: np.ndarray, pairs: deque[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The two-loop recursion: minus the gradient, times the approximate inverse of the Hessian."""
    result, factors = -gradient, []
    for moved, turned in reversed(pairs):
        factor = (moved @ result) / (moved @ turned)
        factors.append(factor)
        result = result - factor * turned
    if pairs:
        moved, turned = pairs[-1]
        result = result * ((moved @ turned) / (turned @ turned))
    for (moved, turned), factor in zip(pairs, reversed(factors), strict=True):
        result = result + (factor - (turned @ result) / (moved @ turned)) * moved
    return result
