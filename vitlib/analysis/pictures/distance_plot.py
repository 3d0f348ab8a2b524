"""Attention distance over depth (ViT paper, §4.5 and figure 7, right)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...models import VisionTransformer
from ..attention import as_tensor
from ..distance import attention_distance, patch_distances

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_attention_distance(model: VisionTransformer, images: Any) -> Figure:
    """The mean attention distance of every head over the depth: a point for each head, a line for the mean of each
    layer, and a dashed line for a head that would read all patches evenly.

    Arguments as in `attention_distance`, which says when the numbers mislead.

    Returns a matplotlib figure, for `figure.savefig(path)`. Raises ImportError without matplotlib (extra `viz`), and as
    `attention_distance` does.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("matplotlib is not installed; it comes with pip install 'vitlib[viz]'") from None
    tensor = as_tensor(model, images)
    distances = attention_distance(model, tensor).numpy()  # [L, heads]
    even = float(patch_distances(model.patch_embed.grid_for(tensor), model.patch_embed.patch_size).mean())
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    depth, heads = distances.shape
    for head in range(heads):
        axes.scatter(range(depth), distances[:, head], s=28, color="#4c72b0", alpha=0.75, linewidths=0)
    axes.plot(range(depth), distances.mean(axis=1), color="#dd8452", linewidth=2, label="mean of the heads")
    axes.axhline(even, color="#9a9a9a", linewidth=1, linestyle="--", label="even attention")
    axes.set_xlabel("layer")
    axes.set_ylabel("mean attention distance (pixels)")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(f"{heads} heads, {depth} layers")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
