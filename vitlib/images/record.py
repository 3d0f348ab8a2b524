"""Described fields of the records of this package (`Preprocess`, `TrainTransform`), and checks of their values.

Each check gives the value in its final form or raises ValueError with what was found and what was expected.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np

from .checks import did_you_mean


def step(default: Any, sentence: str) -> Any:
    """A dataclass field with a default and a sentence that documents it."""
    return field(default=default, metadata={"help": sentence})


def known_fields(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = [entry.name for entry in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            hint = did_you_mean(name, names, cutoff=0.4)
            raise TypeError(f"{cls.__name__} has no field {name!r}{hint} It has {', '.join(names)}")
    return dict(values)


def check_size(size: Any) -> int | tuple[int, int] | None:
    if size is None:
        return None
    pair = size if isinstance(size, (list, tuple)) else (size, size)
    try:
        if any(isinstance(side, bool) for side in pair):
            raise TypeError
        height, width = (operator.index(side) for side in pair)
    except (TypeError, ValueError):
        raise ValueError(f"size={size!r}: expected an int, (height, width), or None for the model's own") from None
    if height < 1 or width < 1:
        raise ValueError(f"size={size!r}: expected at least 1 pixel")
    return (height, width) if isinstance(size, (list, tuple)) else height


def check_numbers(field_name: str, values: Any) -> tuple[float, ...]:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"{field_name}={values!r}: expected one number per channel, such as (0.5, 0.5, 0.5)")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(f"{field_name}={values!r}: {value!r} is not a finite number")
    return tuple(float(value) for value in values)


def check_mean_and_std(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """One of each per channel; means on the 0..1 scale, deviations above 0."""
    if len(mean) != len(std):
        raise ValueError(f"mean has {len(mean)} channels and std {len(std)}; give both with one number per channel")
    if not all(0 <= value <= 1 for value in mean):
        raise ValueError(f"mean={mean}: expected numbers on the 0..1 scale; divide those of 0..255 by 255")
    if not all(value > 0 for value in std):
        raise ValueError(f"std={std}: expected numbers above 0; use 1.0 to leave a channel unscaled")
