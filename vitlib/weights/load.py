"""Weights into models: strict, all at once, and with a report."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import paddle

from ..checkpoint.errors import WeightsError
from ..hub import class_names
from ..models import DeiT, VisionTransformer, ViTConfig
from .canonical import canonical
from .dialects import NAMES
from .fill import assign_all, parallel
from .infer_config import check_config, infer_options, told_grid
from .match import ALLOWANCES, Plan, fold_blocks, make_plan
from .numerics import NUMERICS, contradictions, take_numerics, take_preprocess
from .report import LoadReport
from .source import WeightSource, open_published, open_source

# An override of one of these options permits these changes.
_PERMITS = {
    "num_classes": ("head",),
    "img_size": ("position",),
    "patch_size": ("patch", "position"),
    "in_chans": ("channels",),
}


def load_weights(
    model: VisionTransformer, source: Any, *, dialect: str = "auto", allow: str | Iterable[str] = ()
) -> LoadReport:
    """Load weights of any known codebase into a model, exactly or not at all.

    source: a file (.safetensors, .npz, .pdparams, .pth, .pt, .bin, an index of shards), a directory with one,
        "hf:org/repo", a URL, or {name: array} with linear weights [out, in]. Files are data; nothing in them runs.
    dialect: whose names the file has: "timm", "huggingface", "torchvision", "google", "big_vision", "facebook",
        "paddleclas"; "auto" recognises it.
    allow: changes that are permitted: "head" (another number of classes: new head), "position" (another grid: table
        resampled by the source's method), "patch" (kernel resized by pseudo-inverse), "channels", "class_row" (position
        rows of prefix tokens folded in or out), "distillation" (a distilled file into a plain model, or the reverse).

    What the source fixes beside the weights (LayerNorm epsilon, activation, position resizing, preprocessing, labels)
    is taken over and reported. The report is returned and stays on `model.load_report`.

    Raises one WeightsError that lists everything that is missing, unexpected, of a wrong shape, not finite or not
    permitted; the model is then as it was. Raises ValueError for an unknown dialect or allowance, FileNotFoundError,
    and DownloadError.
    """
    return _load(model, open_source(source), dialect=dialect, allow=allow)


def from_pretrained(
    source: Any,
    *,
    model_class: type[VisionTransformer] | None = None,
    dialect: str = "auto",
    allow: str | Iterable[str] = (),
    **overrides: Any,
) -> VisionTransformer:
    """A model from weights alone: the architecture comes from config files where there are any, else from the tensors.

    source, dialect, allow: as in `load_weights`. model_class: build this subclass. overrides: options of `ViTConfig`;
    `num_classes`, `img_size`, `patch_size` and `in_chans` permit exactly that change of the weights.

    The model comes with its preprocessing and labels, and `model.load_report` says what was inferred. Raises as
    `load_weights` does, and WeightsError when heads or image size cannot be told (give `num_heads`, `img_size`).
    """
    opened = open_source(source)
    try:
        weights = canonical(opened.tensors, opened.format, dialect)
        if opened.config.kind in ("vitlib", "timm"):
            options, notes = dict(opened.config.options), []
            check_config(weights, options)
        else:
            check_config(weights, opened.config.options)
            told = told_grid(opened.config.options)
            inferred = infer_options(weights, opened.metadata, {**opened.config.options, **overrides}, told)
            options = {**inferred, **weights.dialect.numerics, **opened.config.options}
            notes = [_inferred_note(inferred, opened.config.options)]
    except WeightsError as error:
        raise error.at(opened.path) from None
    if "num_heads" in overrides:
        options["num_heads"] = overrides["num_heads"]
    try:
        config = ViTConfig(**options)
    except ValueError as error:
        raise WeightsError(f"is of a model that cannot be built ({error})", path=opened.path) from None
    config = config.replace(**overrides)
    return _build(config, model_class, opened, dialect=dialect, allow=allow, overrides=overrides, notes=notes)


def create_pretrained(
    name: str,
    config: ViTConfig,
    model_class: type[VisionTransformer] | None,
    source: Any,
    *,
    allow: str | Iterable[str],
    overrides: Mapping[str, Any],
) -> VisionTransformer:
    """What `create_model(name, pretrained=source)` does, given the preset's config with the overrides in it."""
    if source is not True:
        opened = open_source(source)
        return _build(config, model_class, opened, dialect="auto", allow=allow, overrides=overrides, notes=[])
    row, opened, notes = open_published(name)
    allow = _names(allow)
    if not row.num_classes and not config.num_classes:
        allow.append("head")  # the original ImageNet-21k files have one that their publisher calls unusable
    # Weights of a preset compute as the preset does, wherever they were fetched.
    fixed = {"norm_eps", "activation", "preprocess", *overrides}
    config = config.replace(position_resize=overrides.get("position_resize", row.position_resize))
    fixed.add("position_resize")
    model = _build(
        config, model_class, opened, dialect="auto", allow=allow, overrides=overrides, notes=notes, fixed=fixed
    )
    if model.labels is None and "head.weight" in model.load_report.loaded:
        model.labels = class_names(model.config.num_classes)
    return model


