"""The names of what an inference graph gives."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..models import ViTConfig

_BLOCK_OUTPUT = re.compile(r"(map|attention)_(-?\d+)")


def parse_outputs(outputs: str | Iterable[str], config: ViTConfig, depth: int) -> tuple[str, ...]:
    """Checked names, with negative block numbers counted from the end:

    =============  =====================================================================================
    logits         what the model gives in evaluation [B, num_classes]
    features       what the head reads, pooled [B, D] (DeiT: the mean of its two tokens)
    tokens         all tokens after the final norm [B, P + N, D]
    map_3          the patches as block 3 leaves them, before the final norm [B, D, h, w]
    attention_3    the attention weights of block 3 [B, heads, P + N, P + N]
    =============  =====================================================================================

    Raises ValueError for other names, repeated ones, none at all, and logits of a model without classes.
    """
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    if not names:
        raise ValueError("no output was asked for; expected 'logits', 'features', 'tokens', 'map_3', 'attention_3'")
    checked = tuple(_check(name, config, depth) for name in names)
    if len(set(checked)) < len(checked):
        raise ValueError(f"outputs={names}: an output is named more than once")
    return checked


def block_of(output: str) -> int | None:
    """The number in "map_3" or "attention_3", None for other outputs."""
    found = _BLOCK_OUTPUT.fullmatch(output)
    return int(found[2]) if found else None


def _check(name: str, config: ViTConfig, depth: int) -> str:
    if not isinstance(name, str):
        raise TypeError(f"outputs holds {name!r}; expected names such as 'logits'")
    if name == "logits" and not config.num_classes:
        raise ValueError("this model has num_classes=0 and no logits; ask for outputs='features'")
    if name in ("logits", "features", "tokens"):
        return name
    found = _BLOCK_OUTPUT.fullmatch(name)
    if not found:
        raise ValueError(
            f"unknown output {name!r}; there are 'logits', 'features', 'tokens', and of block 3 'map_3', 'attention_3'"
        )
    block = int(found[2])
    if not -depth <= block < depth:
        raise ValueError(f"{name!r}: this model has {depth} blocks, 0 to {depth - 1}")
    return f"{found[1]}_{block % depth}"
