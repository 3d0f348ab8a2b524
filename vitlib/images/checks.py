"""Checks of arguments, for this package and for those that build on it.

Each gives the value in its final form or raises ValueError with what was found and what was expected.
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Collection, Iterable
from typing import Any


def did_you_mean(value: Any, known: Iterable[str], cutoff: float = 0.6, count: int = 1) -> str:
    """The end of a sentence that names the nearest of the known names, at most `count`; "" where none is near."""
    nearest = [repr(name) for name in difflib.get_close_matches(str(value), list(known), n=count, cutoff=cutoff)]
    if len(nearest) > 1:
        nearest[-2:] = [f"{nearest[-2]} or {nearest[-1]}"]
    return f"; did you mean {', '.join(nearest)}?" if nearest else ""


def check_name(argument: str, value: Any, known: Collection[str]) -> str:
    """One of the known names."""
    if isinstance(value, str) and value in known:
        return value
    raise ValueError(f"{argument}={value!r}: expected one of {', '.join(map(repr, known))}{did_you_mean(value, known)}")


def check_number(argument: str, value: Any, interval: str) -> float:
    """A number of an interval such as "[0, 1)", or "(0, inf)" for any finite number above 0."""
    low, high = map(float, interval[1:-1].split(","))
    known = isinstance(value, numbers.Real) and not isinstance(value, bool)
    above = known and (value >= low if interval[0] == "[" else value > low)  # False for NaN, too
    if not above or not (value <= high if interval[-1] == "]" else value < high):
        raise ValueError(f"{argument}={value!r}: expected a number in {interval}")
    return float(value)


def is_whole(value: Any) -> bool:
    """Whether a value is an int of Python's or NumPy's; a bool is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_count(argument: str, value: Any, low: int = 0) -> int:
    """A whole number of at least `low`."""
    if not is_whole(value) or value < low:
        raise ValueError(f"{argument}={value!r}: expected a whole number of at least {low}")
    return int(value)


def check_range(argument: str, values: Any, interval: str) -> tuple[float, float]:
    """(lowest, highest), in this order and both of the interval."""
    if not isinstance(values, (list, tuple)) or len(values) != 2:
        raise ValueError(f"{argument}={values!r}: expected (lowest, highest)")
    first, last = (check_number(argument, value, interval) for value in values)
    if first > last:
        raise ValueError(f"{argument}={values!r}: expected (lowest, highest), in this order")
    return first, last
