"""`Record`, the base of frozen dataclasses of options such as `Preprocess`, and checks of their values.

Each check gives the value in its final form or raises ValueError with what was found and what was expected.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import operator
import re
import textwrap
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .checks import did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Self


class Record:
    """Base of a frozen dataclass of options, each with a line in the Args section of the class docstring.

    A subclass is a dataclass again and may add options of its own. An option that does not exist raises TypeError with
    the nearest name, in the constructor, in `replace` and in `from_dict`.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {}  # options of other libraries: what to use here instead

    def __new__(cls, *args: Any, **options: Any) -> Self:
        known_fields(cls, options)  # dataclasses would name no nearest option
        return super().__new__(cls)

    def replace(self, **changes: Any) -> Self:
        """A copy with these options changed. Raises as the class does."""
        return type(self)(**{**self._values(), **known_fields(type(self), changes)})

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON values: tuples become lists, records dicts."""
        return {name: _to_json(value) for name, value in self._values().items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; options that are left out take their defaults. Raises as the class does."""
        if not isinstance(values, Mapping):
            raise TypeError(f"found {type(values).__name__}; expected a dict as to_dict gives it")
        types = field_types(cls)
        return cls(**{name: _from_json(value, types[name]) for name, value in known_fields(cls, values).items()})

    def changes(self) -> dict[str, Any]:
        """The options that differ from the defaults of the class."""
        defaults = {entry.name: entry.default for entry in dataclasses.fields(self)}
        return {name: value for name, value in self._values().items() if value != defaults[name]}

    def __str__(self) -> str:
        """The options that differ from the defaults, one a line, then the others."""
        changed = self.changes()
        same = [f"{name}={_short(value)}" for name, value in self._values().items() if name not in changed]
        lines = [f"{name}={_short(value)}," for name, value in changed.items()]
        if same:
            lines.append("# as by default:")
            lines += textwrap.wrap(", ".join(same), 100, break_long_words=False, break_on_hyphens=False)
        return "\n".join([f"{type(self).__name__}(", *("    " + line for line in lines), ")"])

    def _values(self) -> dict[str, Any]:
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}


def _short(value: Any) -> str:
    """A nested record by its changes alone, on one line."""
    if not isinstance(value, Record):
        return repr(value)
    return f"{type(value).__name__}({', '.join(f'{name}={_short(v)}' for name, v in value.changes().items())})"


def _to_json(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, np.generic):
        return value.item()
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any, hint: Any) -> Any:
    if isinstance(value, dict) and isinstance(hint, type) and issubclass(hint, Record):
        return hint.from_dict(value)
    return value


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """The types of a dataclass's fields, also where annotations are strings; Any for those of a class whose annotations
    name something local to a function."""
    try:
        return typing.get_type_hints(cls)
    except NameError:
        return {**field_types(cls.__mro__[1]), **dict.fromkeys(cls.__annotations__, Any)}


def sentence(cls: type, name: str) -> str:
    """The text about an option in the Args section of the class, or of the base that declares it; "" without one."""
    for base in cls.__mro__:
        lines = inspect.cleandoc(base.__doc__ or "").partition("\nArgs:\n")[2]
        found = re.search(rf"^    {re.escape(name)}: (.*(?:\n {{5,}}.*)*)", lines, re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    return ""


def known_fields(cls: type[Record], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, if each belongs to a field of the record; else TypeError with the nearest name."""
    names = [entry.name for entry in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            way = cls.elsewhere.get(name)
            hint = f"; {way}." if way else did_you_mean(name, names, cutoff=0.4) or "."
            raise TypeError(f"{cls.__name__} has no field {name!r}{hint} It has {', '.join(names)}")
    return dict(values)


def check_size(size: Any) -> int | tuple[int, int] | None:
    """An int, (height, width) or None."""
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


def side_lengths(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size that `check_size` gave."""
    return (size, size) if isinstance(size, int) else size


def check_numbers(field_name: str, values: Any) -> tuple[float, ...]:
    """Finite numbers, one per channel."""
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
