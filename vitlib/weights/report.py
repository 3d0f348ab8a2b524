"""The record of a load, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field

from .match import fold_blocks


@dataclass(frozen=True)
class LoadReport:
    """Everything that loading did with a source of weights.

    source, format, wrapper: which file, of which format, under which keys and prefixes the weights were.
    dialect: whose names they were.
    assumed: properties of the model that neither names, shapes nor a config tell, with the values that were taken.
    loaded: parameters that hold the file's values, changed or not.
    resized: parameter -> how it was changed on the way.
    reset: parameters that were not loaded and have their own initial values.
    left_out: tensors of the file that were not used.
    notes: numerics and preprocessing that the source brought, and what was inferred.
    """

    source: str
    format: str
    dialect: str
    wrapper: str = ""
    assumed: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    resized: dict[str, str] = field(default_factory=dict)
    reset: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [
            *(("assumed", sentence) for sentence in self.assumed),
            ("source", self.source),
            ("format", self.format + (f", under {self.wrapper}" if self.wrapper else "")),
            ("dialect", self.dialect),
            ("loaded", f"{len(self.loaded)} parameters"),
            *(("resized", f"{name}: {how}") for name, how in self.resized.items()),
            ("reset", ", ".join(fold_blocks(list(self.reset))) or "-"),
            ("left out", ", ".join(fold_blocks(list(self.left_out))) or "-"),
            *(("note", note) for note in self.notes),
        ]
        return "\n".join(f"{key:<9} {value}" for key, value in rows)
