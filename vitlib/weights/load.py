"""Opened weights into a config and into a model: strict, all at once, and with a report. No path is opened here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..checkpoint.errors import WeightsError, printable
from ..images import Preprocess
from ..models import VisionTransformer, ViTConfig
from .canonical import Canonical, canonical
from .check_fit import check_fit
from .dialects import NAMES, SourceConfig
from .fill import fill
from .infer_config import check_config, infer_config, noted_heads
from .match import ALLOWANCES, Match, fold_blocks, match_weights
from .match_positions import fit_positions
from .numerics import NUMERICS, contradictions, source_preprocess, take_numerics, unnamed_numerics
from .position_grid import Grid, check_grid, config_grid
from .read_once import ReadOnce
from .report import LoadReport

_PLAIN_CLASSES = ("", "VisionTransformer", "DeiT")
# An override of one of these options permits these changes.
_PERMITS = {
    "num_classes": ("head",),
    "img_size": ("position",),
    "patch_size": ("patch", "position"),
    "in_chans": ("channels",),
}


@dataclass
class Opened:
    """Opened weights.

    file: a `checkpoint.WeightsFile` or `Arrays`. config: of the files beside it. notes: about the place that they are
    from. assumed: by the config stage. told: the grid of the file's position table, once it is known.
    """

    file: Any
    config: SourceConfig = field(default_factory=SourceConfig)
    notes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    told: Grid | None = None


@dataclass(frozen=True)
class LoadOptions:
    """Arguments that all loading functions share.

    dialect, allow, source_grid, assume: as in `pretrained.load_weights`.

    Raises ValueError for an unknown dialect, allowance or value of `assume`, and for a `source_grid` that is none.
    """

    dialect: str = "auto"
    allow: tuple[str, ...] = ()
    source_grid: Grid | None = None
    assume: str = "report"

    def __post_init__(self) -> None:
        if self.dialect not in ("auto", *NAMES):
            raise ValueError(f"unknown dialect {self.dialect!r}; there are auto, {', '.join(NAMES)}")
        allow = (self.allow,) if isinstance(self.allow, str) else tuple(self.allow)
        for name in allow:
            if name not in ALLOWANCES:
                raise ValueError(f"allow={name!r} is no change that loading knows; there are {', '.join(ALLOWANCES)}")
        if self.assume not in ("report", "refuse"):
            raise ValueError(f"assume={self.assume!r}: expected 'report' or 'refuse'")
        object.__setattr__(self, "allow", allow)
        object.__setattr__(self, "source_grid", check_grid(self.source_grid))

    def permitting(self, overrides: Iterable[str]) -> LoadOptions:
        """With the changes that overrides of these options of `ViTConfig` permit."""
        permitted = [change for name in overrides for change in _PERMITS.get(name, ())]
        return replace(self, allow=(*self.allow, *permitted))


def source_config(
    opened: Opened, options: LoadOptions, overrides: Mapping[str, Any], config_class: type[ViTConfig] = ViTConfig
) -> tuple[ViTConfig, Opened]:
    """The architecture of opened weights: by config files where there are any, else by the tensors.

    Returns the config with the overrides in it, and `opened` with what was inferred and assumed. Raises WeightsError
    when the config files and the tensors disagree, and when something cannot be told and is not given.
    """
    try:
        opened = settle_architecture(opened, options)
        weights = canonical(opened.file, options.dialect)
        told = config_grid(opened.config.options)
        heads = None if "num_heads" in overrides else noted_heads(weights, opened.file.metadata)
        check_config(weights, opened.config.options, heads)
        if opened.config.kind in ("vitlib", "timm"):
            values: dict[str, Any] = dict(opened.config.options)
        else:
            known = {**opened.config.options, **overrides}
            found = infer_config(weights, opened.file.metadata, known, told=told, source_grid=options.source_grid)
            values = {**found.options, **weights.dialect.numerics, **opened.config.options}
            shown = {name: value for name, value in found.options.items() if name not in opened.config.options}
            inferred = ", ".join(f"{name}={value!r}" for name, value in shown.items())
            notes = (*opened.notes, f"inferred from the tensors: {inferred}")
            # from here on the grid is known, and is not to be assumed once more
            told = found.grid or told
            opened = replace(opened, notes=notes, assumed=(*opened.assumed, *found.assumed), told=told)
    except WeightsError as error:
        raise error.at(opened.file.path) from None
    if "num_heads" in overrides:
        values["num_heads"] = overrides["num_heads"]
    try:
        config = config_class.from_dict(values)
    except (TypeError, ValueError) as error:
        kind = printable(opened.config.model_class, 80)
        way_out = f"Give model_class={kind}, the class that it was saved from" if isinstance(error, TypeError) else ""
        raise WeightsError(
            f"is of a model that cannot be built ({error})", path=opened.file.path, way_out=way_out
        ) from None
    return config.replace(**overrides), opened


@dataclass(frozen=True)
class Plan:
    """How weights fill a model, before anything is read or changed.

    opened: with its architecture settled. conflicts: what no shape shows, where the source and the model differ.
    numerics: options of `ViTConfig` that the model takes over, and its preprocessing with the place that it is from.
    assumed: as in `LoadReport`.
    """

    opened: Opened
    weights: Canonical
    match: Match
    conflicts: list[str]
    numerics: dict[str, Any]
    preprocess: Preprocess | None
    preprocess_from: str
    assumed: tuple[str, ...]


def plan_load(model: VisionTransformer, opened: Opened, options: LoadOptions, fixed: Collection[str] = ()) -> Plan:
    """Match opened weights with a model; the arguments are those of `load_opened`.

    Raises WeightsError for weights that cannot be matched with any model, and for a config that cannot work.
    """
    opened = settle_architecture(opened, options, model)
    config, file = opened.config, opened.file
    weights = canonical(file, options.dialect)
    numerics = {
        name: value
        for name, value in {**weights.dialect.numerics, **config.options}.items()
        if name in NUMERICS and name not in fixed
    }

    def positions(match: Match, entries: dict[str, Any]) -> None:
        fit_positions(
            match,
            entries,
            model,
            weights,
            file,
            method=numerics.get("position_resize", model.config.position_resize),
            metadata=file.metadata,
            source_grid=options.source_grid,
            told=opened.told or config_grid(config.options),
            resampling="position" in options.allow,
        )

    match = match_weights(model, weights, positions)
    conflicts = contradictions(model, weights, config, file.metadata, fixed)
    preprocess, preprocess_from, preprocess_assumed = source_preprocess(model, weights, config, fixed)
    try:
        loaded = model.config.replace(**numerics, **({} if preprocess is None else {"preprocess": preprocess}))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"has a config that cannot work ({error})") from None
    assumed = [*opened.assumed, *config.assumed, *match.assumed]
    if config.labels is None and model.labels is not None and "head.weight" in match.entries:
        assumed.append("the names of the classes, which are still those that the model had")
    assumed += [*unnamed_numerics(loaded, weights, config), *preprocess_assumed]
    if assumed and options.assume == "refuse":
        raise WeightsError(
            "leaves open, and assume='refuse' allows no assumption: " + "; ".join(assumed),
            way_out="Give the config files beside the weights, or check these and load with assume='report'",
        )
    return Plan(opened, weights, match, conflicts, numerics, preprocess, preprocess_from, tuple(assumed))


def load_opened(
    model: VisionTransformer, opened: Opened, options: LoadOptions, fixed: Collection[str] = ()
) -> LoadReport:
    """Fill a model with opened weights, exactly or not at all. `fixed`: options that the source does not change.

    Raises one WeightsError with every problem; the model is then as it was.
    """
    file = opened.file
    try:
        plan = plan_load(model, opened, options, fixed)
        changed = check_fit(model, plan.match, file, options.allow, plan.conflicts)
    except WeightsError as error:
        raise error.at(file.path) from None

    match, labels = plan.match, plan.opened.config.labels
    parameters = dict(model.named_parameters())
    kept = {name for name in match.missing if parameters[name]._is_initialized()}
    model.reinitialise(name for name in match.reset if name not in kept)
    rest = ReadOnce(file, {name: entry for name, entry in match.entries.items() if name not in changed})
    loaded = {name: parameters[name] for name in (*changed, *rest.names)}
    fill(loaded, lambda name: changed[name] if name in changed else match.entries[name].read(rest))
    notes = take_numerics(model, plan.numerics)
    if plan.preprocess is not None:
        model.config = model.config.replace(preprocess=plan.preprocess)
        notes.append(f"preprocessing from {plan.preprocess_from}: {model.preprocess}")
    if kept:
        names = ", ".join(fold_blocks([name for name in match.missing if name in kept]))
        notes.append(f"kept as they were, since the file does not have them: {names}")
    if labels is not None or "head.weight" in match.reset:
        fits = labels is not None and len(labels) == model.config.num_classes
        model.labels = labels if fits else None
    model.check_filled()
    model.load_report = LoadReport(
        source=file.path,
        format=file.format,
        dialect=plan.weights.dialect.name,
        wrapper=" > ".join(part for part in (file.wrapper, plan.weights.prefix) if part),
        assumed=plan.assumed,
        loaded=tuple(match.entries),
        resized=match.resized,
        reset=tuple(name for name in match.reset if name not in kept),
        left_out=tuple(match.left_out),
        notes=(*plan.opened.notes, *notes),
    )
    return model.load_report


def settle_architecture(opened: Opened, options: LoadOptions, model: VisionTransformer | None = None) -> Opened:
    """Raise WeightsError when the config names a model that is not ours or not this one, unless that is allowed."""
    config, allowed = opened.config, "architecture" in options.allow
    if config.refusal:
        if not allowed:
            raise WeightsError(
                config.refusal, way_out=f'allow="architecture": {ALLOWANCES["architecture"]} (and may be wrong)'
            )
        said = f"the architecture, by the tensors alone: the config {config.refusal}"
        return replace(opened, config=SourceConfig(labels=config.labels), assumed=(*opened.assumed, said))
    saved = printable(config.model_class, 80)
    if model is not None and config.model_class not in (*_PLAIN_CLASSES, type(model).__name__):
        said = f"was saved from the class {saved!r}, and this is a {type(model).__name__}"
        if not allowed:
            raise WeightsError(
                f"{said}, which may compute something else",
                way_out=f'Give model_class={saved}; or allow="architecture" if they compute the same',
            )
        said = f"that a {type(model).__name__} computes as the class {saved!r}, which was saved"
        return replace(opened, config=replace(config, model_class=""), assumed=(*opened.assumed, said))
    return opened
