"""Look at a checkpoint and at the model that it would become, without allocating the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import paddle

from ..checkpoint.errors import WeightsError
from ..models import build_model
from .canonical import canonical
from .check_fit import find_problems
from .load import LoadOptions, Opened, plan_load, source_config
from .match import fold_blocks

MOST_VALUES = 500_000_000  # that are read: a second or two


@dataclass(frozen=True)
class Inspection:
    """The content of a source of weights.

    source, format, wrapper: which file, of which format, under which keys and prefixes the weights are.
    others: keys of further tables of weights in the file, which `part=` takes.
    dialect: whose names they are; "" when they are of no known codebase.
    options: the model that `from_pretrained` would build, as the fields of `ViTConfig` that differ from the defaults.
    tensors: number of tensors. parameters: number of values in them.
    left_out: tensors that the model has no use for: of other parts of a larger model, and unexpected ones.
    assumed: what neither names, shapes nor a config tell.
    problem: why it would be refused, "" when it would load.
    unchecked: what was not looked at and may still be refused, "" when everything was.
    """

    source: str
    format: str
    wrapper: str = ""
    others: tuple[str, ...] = ()
    dialect: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    tensors: int = 0
    parameters: int = 0
    left_out: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    problem: str = ""
    unchecked: str = ""

    def __str__(self) -> str:
        rows = [
            ("source", self.source),
            ("format", self.format + (f", under {self.wrapper}" if self.wrapper else "")),
            ("parts", ", ".join(self.others)),
            ("dialect", self.dialect or "unknown"),
            ("tensors", f"{self.tensors} with {self.parameters:,} values"),
            ("model", ", ".join(f"{name}={value!r}" for name, value in self.options.items())),
            ("left out", ", ".join(fold_blocks(list(self.left_out)))),
            *(("assumed", sentence) for sentence in self.assumed),
            ("problem", self.problem),
            ("unchecked", self.unchecked),
        ]
        return "\n".join(f"{key:<9} {value}" for key, value in rows if value)


def inspect_opened(opened: Opened, options: LoadOptions, *, values: bool = True) -> Inspection:
    """Look at opened weights, as loading would. Raises nothing for weights that would be refused: `problem` says why.

    values: read them, where they are not more than `MOST_VALUES`, to find those that are not finite.
    """
    file = opened.file
    parameters = sum(math.prod(file.spec(name)[0]) for name in file)
    found: dict[str, Any] = {
        "source": file.path,
        "format": file.format,
        "wrapper": file.wrapper,
        "others": file.others,
        "tensors": len(file),
        "parameters": parameters,
        "assumed": opened.assumed,
    }
    try:
        weights = canonical(file, options.dialect)
        wrapper = " > ".join(part for part in (file.wrapper, weights.prefix) if part)
        left_out = (*weights.foreign, *weights.unexpected)
        found |= {"dialect": weights.dialect.name, "wrapper": wrapper, "left_out": left_out}
        config, opened = source_config(opened, options, {})
        found |= {"options": config.changes(), "assumed": (*opened.assumed, *opened.config.assumed)}
        with paddle.LazyGuard():
            model = build_model(config)
        plan = plan_load(model, opened, options)
        found |= {"assumed": plan.assumed, "left_out": (*plan.match.left_out, *plan.match.unexpected)}
        if not (values := values and parameters <= MOST_VALUES):
            found["unchecked"] = f"{parameters:,} values, which loading refuses unless all are finite"
        problems, ways = find_problems(model, plan.match, file, options.allow, plan.conflicts, values=values)
        found["problem"] = ". ".join((*problems, *ways))
    except WeightsError as error:
        found["problem"] = f"{error.reason}. {error.way_out}".strip()
    return Inspection(**found)
