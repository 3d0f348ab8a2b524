"""The state of every random generator that training draws from, as plain values, and back."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

Generators = np.random.Generator | Mapping[str, np.random.Generator] | None


def random_states(rng: Generators = None) -> dict[str, Any]:
    """Where Paddle's (CPU and all devices of the current kind), NumPy's and Python's global generators are, and those
    of `rng`, one or several by name: dicts, lists, ints, text and arrays, which `write_state` saves to the bit."""
    kinds = dict.fromkeys(("cpu", paddle.get_device().split(":")[0]))
    return {
        "paddle": {kind: [_from_paddle(state) for state in paddle.get_rng_state(kind)] for kind in kinds},
        "numpy": np.random.get_state(legacy=False),
        "python": random.getstate(),
        "generators": {name: generator.bit_generator.state for name, generator in _named(rng).items()},
    }


def set_random_states(states: Mapping[str, Any], rng: Generators = None, *, rank: int = 0) -> None:
    """Sets the global generators, and those of `rng`, to what `random_states` found.

    rank: processes other than 0 get global generators that are seeded from the state and the rank, so that their
        dropout differs from that of rank 0, of which alone the state is known; those of `rng` are set on each.

    Warns when a kind of device, or a number of devices, is another one: its generators stay as they are. Raises
    ValueError, before anything is changed, when `rng` has other names or kinds of generators than the states.
    """
    check_generators(states, rng)
    for name, generator in _named(rng).items():
        generator.bit_generator.state = states["generators"][name]
    if rank:
        _seed_other(states, rank)
        return
    for kind, saved_states in states["paddle"].items():
        here = paddle.get_rng_state(kind) if kind in ("cpu", paddle.get_device().split(":")[0]) else []
        if len(here) == len(saved_states):
            restored = [_to_paddle(state, type(here[0])) for state in saved_states]
            if kind == "cpu":
                paddle.base.core.default_cpu_generator().set_state(restored[0])
            else:
                paddle.set_rng_state(restored)  # naming the device, as in `get_rng_state`, fails in Paddle 3.0.0
        else:
            warnings.warn(
                f"the state has {len(saved_states)} random generators of {kind} devices, here are {len(here)}: they "
                "are left as they are, and what is drawn will differ from a run without interruption",
                UserWarning,
                stacklevel=3,
            )
    np.random.set_state(states["numpy"])
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))


def check_generators(states: Mapping[str, Any], rng: Generators = None) -> None:
    """Raises ValueError when `rng` has other names or kinds of generators than the states."""
    saved = {name: state["bit_generator"] for name, state in states["generators"].items()}
    found = {name: generator.bit_generator.state["bit_generator"] for name, generator in _named(rng).items()}
    if saved != found:
        raise ValueError(f"the random generators are {found or 'none'} and the state is of {saved or 'none'}")


def _named(rng: Generators) -> dict[str, np.random.Generator]:
    return {"": rng} if isinstance(rng, np.random.Generator) else dict(rng or {})


def _from_paddle(state: Any) -> list[Any]:
    """[device, seed, offset, the text that C++ prints for its Mersenne Twister], which Paddle itself would pickle."""
    device, seed, offset, engine = state.__getstate__()
    return [device, seed, offset, bytes(engine).decode("ascii")]


def _to_paddle(values: list[Any], kind: type) -> Any:
    device, seed, offset, engine = values
    state = kind.__new__(kind)
    state.__setstate__((device, seed, offset, list(engine.encode("ascii"))))
    return state


def _seed_other(states: Mapping[str, Any], rank: int) -> None:
    text = f"{sorted(states['paddle'].items())} {rank}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
    paddle.seed(seed)
    np.random.seed(seed)
    random.seed(seed)
