"""Weights in several files, listed by an index (`model.safetensors.index.json`, `pytorch_model.bin.index.json`).

Source: huggingface_hub and transformers (`save_pretrained` with `max_shard_size`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from .errors import WeightsError, quoted
from .safetensors import parse_json
from .tensors import Contents, Source

MAX_SHARDS = 1000


def read_sharded(source: Source, read_shard: Callable[[str], Contents]) -> Contents:
    """The tensors of all shards under one roof.

    Raises `WeightsError` when the index and the shards disagree, when a shard is missing, or lies anywhere but in the
    index's own directory.
    """
    index = parse_json(source.view, source.size, "its text")
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightsError(
            "is a JSON file without a weight_map",
            way_out="Give the file with the weights, or the .index.json of sharded weights",
        )
    if not weight_map or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise WeightsError("is an index whose weight_map does not give a file to each name")
    shards = list(dict.fromkeys(weight_map.values()))
    if len(shards) > MAX_SHARDS:
        raise WeightsError(f"lists {len(shards):,} files; at most {MAX_SHARDS:,} are read")
    directory = Path(source.path).parent
    paths = {shard: shard_path(directory, shard) for shard in shards}
    missing = [shard for shard, path in paths.items() if not os.path.isfile(path)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightsError(
            f"lists the file {quoted(missing[0])}{more}, not found beside it", way_out="Download all parts"
        )
    whole = Contents("", {})
    metadata = index.get("metadata")
    for key, value in (metadata if isinstance(metadata, dict) else {}).items():
        whole.metadata[key] = value if isinstance(value, str) else str(value)[:100]
    for shard, path in paths.items():
        part = read_shard(os.fspath(path))
        if whole.format not in ("", part.format) or part.format not in ("safetensors", "torch"):
            raise WeightsError(
                f"lists {quoted(shard)}, a file of another format ({part.format}) than sharded weights have"
            )
        whole.format = part.format
        unlisted = [name for name in part.tensors if weight_map.get(name) != shard]
        if unlisted:
            raise WeightsError(f"does not list the tensor {quoted(unlisted[0])} that is in {quoted(shard)}")
        whole.tensors.update(part.tensors)
        whole.wrapper = part.wrapper
        whole.extras += part.extras
    absent = [name for name in weight_map if name not in whole.tensors]
    if absent:
        raise WeightsError(f"lists the tensor {quoted(absent[0])}, which is not in {quoted(weight_map[absent[0]])}")
    return whole


def shard_path(directory: Path, shard: str) -> Path:
    """Where a shard lies. Raises `WeightsError` unless that is in `directory`, also after following links.

    The Hugging Face cache is the exception that must work: `snapshots/<revision>/` there holds links into `blobs/`.
    """
    readable = shard.isprintable() and 0 < len(shard) < 256
    parts = (PurePosixPath(shard), PureWindowsPath(shard)) if readable else ()
    if not readable or any(part.is_absolute() or part.drive or ".." in part.parts for part in parts):
        raise WeightsError(f"lists the file {quoted(shard)}, which is not a name inside its own directory")
    path = directory / shard
    root = Path(os.path.realpath(directory))
    allowed = [root]
    if root.parent.name == "snapshots":
        allowed.append(root.parent.parent / "blobs")
    resolved = Path(os.path.realpath(path))
    if not any(resolved.is_relative_to(place) for place in allowed):
        raise WeightsError(f"lists the file {quoted(shard)}, a link that leads out of its directory")
    return path
