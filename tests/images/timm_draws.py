"""timm and torchvision with a NumPy generator as their only source of randomness, drawn from in their own order."""

from __future__ import annotations

import contextlib
import random
from unittest import mock

import numpy as np
import torch
import torchvision
from timm.data import random_erasing


@contextlib.contextmanager
def drawing_from(rng: np.random.Generator):
    """While this is open, `random`, `np.random` and torch's draws inside the transforms come from `rng`."""

    def jitter(brightness, contrast, saturation, hue):
        order = rng.permutation(4)
        return order, *(
            None if limits is None else rng.uniform(*limits) for limits in (brightness, contrast, saturation, hue)
        )

    def noise(per_pixel, rand_color, patch_size, dtype, device):
        if per_pixel or rand_color:
            shape = patch_size if per_pixel else (patch_size[0], 1, 1)
            return torch.from_numpy(rng.standard_normal(shape, np.float32))
        return torch.zeros((patch_size[0], 1, 1))

    def randint(low, high, size):
        return torch.from_numpy(np.asarray(rng.integers(low, high)).reshape(size))

    replacements = [
        (random, "random", lambda: rng.random()),
        (random, "uniform", lambda a, b: rng.uniform(a, b)),
        (random, "gauss", lambda mean, std: rng.normal(mean, std)),
        (random, "randint", lambda a, b: int(rng.integers(a, b + 1))),
        (random, "choice", lambda options: options[rng.integers(len(options))]),
        (np.random, "rand", lambda *shape: rng.random(shape) if shape else rng.random()),
        (np.random, "beta", lambda a, b, size=None: rng.beta(a, b, size)),
        (np.random, "randint", lambda low, high, size=None: rng.integers(low, high, size)),
        (np.random, "choice", lambda options, size, replace, p: choose(rng, options, size, replace, p)),
        (torch, "rand", lambda count: torch.tensor([rng.random()], dtype=torch.float64)),
        (torch, "randint", randint),
        (torchvision.transforms.ColorJitter, "get_params", staticmethod(jitter)),
        (random_erasing, "_get_pixels", noise),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, replacement in replacements:
            stack.enter_context(mock.patch.object(owner, name, replacement))
        yield


def choose(rng, options, size, replace, p):
    indices = rng.integers(0, len(options), size) if p is None else rng.choice(len(options), size, replace, p)
    return [options[index] for index in indices]
