"""Weights in several files, listed by an index (`model.safetensors.index.json`, `pytorch_model.bin.index.json`).

Source: huggingface_hub and transformers (`save_pretrained` with `max_shard_size`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from .errors import WeightsError, listed, quoted
from .file_bytes import FileBytes
from .safetensors import max_json, parse_json
from .tensors import MAX_TENSORS, Contents

MAX_SHARDS = 1000


def read_sharded(file: FileBytes, read_shard: Callable[[str], Contents]) -> Contents:
    """The tensors of all shards in one table. `read_shard` makes one of a path.

    Raises `WeightsError` when the index and the shards disagree, when a shard is missing, or lies anywhere but in the
    index's own directory.
    """
    index = parse_json(file.view, max_json(file), "its text")
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightsError(
            "is a JSON file without a weight_map",
            way_out="Give the file with the weights, or the .index.json of sharded weights",
        )
    if not weight_map or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise WeightsError("is an index whose weight_map does not give a file to each name")
    if len(weight_map) > MAX_TENSORS:
        raise WeightsError(f"lists {len(weight_map):,} tensors; at most {MAX_TENSORS:,} are read")
    shards = list(dict.fromkeys(weight_map.values()))
    if len(shards) > MAX_SHARDS:
        raise WeightsError(f"lists {len(shards):,} files; at most {MAX_SHARDS:,} are read")
    directory = Path(file.path).parent
    paths = {shard: shard_path(directory, shard) for shard in shards}
    missing = [shard for shard, path in paths.items() if not os.path.isfile(path)]
    if missing:
        raise WeightsError(f"lists {listed(missing, 3)}, not found beside it", way_out="Download all parts")
    metadata = index.get("metadata")
    strings = {
        key: value if isinstance(value, str) else str(value)[:100]
        for key, value in (metadata if isinstance(metadata, dict) else {}).items()
    }
    whole = Contents("", {}, 0, strings)
    for shard, path in paths.items():
        part = read_shard(os.fspath(path))
        if whole.format not in ("", part.format) or part.format not in ("safetensors", "torch"):
            raise WeightsError(
                f"lists {quoted(shard)}, a file of another format ({part.format}) than sharded weights have"
            )
        unlisted = [name for name in part.tree if weight_map.get(name) != shard]
        if unlisted:
            raise WeightsError(f"does not list the tensor {quoted(unlisted[0])} that is in {quoted(shard)}")
        whole.format = part.format
        whole.size += part.size
        whole.tree.update(part.tree)
    absent = [name for name in weight_map if name not in whole.tree]
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
