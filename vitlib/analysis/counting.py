"""Parameters and multiply-accumulate operations of a model."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

from ..layers.patch_embed import Size
from ..models import VisionTransformer
from .costs import LayerCost, layer_costs, resolved_model


class _Figures(NamedTuple):
    parameters: int
    macs: int


class Count(_Figures):
    """The pair (parameters, macs).

    parameters: all of them, trained or not, without the running statistics of batch norms.
    macs: multiply-accumulates for one image.
    uncounted: layers of kinds that are not known, as "name (class)"; macs is without theirs.
    """

    uncounted: tuple[str, ...]

    def __new__(cls, parameters: int, macs: int, uncounted: tuple[str, ...] = ()) -> Any:
        count = super().__new__(cls, parameters, macs)
        count.uncounted = uncounted
        return count

    def __str__(self) -> str:
        text = f"{self.parameters:,} parameters, {self.macs / 1e9:.3f} GMACs"
        return f"{text} without those of {', '.join(self.uncounted)}" if self.uncounted else text


def count(model_or_name: VisionTransformer | str, img_size: Size | None = None) -> Count:
    """Parameters, and multiply-accumulates of one image: the patch convolution, every linear layer and the two products
    of attention (as timm and the papers count; biases, norms, softmax and additions are left out).

    Args:
        model_or_name: a model, filled or not, or a preset's name, for which nothing is allocated.
        img_size: count MACs at this size, int or (height, width), instead of the model's own. Parameters stay those of
            the model as it is.

    Linear layers inside the blocks are counted once a token, those after pooling once an image. Layers of other kinds
    (a convolution in a block, a layer with parameters of its own) are counted by their method macs(num_tokens), where
    they have one; a UserWarning and `uncounted` name the others.

    Raises ValueError for an unknown preset and for a size that the patch does not divide.
    """
    model = resolved_model(model_or_name)
    rows = layer_costs(model, img_size)
    found = total(rows)
    if found.uncounted:
        warnings.warn(
            f"the multiply-accumulates of {', '.join(found.uncounted)} are not known and not counted; give the class a "
            "method macs(num_tokens)",
            UserWarning,
            stacklevel=2,
        )
    return found


def total(rows: list[LayerCost]) -> Count:
    """The sum of all layers."""
    uncounted = tuple(f"{row.name or 'the model'} ({row.kind})" for row in rows if row.macs is None)
    return Count(sum(row.parameters for row in rows), sum(row.macs or 0 for row in rows), uncounted)
