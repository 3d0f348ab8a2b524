"""The patch grid of a position table, which its number of rows does not always tell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checkpoint.errors import WeightsError
from ..layers.patch_embed import grid_of, to_pair
from .canonical import Canonical

Grid = tuple[int, int]


@dataclass(frozen=True)
class TableGrid:
    """grid: (rows, columns) of patches. assumed: a sentence where neither the file nor the caller told it, else ""."""

    grid: Grid
    assumed: str = ""


def config_grid(options: Mapping[str, Any]) -> Grid | None:
    """The grid that a config's image and patch size make, if it says both and they fit."""
    if "img_size" not in options or "patch_size" not in options:
        return None
    try:
        return grid_of(
            to_pair(options["img_size"]), to_pair(options["patch_size"]), options.get("dynamic_img_pad", False)
        )
    except ValueError:
        return None


def check_grid(grid: Any) -> Grid | None:
    """`source_grid=` as two ints. Raises ValueError for anything else."""
    if grid is None:
        return None
    good = isinstance(grid, (tuple, list)) and len(grid) == 2
    if not good or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in grid):
        raise ValueError(f"source_grid={grid!r}: expected (rows, columns) of the patches in the file's position table")
    return int(grid[0]), int(grid[1])


def rows_for_patches_alone(weights: Canonical) -> bool:
    """Whether prefix tokens may lack rows in the table: DeiT III, DINOv2 with registers, big_vision."""
    names = ("blocks.0.ls1.gamma", "reg_token", "norm_pre.weight")
    return weights.dialect.rowless or any(name in weights.entries for name in names)


def table_grid(
    rows: int,
    prefix: int,
    *,
    metadata: Mapping[str, str],
    source_grid: Grid | None = None,
    told: Grid | None = None,
    model: Grid | None = None,
    rowless: bool = True,
    resampling: bool = False,
) -> TableGrid | None:
    """The grid of a position table with so many rows, `prefix` of them for prefix tokens, or none; None if unknown.

    source_grid: given by the caller. metadata: of the file, where vitlib notes grids. told: by a config beside the
    file. model: the grid of the model that the table goes to. rowless: prefix tokens may have no rows. resampling: the
    caller permits another grid than the model's.

    Raises WeightsError when `source_grid` does not fit the rows, and when the rows fit several grids and the model does
    not decide: a wrong guess would resample a table that needs no change, or the reverse.
    """

    def fits(grid: Grid) -> bool:
        return rows - grid[0] * grid[1] in (0, prefix)

    if source_grid is not None:
        if not fits(source_grid):
            raise WeightsError(
                f"has a position table of {rows} rows, which is no grid of {by(source_grid)} patches with or without "
                f"{prefix} prefix rows"
            )
        return TableGrid(source_grid)
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", metadata.get("vitlib.grid", ""))
    for known in ((int(match[1]), int(match[2])) if match else None, told):
        if known is not None and fits(known):
            return TableGrid(known)
    usual = (rows - prefix, rows) if rowless else (rows - prefix,)  # numbers of patches that such a table is made for
    candidates = list(dict.fromkeys(side for count in usual if (side := _square(count))))
    own = model is not None and model[0] * model[1] in usual
    if own and not resampling:
        return TableGrid(model, f"the position table's grid is {by(model)}, as the model's")
    if own and model not in candidates:
        candidates.insert(0, model)
    if len(candidates) > 1:
        raise WeightsError(
            f"has a position table of {rows} rows, which may be a grid of {' or of '.join(map(by, candidates))} patches"
            + (", and resampling is permitted" if resampling else ""),
            way_out="Say which one with source_grid=(rows, columns)",
        )
    if candidates:
        return TableGrid(candidates[0], f"the position table's grid is {by(candidates[0])}")
    if model is not None and model[0] * model[1] == rows:
        return TableGrid(model, f"the position table's grid is {by(model)}, and has no prefix rows")
    return None


def by(size: Sequence[int]) -> str:
    """A grid or size as "14 x 14"."""
    return f"{size[0]} x {size[1]}"


def _square(count: int) -> Grid | None:
    side = math.isqrt(max(count, 0))
    return (side, side) if side and side * side == count else None
