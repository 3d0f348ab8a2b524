"""Matching the position table: prefix rows folded, added or dropped; the grid resampled. Grids are (rows, columns)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle

from ..layers import resample_positions
from ..models import VisionTransformer
from .canonical import Canonical, Entry, Tensors
from .match import Match
from .position_grid import Grid, by, rows_for_patches_alone, table_grid


def fit_positions(
    match: Match,
    entries: dict[str, Entry],
    model: VisionTransformer,
    weights: Canonical,
    file: Tensors,
    *,
    method: str,
    metadata: Mapping[str, str],
    source_grid: Grid | None,
    told: Grid | None,
    resampling: bool,
) -> None:
    """Fit the position table of a file to a model's grid and prefix tokens.

    method: of resampling. metadata, source_grid, told, resampling: as in `table_grid`.
    """
    entry, config = entries.get("pos_embed"), model.config
    if entry is None or not config.has_position_table or len(entry.shape) != 3 or entry.shape[2] != config.embed_dim:
        return
    tokens = [name for name in ("cls_token", "dist_token", "reg_token") if name in entries or name in match.left_out]
    rowless = [name for name in tokens if name in weights.dialect.rows_without]
    # before the patches in the file
    counts = {name: _token_count(entries.get(name)) for name in tokens if name not in rowless}
    rows, here = entry.shape[1], model.patch_embed.grid_size
    prefix = sum(counts.values())
    found = table_grid(
        rows,
        prefix,
        metadata=metadata,
        source_grid=source_grid,
        told=told,
        model=here,
        rowless=rows_for_patches_alone(weights),
        resampling=resampling,
    )
    if found is None:
        match.misshapen["pos_embed"] = (
            f"{rows} rows are no square grid with or without {prefix} prefix rows; give its grid as "
            "source_grid=(rows, columns)"
        )
        match.changes.setdefault("pos_embed", [])
        return
    grid = found.grid
    if found.assumed:
        match.assumed.append(found.assumed)
    file_rows = counts if rows - grid[0] * grid[1] == prefix else {}
    model_rows = {name: getattr(model, name).shape[1] for name in model.prefix_names}
    if config.no_embed_class:
        model_rows = {}
    if bool(file_rows) != bool(model_rows) and (prefix or model_rows):
        _fold_rows(match, entries, entry, file_rows, model_rows, file)
        if rowless:  # there is no other way to have these tokens without rows
            match.needed.pop("class_row")
    if list(file_rows.items()) != list(model_rows.items()):
        _arrange_rows(match, file_rows, model_rows)
    if grid != here:
        match.needed["position"] = f"the file's position table is for a grid of {by(grid)}, the model's for {by(here)}"

        def resample(table: np.ndarray) -> np.ndarray:
            return resample_positions(paddle.to_tensor(table.astype("float32")), grid, here, method).numpy()

        match.change("pos_embed", resample, f"grid {by(grid)} -> {by(here)}, method {method!r}")


def _arrange_rows(match: Match, file_rows: dict[str, int], model_rows: dict[str, int]) -> None:
    """The rows of the model's prefix tokens, zeros for those that the file lacks."""
    where = np.cumsum([0, *file_rows.values()])
    starts = dict(zip(file_rows, where.tolist(), strict=False))

    def arrange(table: np.ndarray) -> np.ndarray:
        new = []
        for name, count in model_rows.items():
            kept = file_rows.get(name) == count
            zeros = np.zeros((1, count, table.shape[-1]))
            new.append(table[:, starts[name] : starts[name] + count] if kept else zeros)
        return np.concatenate([*new, table[:, int(where[-1]) :]], axis=1).astype(table.dtype)

    match.change("pos_embed", arrange, f"prefix rows {sum(file_rows.values())} -> {sum(model_rows.values())}")


def _fold_rows(
    match: Match,
    entries: dict[str, Entry],
    table: Entry,
    file_rows: dict[str, int],
    model_rows: dict[str, int],
    file: Tensors,
) -> None:
    """Rows that only one side has: the file's are added to its tokens (the sum is all that a model sees of them), the
    model's own start at zero."""
    if model_rows:
        match.needed["class_row"] = "the model's position table has rows for the prefix tokens, the file's has none"
        return
    match.needed["class_row"] = "the file's position table has rows for the prefix tokens, the model's has none"
    start = 0
    for name, count in file_rows.items():
        begin, start = start, start + count
        if name in entries:
            match.change(
                name,
                lambda token, begin=begin, count=count: token + table.read(file)[:, begin : begin + count],
                "position row added",
            )


def _token_count(entry: Entry | None) -> int:
    return entry.shape[1] if entry is not None and len(entry.shape) == 3 else 1
