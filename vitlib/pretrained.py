"""Models with weights: locate -> open -> config -> build -> load; and saving. The one file that knows all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import paddle

from .checkpoint import WeightsError, open_weights, write_npz, write_pdparams, write_safetensors
from .checkpoint.atomic import write_atomically, write_through
from .checkpoint.file_names import WEIGHT_ENDINGS, WEIGHT_NAMES, choose_weights
from .checkpoint.json_file import json_bytes, read_json
from .hub import DownloadError, class_names, fetch, is_identifier
from .models import VisionTransformer, ViTConfig, build_model, get_config
from .models.config import merged_config
from .models.presets import Published, published
from .version import __version__
from .weights.arrays import Arrays
from .weights.config_files import own_config, understand_config
from .weights.dialects import SourceConfig
from .weights.export import Export, export_weights, format_for
from .weights.inspection import Inspection, inspect_opened
from .weights.load import LoadOptions, Opened, load_opened, source_config
from .weights.numerics import NUMERICS
from .weights.report import LoadReport

_WRITERS = {"npz": write_npz, "pdparams": write_pdparams}


def load_weights(
    model: VisionTransformer,
    source: Any,
    *,
    dialect: str = "auto",
    allow: str | Iterable[str] = (),
    part: str | None = None,
    source_grid: tuple[int, int] | None = None,
    assume: str = "report",
) -> LoadReport:
    """Load weights of any known codebase into a model, exactly or not at all.

    source: a file (.safetensors, .npz, .pdparams, .pth, .pt, .bin, .ckpt, an index of shards), a directory with one,
        "hf:org/repo", "modelscope:org/repo", "aistudio:org/repo", a URL, or a dict of arrays or tensors: linear weights
        [in, out] where all are Paddle's tensors, else [out, in]. Files are data; nothing in them runs.
    dialect: whose names the file has: "timm", "huggingface", "torchvision", "google", "big_vision", "facebook", "dino",
        "dinov2", "dinov3", "mae", "openai", "open_clip", "mmpretrain", "paddleclas", "paddlevit", "passl"; "auto"
        recognises it.
    allow: changes that are permitted: "head" (another number of classes: new head), "position" (another grid: table
        resampled by the source's method), "patch" (kernel resized by pseudo-inverse), "channels", "class_row" (position
        rows of prefix tokens folded in or out), "distillation" (a distilled file into a plain model, or the reverse),
        "extra" (tensors of no use to the model are left out), "missing" (parameters that the file lacks, as a
        subclass's own, keep their initial values), "architecture" (a config beside the weights that names another
        architecture or class does not count).
    part: the weights to take out of a file with those of several models: a key ("model_ema") or a beginning of names
        ("teacher" of "teacher.norm.weight").
    source_grid: (rows, columns) of the patches in the file's position table, where neither it nor a config tells.
    assume: "refuse" raises instead of assuming what names, shapes and config files leave open.

    Whatever the source fixes beside the weights (LayerNorm epsilon, activation, position resizing, preprocessing,
    labels) is taken over and reported; layers to which a subclass gave an epsilon or activation of its own keep it.
    The report is returned and stays on `model.load_report`; its `assumed` lists what nothing tells.

    Raises one WeightsError that lists everything that is missing, unexpected, of a wrong shape, not finite or not
    permitted; the model is then as it was. Raises ValueError for an unknown dialect or allowance, FileNotFoundError,
    and DownloadError.
    """
    options = LoadOptions(dialect, allow, source_grid, assume)
    return load_opened(_network(model), open_source(source, part), options)


def from_pretrained(
    source: Any,
    *,
    model_class: type[VisionTransformer] | None = None,
    dialect: str = "auto",
    allow: str | Iterable[str] = (),
    part: str | None = None,
    source_grid: tuple[int, int] | None = None,
    assume: str = "report",
    **overrides: Any,
) -> VisionTransformer:
    """A model from weights alone: the architecture comes from config files where there are any, else from the tensors.

    source, dialect, allow, part, source_grid, assume: as in `load_weights`.
    model_class: build this subclass; required for a directory that `save_pretrained` made of one.
    overrides: options of `ViTConfig`; `num_classes`, `img_size`, `patch_size` and `in_chans` permit exactly that change
        of the weights.

    The model comes with its preprocessing and labels, and `model.load_report` says what was inferred and assumed.
    Raises as `load_weights` does, and WeightsError when heads, image size or positions cannot be told (give
    `num_heads`, `img_size`, `pos_embed="none"`), and when the config names an architecture that is not ours.
    """
    options = LoadOptions(dialect, allow, source_grid, assume)
    opened = open_source(source, part)
    config_class = ViTConfig if model_class is None else model_class.config_class
    config, opened = source_config(opened, options, overrides, config_class)
    model = _build_lazily(config, model_class)
    load_opened(model, opened, options.permitting(overrides), fixed=overrides)
    return model


def create_model(
    name: str,
    pretrained: bool | str | os.PathLike[str] | Mapping[str, Any] | None = False,
    *,
    model_class: type[VisionTransformer] | None = None,
    allow: str | Iterable[str] = (),
    part: str | None = None,
    source_grid: tuple[int, int] | None = None,
    assume: str = "report",
    **overrides: Any,
) -> VisionTransformer:
    """A preset as a model, `DeiT` for the distilled ones and `VisionTransformer` for the rest.

    pretrained: False or None for random weights; True for the preset's published ones (those of the tag, or timm's
        default tag); or a source of weights as in `load_weights`: a file, a directory, "hf:org/repo", a URL, a dict.
    model_class: build this subclass instead.
    allow, part, source_grid, assume: as in `load_weights`.
    overrides: options of `ViTConfig` to change; `num_classes`, `img_size`, `patch_size` and `in_chans` permit exactly
        that change of the weights.

    Raises ValueError for an unknown preset and as `ViTConfig` does, and what `load_weights` raises. Without weights,
    under `paddle.LazyGuard`, nothing is allocated.
    """
    options = LoadOptions("auto", allow, source_grid, assume).permitting(overrides)
    config = merged_config(ViTConfig if model_class is None else model_class.config_class, get_config(name), overrides)
    if pretrained is False or pretrained is None:
        return build_model(config, model_class)
    fixed = set(overrides)
    if pretrained is True:
        row, opened = open_published(name, part)
        opened.config = SourceConfig(opened.config.kind, labels=opened.config.labels)  # the preset has the architecture
        if not row.num_classes and not config.num_classes:
            # the original ImageNet-21k files have a head that their publisher calls unusable
            options = replace(options, allow=(*options.allow, "head"))
        if "preprocess" not in overrides:  # a name without a tag has none of its own
            config = config.replace(preprocess=row.preprocess)
        fixed |= {*NUMERICS, "preprocess"}  # weights of a preset compute as the preset does, wherever they come from
    else:
        opened = open_source(pretrained, part)
    model = _build_lazily(config, model_class)
    load_opened(model, opened, options, fixed)
    if pretrained is True and model.labels is None and "head.weight" in model.load_report.loaded:
        model.labels = class_names(model.config.num_classes)
    return model


def inspect(source: Any, *, dialect: str = "auto", part: str | None = None) -> Inspection:
    """Look at a source of weights: what it is, which model it would load as, what would be left out, and why
    `from_pretrained` would refuse it. No model is allocated; the values are read, where they are not very many.

    source, dialect, part: as in `load_weights`. Raises WeightsError for a file that holds no weights,
    FileNotFoundError, and DownloadError.
    """
    return inspect_opened(open_source(source, part), LoadOptions(dialect))


def save_weights(model: VisionTransformer, path: str | os.PathLike[str], *, format: str | None = None) -> None:
    """Write a model's weights in the way of another codebase; each file appears whole or not at all.

    format: "timm" (safetensors, which `timm.create_model(..., checkpoint_path=path)` opens), "huggingface" (a directory
        that `transformers` opens with `from_pretrained`), "torchvision" (safetensors with its names), "google" (.npz
        as vit_jax writes it), "paddleclas" (.pdparams that `paddle.load` reads). None: by the path's ending,
        "paddleclas" for .pdparams, "google" for .npz, else "timm".

    Raises ValueError for an unknown format and for a path whose ending is another format's, WeightsError, before
    anything is written, for what a format cannot express and for a model whose parts were replaced by hand,
    RuntimeError for a model without values, and OSError when the disk does.
    """
    path = Path(path)
    write_export(path, export_weights(_network(model), format_for(path.suffix, format)))


def save_pretrained(model: VisionTransformer, directory: str | os.PathLike[str]) -> None:
    """Write config.json (architecture, preprocessing, labels) and model.safetensors (timm's names and layout), as
    `model.save_pretrained(directory)`. Raises as `save_weights` does."""
    export = export_weights(model, "timm", quietly=True)
    export.configs["config.json"] = own_config(model, __version__)
    write_export(Path(directory), export)


def write_export(path: Path, export: Export) -> None:
    """Write a file, or a directory with config files: these are complete on the disk before the weights get their name,
    and take their own right after, so that only an end of the process in between leaves old ones beside new weights."""
    weights = path / "model.safetensors" if export.configs else path
    weights.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name, values in export.configs.items():
            write_through(stack.enter_context(write_atomically(path / name)), json_bytes(values))
        if export.container == "safetensors":
            write_safetensors(weights, export.arrays, export.metadata)
        else:
            _WRITERS[export.container](weights, export.arrays)


def open_source(source: Any, part: str | None = None) -> Opened:
    """Open weights without reading them: a file or directory, "hf:org/repo[@revision]", a URL, or {name: array}.

    part: as in `load_weights`. Raises WeightsError for what holds no weights, FileNotFoundError for a path that is not
    there, DownloadError.
    """
    config, notes = SourceConfig(), ()
    if isinstance(source, Mapping):
        file = Arrays(source, part)
    elif (path := _locate(source)).is_dir():
        file, config = open_weights(_weights_in(path), part), _read_configs(path)
    else:
        file = open_weights(path, part)
        if path.name in WEIGHT_NAMES:
            try:
                config = _read_configs(path.parent)
            except WeightsError as error:  # the file was asked for; its neighbour may belong to something else
                notes = (f"not used: {error}",)
    assumed = ()
    if file.others and part is None:
        assumed = (
            f"the weights under {file.wrapper!r} are meant; part= takes {', '.join(map(repr, file.others[:6]))}",
        )
    return Opened(file, config, notes, assumed)


def _locate(source: Any) -> Path:
    """The local path of a source; fetched where that is needed."""
    if is_identifier(source):
        return fetch(source)
    if not isinstance(source, (str, os.PathLike)) or source == "":
        found = "an empty string" if source == "" else type(source).__name__
        raise TypeError(
            f"expected a path, 'hf:org/repo', a URL or a dict of arrays as the source of weights, found {found}"
        )
    path = Path(source)
    if path.exists():
        return path
    near = [path.with_name(path.name + ending) for ending in WEIGHT_ENDINGS]
    hint = next((f"; there is {str(p)!r}" for p in near if p.is_file()), "")
    raise FileNotFoundError(
        f"there is no file or directory {str(path)!r}{hint}; a preset's own weights come with pretrained=True, those "
        "of a Hugging Face repository with 'hf:org/repo'"
    )


def _read_configs(directory: Path) -> SourceConfig:
    try:
        return understand_config(
            read_json(directory / "config.json"), read_json(directory / "preprocessor_config.json")
        )
    except WeightsError as error:
        raise error.at(directory / "config.json") from None


def _weights_in(directory: Path) -> Path:
    try:
        return directory / choose_weights(path.name for path in directory.iterdir() if path.is_file())
    except WeightsError as error:
        inner = directory / "model"  # a training run keeps its model there
        way_out = f"Give {inner}" if (inner / "config.json").is_file() else error.way_out
        raise WeightsError(error.reason, path=directory, way_out=way_out) from None


def open_published(name: str, part: str | None = None) -> tuple[Published, Opened]:
    """A preset's published weights from the first place that answers: the hub, the original's site, PaddleClas.

    part: as in `load_weights`. Raises ValueError for a preset without published weights, DownloadError when no place
    answers, and ImportError when only the hub has them and its extra is missing.
    """
    row, failures = published(name), []
    for location in row.locations:
        try:
            opened = open_source(location, part)
        except (DownloadError, ImportError) as error:
            failures.append(error)
            continue
        place = f"{row.name}, licence {row.licence}, from {location}"
        top1 = f"; published top-1 {row.top1} % ({row.top1_source})" if row.top1 is not None else ""
        opened.notes = (place + top1, *(f"not available: {error}" for error in failures))
        return row, opened
    if len(failures) == 1:
        raise failures[0]
    raise DownloadError("no source of these weights answered:\n" + "\n".join(f"  {error}" for error in failures))


def _build_lazily(config: ViTConfig, model_class: type[VisionTransformer] | None) -> VisionTransformer:
    with paddle.LazyGuard():
        return build_model(config, model_class)


def _network(model: Any) -> VisionTransformer:
    """The model inside a `paddle.DataParallel` or `paddle.Model`. Raises TypeError for what is no model of vitlib."""
    for wrapper, inner in ((paddle.DataParallel, "_layers"), (paddle.Model, "network")):
        if isinstance(model, wrapper):
            model = getattr(model, inner)
    if not isinstance(model, VisionTransformer):
        raise TypeError(f"expected a VisionTransformer or DeiT, found {type(model).__name__}")
    return model
