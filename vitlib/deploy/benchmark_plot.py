"""Time over batch size or image size, of the candidates of `benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .extras import require

if TYPE_CHECKING:
    from .benchmark import Result


def plot(results: Sequence[Result], path: str) -> None:
    """Milliseconds per image over the batch size, or over the image size where there are several; one panel a model.

    Raises ImportError without the extra `examples`.
    """
    pyplot = require("matplotlib.pyplot", extra="examples")
    done = [result for result in results if result.seconds]
    models = list(dict.fromkeys(result.model for result in done))
    over_size = len({result.img_size for result in done}) > 1
    figure, panels = pyplot.subplots(1, len(models), figsize=(6 * len(models), 4.5), squeeze=False)
    for panel, model in zip(panels[0], models, strict=True):
        lines: dict[str, list[tuple[int, float]]] = {}
        for result in (result for result in done if result.model == model):
            name = f"{'' if result.is_peer else 'vitlib '}{result.candidate}, {result.precision}"
            place = result.img_size if over_size else result.batch
            lines.setdefault(name, []).append((place, 1e3 * result.median / result.batch))
        for name, points in lines.items():
            x, y = zip(*sorted(points), strict=True)
            panel.plot(x, y, marker="o", label=name, linestyle="-" if name.startswith("vitlib") else "--")
        panel.set(title=model, xscale="log", yscale="log", ylabel="ms per image")
        panel.set_xlabel("image size" if over_size else "batch size")
        ticks = sorted({place for points in lines.values() for place, _ in points})
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
