"""Whether matched weights fit a model: every problem in one error, before anything is assigned."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from ..checkpoint.errors import WeightsError
from ..models import VisionTransformer
from .canonical import Entry
from .fill import parallel
from .match import ALLOWANCES, Match, fold_blocks
from .read_once import ReadOnce

_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895314e38}


def check_fit(
    model: VisionTransformer, match: Match, file: Any, allow: Collection[str], conflicts: list[str]
) -> dict[str, np.ndarray]:
    """Raise one WeightsError with every problem, before anything is assigned; else the arrays that were changed."""
    problems, ways = find_problems(model, match, file, allow, conflicts)
    changed: dict[str, np.ndarray] = {}
    if not problems:
        changed = {name: match.value(name, file) for name in match.changes}
        shapes = {name: list(p.shape) for name, p in model.named_parameters()}
        wrong = [name for name, array in changed.items() if list(array.shape) != shapes[name]]
        problems += [f"of another shape: {name}: {list(changed[name].shape)}, model {shapes[name]}" for name in wrong]
    if not problems:
        match.reset += match.missing
        match.left_out += match.unexpected
        return changed
    text = "\n  ".join(problems)
    reason = f"does not fit this {type(model).__name__}, which is left as it was:\n  {text}"
    raise WeightsError(reason, way_out="Ways out: " + "; ".join(ways) if ways else "")


def find_problems(
    model: VisionTransformer,
    match: Match,
    file: Any,
    allow: Collection[str],
    conflicts: list[str],
    *,
    values: bool = True,
) -> tuple[list[str], list[str]]:
    """Why these weights would be refused, in sentences, and the ways out. Values are read if `values` is true."""
    problems, ways = _misfits(match, allow)
    problems = [*(f"of another architecture: {conflict}" for conflict in conflicts), *problems]
    refused = [name for name in match.needed if name not in allow]
    problems += [f"not permitted: {match.needed[name]}" for name in refused]
    whole = _integers(match, file)
    if whole:
        kind = file.spec(match.entries[whole[0]].tensors[0].name)[1]
        problems.append(f"integers ({kind}) in place of floating-point values: {', '.join(fold_blocks(whole))}")
    if values:
        problems += _not_finite(model, match, file, [name for name in match.entries if name not in whole])
    for there, here, value in (("norm.weight", "fc_norm.weight", False), ("fc_norm.weight", "norm.weight", True)):
        if there in match.unexpected and here in match.missing:
            ways = [f"a model with fc_norm={value} has its last norm where the file has it"]
    ways += [f'allow="{name}" permits: {ALLOWANCES[name]}' for name in refused]
    if "head" in refused:
        ways.append("num_classes=N for create_model or from_pretrained gives a new head, num_classes=0 none")
    if match.missing or match.misshapen or conflicts:
        ways.append("for another architecture, from_pretrained(source) builds the model that the file describes")
    return problems, ways


def _misfits(match: Match, allow: Collection[str]) -> tuple[list[str], list[str]]:
    """Names that are on one side alone and shapes that differ, in sentences, and the ways out."""
    problems, ways = [], []
    for title, names, allowance in (
        ("missing in the file", match.missing, "missing"),
        ("unexpected in the file", match.unexpected, "extra"),
    ):
        if names and allowance not in allow:
            problems.append(f"{title}: {', '.join(fold_blocks(names))}")
            if allowance == "extra" or len(match.entries) > len(match.missing):
                ways.append(f'allow="{allowance}" permits: {ALLOWANCES[allowance]}')
    alike: dict[str, list[str]] = {}
    for name, text in match.misshapen.items():
        alike.setdefault(text, []).append(name)
    problems += [f"of another shape: {', '.join(fold_blocks(names))}: {text}" for text, names in alike.items()]
    return problems, ways


def _integers(match: Match, file: Any) -> list[str]:
    """Parameters with integers in the file, where numbers with a fraction belong."""
    return [
        name
        for name, entry in match.entries.items()
        if any(file.spec(part.name)[1].startswith(("int", "uint", "bool")) for part in entry.tensors)
    ]


def _not_finite(model: VisionTransformer, match: Match, file: Any, names: list[str]) -> list[str]:
    """A sentence with the parameters, of these names, whose values are not finite in the model's type."""
    parameters = dict(model.named_parameters())
    types = {name: str(parameters[name].dtype).removeprefix("paddle.") for name in names}
    source = ReadOnce(file, {name: match.entries[name] for name in names})
    checked = dict(parallel(lambda name: _finite(match.entries[name], source, types[name]), source.names))
    broken = [name for name in names if not checked[name]]
    if not broken:
        return []
    limit = _LARGEST.get(types[broken[0]])
    kind = f"not finite in {types[broken[0]]}" if limit else "not finite (NaN or infinity)"
    return [f"{kind}: {', '.join(fold_blocks(broken))}"]


def _finite(entry: Entry, source: ReadOnce, dtype: str) -> bool:
    """Whether all values of a parameter are finite in its type: their sum tells, and only when it overflowed need each
    be looked at."""
    largest = _LARGEST.get(dtype)
    with np.errstate(all="ignore"):
        for part in entry.tensors:
            array = part.read(source)
            if largest is not None:
                if not (np.abs(array) <= largest).all():
                    return False
                continue
            if dtype == "float32" and array.dtype.itemsize > 4:
                array = array.astype(np.float32)
            if not np.isfinite(array.sum()) and not np.isfinite(array).all():
                return False
    return True
