"""The files of a model's repository that vitlib fetches: configs and weights, with their shards, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path

from ..checkpoint.errors import WeightsError
from ..checkpoint.file_names import INDEX_ENDING, choose_weights
from .transfer import DownloadError

CONFIGS = ("config.json", "preprocessor_config.json")


def check_repo_id(repo_id: str) -> None:
    if not isinstance(repo_id, str) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo_id):
        raise ValueError(f"repo_id={repo_id!r}: expected org/repo, such as timm/vit_base_patch16_224.augreg_in1k")


def fetch_all(names: Collection[str], fetch: Callable[[str], Path]) -> Path:
    """Fetches the weights, their shards and the configs among `names`, each by its name; returns their directory.

    Raises DownloadError when the weights cannot be told, besides what `fetch` raises.
    """
    weights = weights_among(names)
    # The weights come last, so that whoever finds them all finds the configs, too
    for config in CONFIGS:
        if config in names:
            fetch(config)
    path = fetch(weights)
    for shard in shards(path):
        fetch(shard)
    return path.parent


def weights_among(names: Collection[str]) -> str:
    try:
        return choose_weights(names)
    except WeightsError as error:
        raise DownloadError(f"it {error.reason}") from None


def shards(weights: Path) -> list[str]:
    """The files that an index names, which must lie beside it; of a file that is no index, none."""
    if not weights.name.endswith(INDEX_ENDING):
        return []
    try:
        found = sorted(set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DownloadError(f"{weights.name} is not an index of shards") from None
    ending = weights.name.removesuffix(INDEX_ENDING).rpartition(".")[2]
    for shard in found:
        if not isinstance(shard, str) or not re.fullmatch(rf"\w[\w.-]*\.{ending}", shard):
            raise DownloadError(f"{weights.name} names {str(shard)[:80]!r}, which is no .{ending} file beside it")
    return found


def is_complete(directory: Path) -> bool:
    """Whether the weights are there, with all their shards."""
    try:
        weights = weights_among([path.name for path in directory.iterdir()])
        return all((directory / name).is_file() for name in (weights, *shards(directory / weights)))
    except OSError:  # DownloadError is one
        return False
