"""A table of a model's layers."""

from __future__ import annotations

from dataclasses import dataclass

from ..layers.patch_embed import Size, to_pair
from ..models import VisionTransformer
from .costs import LayerCost, layer_costs, resolved_model
from .counting import Count, total

_COLUMNS = ("layer", "class", "output", "parameters", "MACs", "memory")


@dataclass(frozen=True)
class Summary:
    """A model by layer; `print` shows the table.

    title: class and image size.
    rows: the layers in the order in which they run.
    itemsize: bytes of a number of the model's type.
    """

    title: str
    rows: tuple[LayerCost, ...]
    itemsize: int

    @property
    def count(self) -> Count:
        """As `vitlib.count` gives it."""
        return total(list(self.rows))

    @property
    def parameters(self) -> int:
        """All parameters, trained or not."""
        return self.count.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.count.macs

    @property
    def activation_memory(self) -> int:
        """Bytes of the outputs of all layers for one image."""
        return sum(row.activations for row in self.rows) * self.itemsize

    def __str__(self) -> str:
        cells = [_COLUMNS]
        for first, last, rows in _grouped(self.rows):
            if last > first:
                cells.append((f"blocks.{first} to {last}", f"{last - first + 1} alike, each:", "", "", "", ""))
            cells += [self._cells(row, f"blocks.{first}" if last > first else "") for row in rows]
        cells.append(("total", "", "", f"{self.parameters:,}", f"{self.macs:,}", _bytes(self.activation_memory)))
        widths = [max(len(row[i]) for row in cells) for i in range(len(_COLUMNS))]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, rule, lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def _cells(self, row: LayerCost, block: str) -> tuple[str, ...]:
        name = row.name or "tokens, positions"
        if block:
            name = f"  {row.name.removeprefix(block).removeprefix('.') or 'sums'}"
        output = str(list(row.output)) if row.output else ""
        macs = "not known" if row.macs is None else f"{row.macs:,}"
        return name, row.kind, output, f"{row.parameters:,}", macs, _bytes(row.activations * self.itemsize)


def summary(model_or_name: VisionTransformer | str, img_size: Size | None = None) -> Summary:
    """A table of a model's layers: output shape, parameters, multiply-accumulates and memory of the activations, for
    one image; the columns add up to `vitlib.count`. Blocks that are alike are shown once.

    Args:
        model_or_name: a model, filled or not, or a preset's name, for which nothing is allocated.
        img_size: for images of this size, int or (height, width), instead of the model's own. Parameters stay those of
            the model as it is.

    The memory of the activations is that of the outputs of all layers, with the attention weights. Training keeps most
    of them for the gradient; evaluation needs the largest few at a time.

    Raises ValueError for an unknown preset and for a size that the patch does not divide.
    """
    model = resolved_model(model_or_name)
    height, width = model.patch_embed.img_size if img_size is None else to_pair(img_size, "img_size")
    title = f"{type(model).__name__}, one image of {height} x {width}"
    itemsize = {"float64": 8, "float32": 4}.get(str(model.parameters()[0].dtype).rpartition(".")[2], 2)
    return Summary(title, tuple(layer_costs(model, img_size)), itemsize)


def _grouped(rows: tuple[LayerCost, ...]) -> list[tuple[int, int, list[LayerCost]]]:
    """(first block, last block, rows of the first of them) for runs of blocks that are alike; (0, 0, rows) for the
    layers outside the blocks."""
    groups: list[tuple[int, int, list[LayerCost]]] = []
    blocks: dict[int, list[LayerCost]] = {}
    for row in rows:
        part, _, rest = row.name.partition(".")
        if part == "blocks":
            blocks.setdefault(int(rest.partition(".")[0]), []).append(row)
    shown = False
    for row in rows:
        if not row.name.startswith("blocks."):
            groups.append((0, 0, [row]))
        elif not shown:
            shown = True
            for index, inner in blocks.items():
                if groups and groups[-1][2][0].name.startswith("blocks.") and _like(groups[-1], inner):
                    groups[-1] = (groups[-1][0], index, groups[-1][2])
                else:
                    groups.append((index, index, inner))
    return groups


def _like(group: tuple[int, int, list[LayerCost]], rows: list[LayerCost]) -> bool:
    """Whether the rows of a block are those of a group but for the block's number."""

    def key(row: LayerCost) -> tuple:
        inner = row.name.split(".", 2)[2:]
        return (inner, row.kind, row.output, row.parameters, row.macs, row.activations)

    return [key(row) for row in group[2]] == [key(row) for row in rows]


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.2f} MB" if count >= 1e6 else f"{count / 1e3:,.2f} KB"
