"""Attention distance over depth (ViT paper, §4.5 and figure 7, right)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...models import VisionTransformer
from ..distance import attention_distance

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_attention_distance(model: VisionTransformer, images: Any) -> Figure:
    """The mean attention distance of every head over the depth: one point a head, and a line for the mean of a layer.

    Arguments as in `attention_distance`, which says when the numbers mislead.

    Returns a matplotlib figure, for `figure.savefig(path)`. Raises ImportError without matplotlib (extra `viz`), and as
    `attention_distance` does.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("matplotlib is not installed; it comes with pip install 'vitlib[viz]'") from None
    distances = attention_distance(model, images).numpy()  # [L, heads]
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    depth, heads = distances.shape
    for head in range(heads):
        axes.scatter(range(depth), distances[:, head], s=28, color="#4c72b0", alpha=0.75, linewidths=0)
    axes.plot(range(depth), distances.mean(axis=1), color="#dd8452", linewidth=2, label="mean of the heads")
    axes.set_xlabel("layer")
    axes.set_ylabel("mean attention distance (pixels)")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(f"{heads} heads, {depth} layers")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
