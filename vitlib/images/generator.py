"""The random generator of an augmentation that was given none."""

from __future__ import annotations

import numpy as np


def as_generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """`rng` itself; for an int a generator with that seed; for None one that differs at each call.

    The latter is seeded from NumPy's global random state, which `paddle.io.DataLoader` seeds anew in each worker and
    epoch, from the state in the process that made it: `numpy.random.seed` there makes a run repeatable.
    """
    if rng is None:
        rng = int(np.random.randint(np.iinfo(np.int64).max, dtype=np.int64))
    return np.random.default_rng(rng)