def _build(
    config: ViTConfig,
    model_class: type[VisionTransformer] | None,
    opened: WeightSource,
    *,
    dialect: str,
    allow: str | Iterable[str],
    overrides: Mapping[str, Any],
    notes: list[str],
    fixed: Collection[str] | None = None,
) -> VisionTransformer:
    if model_class is None:
        model_class = DeiT if config.distillation_token else VisionTransformer
    with paddle.LazyGuard():
        model = model_class(config)
    permitted = [change for name in overrides for change in _PERMITS.get(name, ())]
    allowed = [*_names(allow), *permitted]
    _load(model, opened, dialect=dialect, allow=allowed, fixed=overrides if fixed is None else fixed, notes=notes)
    return model


def _load(
    model: VisionTransformer,
    opened: WeightSource,
    *,
    dialect: str,
    allow: str | Iterable[str],
    fixed: Collection[str] = (),
    notes: Iterable[str] = (),
) -> LoadReport:
    """fixed: names of options that the source does not change, as those that the caller gave."""
    if dialect not in ("auto", *NAMES):
        raise ValueError(f"unknown dialect {dialect!r}; there are auto, {', '.join(NAMES)}")
    allow = _names(allow)
    for name in allow:
        if name not in ALLOWANCES:
            raise ValueError(f"allow={name!r} is no change that loading knows; there are {', '.join(ALLOWANCES)}")
    try:
        weights = canonical(opened.tensors, opened.format, dialect)
        source_numerics = {
            name: value
            for name, value in {**weights.dialect.numerics, **opened.config.options}.items()
            if name in NUMERICS and name not in fixed
        }
        plan = make_plan(
            model,
            weights,
            opened.tensors,
            position_resize=source_numerics.get("position_resize", model.config.position_resize),
            metadata=opened.metadata,
            source_grid=told_grid(opened.config.options),
        )
        conflicts = contradictions(model, weights, opened, fixed)
        changed = _check(model, plan, opened, allow, conflicts)
    except WeightsError as error:
        raise error.at(opened.path) from None

    parameters = dict(model.named_parameters())
    _reset(model, [parameters[name] for name in plan.reset], plan.reset)
    loaded = {name: parameters[name] for name in plan.entries}
    assign_all(loaded, lambda name: changed[name] if name in changed else plan.entries[name].read(opened.tensors))
    said = take_numerics(model, source_numerics)
    said += take_preprocess(model, opened, weights, fixed)
    labels = opened.config.labels
    if labels is not None or "head.weight" in plan.reset:
        model.labels = labels if labels is not None and len(labels) == model.config.num_classes else None
    if weights.dialect.name in ("timm", "paddleclas") and not opened.config.kind:
        config = model.config
        said.append(
            f"names do not tell the numerics: norm_eps={config.norm_eps}, activation={config.activation!r} and "
            f"position_resize={config.position_resize!r} are assumed"
            + (", as timm's" if (config.norm_eps, config.activation) == (1e-6, "gelu") else "")
        )
    model.load_report = LoadReport(
        source=opened.path,
        format=opened.format,
        dialect=weights.dialect.name,
        wrapper=opened.wrapper,
        loaded=tuple(name for name in plan.entries),
        resized=plan.resized,
        reset=tuple(plan.reset),
        left_out=tuple(plan.left_out),
        notes=(*notes, *opened.notes, *said),
    )
    return model.load_report


