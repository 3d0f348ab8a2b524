"""What the records of this package (`Preprocess`, `TrainTransform`) share: described fields and checks of values.

Each check gives the value in its final form or raises ValueError with what was found and what was expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import operator
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np


def step(default: Any, sentence: str) -> Any:
    """A dataclass field with a default and a sentence that documents it."""
    return field(default=default, metadata={"help": sentence})


def known_fields(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = [entry.name for entry in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
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


def check_name(field_name: str, value: Any, known: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in known:
        return value
    nearest = difflib.get_close_matches(str(value), known, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"{field_name}={value!r}: expected one of {', '.join(map(repr, known))}{hint}")


def check_numbers(field_name: str, values: Any) -> tuple[float, ...]:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"{field_name}={values!r}: expected one number per channel, such as (0.5, 0.5, 0.5)")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(f"{field_name}={values!r}: {value!r} is not a finite number")
    return tuple(float(value) for value in values)


def check_number(field_name: str, value: Any, low: float, high: float = math.inf, *, infinite: bool = False) -> float:
    """A number from `low` to `high`, both included, and finite unless infinity is one of its values."""
    known = not isinstance(value, bool) and isinstance(value, numbers.Real)
    if not known or not low <= value <= high or (math.isinf(value) and not infinite):  # NaN fails, too
        limits = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
        limits += "" if infinite or high < math.inf else ", and finite"
        raise ValueError(f"{field_name}={value!r}: expected a number {limits}")
    return float(value)


def check_count(field_name: str, value: Any, low: int = 0) -> int:
    """A whole number, at least `low`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
        raise ValueError(f"{field_name}={value!r}: expected a whole number, at least {low}")
    return int(value)


def check_range(field_name: str, values: Any, low: float, high: float = math.inf) -> tuple[float, float]:
    """(lowest, highest), in this order and both from `low` to `high`."""
    if not isinstance(values, (list, tuple)) or len(values) != 2:
        raise ValueError(f"{field_name}={values!r}: expected (lowest, highest)")
    first, last = (check_number(field_name, value, low, high) for value in values)
    if first > last:
        raise ValueError(f"{field_name}={values!r}: expected (lowest, highest), in this order")
    return first, last


def check_mean_and_std(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """One of each per channel; means on the 0..1 scale, deviations above 0."""
    if len(mean) != len(std):
        raise ValueError(f"mean has {len(mean)} channels and std {len(std)}; give both with one number per channel")
    if not all(0 <= value <= 1 for value in mean):
        raise ValueError(f"mean={mean}: expected numbers on the 0..1 scale; divide those of 0..255 by 255")
    if not all(value > 0 for value in std):
        raise ValueError(f"std={std}: expected numbers above 0; use 1.0 to leave a channel unscaled")
