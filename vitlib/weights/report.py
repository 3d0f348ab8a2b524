"""The record of a load, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field

from .match import fold_blocks


@dataclass(frozen=True)
class LoadReport:
    """Everything that loading did with a source of weights.

    source, format, wrapper: the file, its format, and the keys and prefixes under which the weights were found.
    dialect: the codebase whose tensor names the file has.
    assumed: properties of the model that names, shapes and config do not determine, with the assumed values.
    loaded: parameters with values from the file, also if they were resized.
    resized: {parameter: how it was changed}.
    reset: parameters that were not loaded and have new initial values; those that kept the values that the model had
        are in a note.
    left_out: tensors of the file that were not used.
    notes: numerics and preprocessing taken from the source, and inferred properties.
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
