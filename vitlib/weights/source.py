"""Where weights come from: a file, a directory with configs, a hub, a URL, or a dict."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import open_weights
from ..checkpoint.errors import WeightsError, quoted
from ..hub import DownloadError, download
from ..models.published import Published, published
from .config_files import SourceConfig, read_configs

# What a directory's weights are called, in the order of preference.
_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.pdparams",
)
_ENDINGS = (".safetensors", ".pdparams", ".npz", ".pth", ".pt", ".bin")


@dataclass
class WeightSource:
    """An open source of weights: names with shapes and dtypes, arrays on demand, and its config."""

    path: str
    format: str
    tensors: Any
    config: SourceConfig
    metadata: Mapping[str, str] = field(default_factory=dict)
    wrapper: str = ""
    notes: tuple[str, ...] = ()


class _Arrays(Mapping[str, tuple[tuple[int, ...], str]]):
    """A dict of arrays or tensors, read as a weight file is. Raises WeightsError for what are no named real numbers."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.arrays = {}
        for name, value in arrays.items():
            if not isinstance(name, str):
                raise WeightsError(f"the given dict has the key {name!r}, expected names of parameters")
            self.arrays[name] = array = _to_array(value)
            if array.dtype.kind not in "fiub":
                raise WeightsError(f"the given dict has {quoted(name)} of type {array.dtype}, expected real numbers")

    def __getitem__(self, name: str) -> tuple[tuple[int, ...], str]:
        return self.arrays[name].shape, str(self.arrays[name].dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name]


def _to_array(value: Any) -> np.ndarray:
    """A NumPy array of what an array or a tensor of Paddle or PyTorch holds; bfloat16, which NumPy lacks, widened."""
    if hasattr(value, "detach"):
        value = value.detach()
        if "bfloat16" in str(value.dtype):
            value = value.astype("float32") if hasattr(value, "astype") else value.float()
        value = value.cpu().numpy()
    return np.asarray(value)


def open_source(source: Any) -> WeightSource:
    """Open weights without reading them.

    source: a file; a directory with weights and configs; "hf:org/repo" or "hf:org/repo@revision"; an http(s) URL; or
        {name: array}, whose linear weights are [out, in] as in PyTorch.

    Raises WeightsError for what holds no weights, FileNotFoundError for a path that is not there, DownloadError.
    """
    if isinstance(source, Mapping):
        return WeightSource("the given dict", "dict", _Arrays(source), SourceConfig())
    if isinstance(source, str) and source.startswith("hf:"):
        from ..hub.huggingface import fetch_hub

        repo_id, _, revision = source[3:].partition("@")
        source = fetch_hub(repo_id, revision=revision or None)
    elif isinstance(source, str) and source.startswith(("http://", "https://")):
        source = download(source)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"expected a path, 'hf:org/repo', a URL or a dict of arrays as the source of weights, found "
            f"{type(source).__name__}"
        )
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no file or directory {str(path)!r}; a preset's own weights come with pretrained=True, those "
            "of a Hugging Face repository with 'hf:org/repo'"
        )
    notes: tuple[str, ...] = ()
    config = SourceConfig()
    if path.is_dir():
        directory, path = path, _weights_in(path)
        config = read_configs(directory)
    elif path.name in _FILES:
        try:
            config = read_configs(path.parent)
        except WeightsError as error:  # the file was asked for; what lies beside it may belong to something else
            notes = (f"not used: {error}",)
    file = open_weights(path)
    return WeightSource(str(path), file.format, file, config, file.metadata, file.wrapper, notes)


def open_published(name: str) -> tuple[Published, WeightSource, list[str]]:
    """A preset's published weights from the first source that answers: the hub, the original's site, PaddleClas.

    Returns their record, the source, and what is worth a note. Raises ValueError for a preset without published
    weights, DownloadError when no source answers, and ImportError when only the hub has them and its extra is missing.
    """
    row, failures = published(name), []
    for source in row.sources:
        try:
            opened = open_source(f"hf:{source.location}" if source.on_hub else source.location)
        except (DownloadError, ImportError) as error:
            failures.append(error)
            continue
        # Its record says what the published accuracy was measured with, and so do we
        opened.config = SourceConfig(opened.config.kind, {}, row.preprocess, opened.config.labels)
        place = f"{row.name}, licence {row.licence}, from {source.location}"
        top1 = f"; published top-1 {row.top1} % ({row.top1_source})" if row.top1 is not None else ""
        return row, opened, [place + top1, *(f"not available: {error}" for error in failures)]
    if len(failures) == 1:
        raise failures[0]
    raise DownloadError("no source of these weights answered:\n" + "\n".join(f"  {error}" for error in failures))


def _weights_in(directory: Path) -> Path:
    for name in _FILES:
        if (directory / name).is_file():
            return directory / name
    others = sorted(p for p in directory.iterdir() if p.suffix in _ENDINGS and p.is_file())
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(p.name for p in others[:6])
        raise WeightsError(f"holds several weight files ({names})", path=directory, way_out="Give one of them")
    raise WeightsError(
        "holds no weights", path=directory, way_out=f"Expected {_FILES[0]} or another of {', '.join(_ENDINGS)}"
    )