def _names(allow: str | Iterable[str]) -> list[str]:
    return [allow] if isinstance(allow, str) else list(allow)


def _check(
    model: VisionTransformer, plan: Plan, opened: WeightSource, allow: list[str], conflicts: list[str]
) -> dict[str, np.ndarray]:
    """Raise one WeightsError with every problem, before anything is assigned; else the arrays that were changed."""
    problems = [f"of another architecture: {conflict}" for conflict in conflicts]
    for title, names in (("missing in the file", plan.missing), ("unexpected in the file", plan.unexpected)):
        if names:
            problems.append(f"{title}: {', '.join(fold_blocks(names))}")
    if plan.misshapen:
        alike: dict[str, list[str]] = {}
        for name, text in plan.misshapen.items():
            alike.setdefault(text, []).append(name)
        problems += [f"of another shape: {', '.join(fold_blocks(names))}: {text}" for text, names in alike.items()]
    refused = [name for name in plan.needed if name not in allow]
    problems += [f"not permitted: {plan.needed[name]}" for name in refused]
    double = model.parameters()[0].dtype == paddle.float64
    dtype = np.float64 if double else np.float32
    checked = parallel(lambda name: _finite(name, plan, opened, dtype), plan.entries)
    broken = [name for name, finite in checked if not finite]
    if broken:
        problems.append(f"not finite (NaN or infinity): {', '.join(fold_blocks(broken))}")
    changed: dict[str, np.ndarray] = {}
    if not problems:
        changed = {name: plan.value(name, opened.tensors) for name in plan.changes}
        shapes = {name: list(p.shape) for name, p in model.named_parameters()}
        wrong = [name for name, array in changed.items() if list(array.shape) != shapes[name]]
        problems += [f"of another shape: {name}: {list(changed[name].shape)}, model {shapes[name]}" for name in wrong]
    if not problems:
        return changed
    ways = [f'allow="{name}" permits: {ALLOWANCES[name]}' for name in refused]
    if "head" in refused:
        ways.append("num_classes=N for create_model or from_pretrained gives a new head, num_classes=0 none")
    if plan.missing or plan.misshapen or conflicts:
        ways.append("for another architecture, from_pretrained(source) builds the model that the file describes")
    text = "\n  ".join(problems)
    reason = f"does not fit this {type(model).__name__}, which is left as it was:\n  {text}"
    raise WeightsError(reason, way_out="Ways out: " + "; ".join(ways) if ways else "")


def _reset(model: VisionTransformer, parameters: list[paddle.Tensor], names: list[str]) -> None:
    """Draw parameters anew, as a fresh model of this config would; the objects stay."""
    if all(p._init_func is not None for p in parameters):
        for parameter in parameters:
            parameter.initialize()
        return
    with paddle.LazyGuard():
        fresh = dict(type(model)(model.config).named_parameters())
    for name, parameter in zip(names, parameters, strict=True):
        fresh[name].initialize()
        parameter.set_value(fresh[name].astype(parameter.dtype))


def _finite(name: str, plan: Plan, opened: WeightSource, dtype: type[np.floating]) -> bool:
    """Whether all values are finite in the model's type: their sum tells, and only when it overflowed need each be
    looked at."""
    with np.errstate(all="ignore"):
        for part in plan.entries[name].parts:
            array = part.read(opened.tensors)
            if array.dtype.itemsize > np.dtype(dtype).itemsize:
                array = array.astype(dtype)
            if not np.isfinite(array.sum()) and not np.isfinite(array).all():
                return False
    return True


def _inferred_note(inferred: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    told = {name: value for name, value in inferred.items() if name not in known}
    return "inferred from the tensors: " + ", ".join(f"{name}={value!r}" for name, value in told.items())
