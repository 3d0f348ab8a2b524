"""Finds the table of weights in the object that a file holds, and takes off the prefixes that training put on names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from .errors import WeightsError, listed, quoted
from .pickle_objects import PickledObject, refusal
from .tensors import MAX_TENSORS

T = TypeVar("T")

# The first of these that holds weights is taken; the others are then listed
WRAPPERS = (
    "state_dict", "model", "teacher", "student", "model_ema", "state_dict_ema", "ema_state_dict", "module",
    "model_state_dict", "target_encoder", "network", "net", "params_ema", "params", "weights", "backbone", "encoder",
    "state", "checkpoint",
)  # fmt: skip
NOT_WEIGHTS = ("optimizer", "optimiser", "optim", "scheduler", "scaler", "lr_sched", "param_groups", "criterion")
MAX_DEPTH = 6
MAX_MEMBERS = 16  # of a list that may hold a table

# Components of names that are taken off wherever they stand: torch.compile, FSDP and its activation checkpointing,
# DeepSpeed, Paddle's DataParallel
WRAPPING_MODULES = (
    "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_layers",
)  # fmt: skip
# Taken off when every name carries them: DataParallel and averaged models, Lightning modules
WRAPPING_PREFIXES = ("module.", "model.")
# Taken off when most names carry them: heads stay beside
BACKBONE_PREFIXES = ("teacher.backbone.", "student.backbone.", "backbone.")
COUNTERS = ("n_averaged",)  # beside the model in torch.optim.swa_utils.AveragedModel


@dataclass
class Found(Generic[T]):
    """The weights in an object.

    tensors: by name. wrapper: keys and prefixes around them, the outermost first. extras: names beside them that are
    not read. others: keys of those extras that are tables of weights too, as `part` takes them.
    """

    tensors: dict[str, T] = field(default_factory=dict)
    wrapper: list[str] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def find_weights(
    tree: Any, tensor_of: Callable[[Any], T | None], part: str | None = None, *, strip: bool = True
) -> Found[T]:
    """The table of tensors in what a training script saved: nested dicts, lists and tuples.

    Args:
        tree: the object.
        tensor_of: makes a tensor from a value, or None when it is something else.
        part: a key to look under, in place of the first of `WRAPPERS`, or else a beginning of names; see `take_part`.
            Keys of nested tables are joined by dots.
        strip: take prefixes of wrapping modules off the names.

    Raises `WeightsError` when there is no table of tensors, when one of several must be chosen, or when nothing is
    under `part`; the error lists the candidates.
    """
    search, found = _Search(tensor_of), Found()
    part = part and part.rstrip("./")
    while True:
        table = _table(tree)
        if not found.wrapper and "param_groups" in table and "state" in table:
            raise WeightsError("is an optimiser's state, not a model's weights")
        key, part = search.named_key(table, part)
        if key is None and (key := search.usual_key(tree, table)) is None:
            break
        for name, value in table.items():
            if name != key:
                found.extras.append(_shown(name))
                if not _is_training_state(name) and search.holds_weights(value):
                    found.others.append(".".join([*found.wrapper, name]))
        tree = table[key]
        found.wrapper.append(key)
        if len(found.wrapper) > MAX_DEPTH:
            raise WeightsError(f"has its weights under more than {MAX_DEPTH} nested keys")
    for name, value in table.items():
        tensor = search.tensor(value) if type(name) is str else None
        if tensor is None:
            found.extras.append(_shown(name))
        else:
            found.tensors[name] = tensor
    if len(found.tensors) > MAX_TENSORS:
        raise WeightsError(f"names {len(found.tensors):,} tensors, more than the {MAX_TENSORS:,} that are read")
    if strip:
        _strip(found, part)
    return found


def take_part(tensors: Mapping[str, T], part: str) -> tuple[dict[str, T], list[str]]:
    """The tensors whose names begin with `part` and a dot or a slash, without that, and the names of the others."""
    starts = tuple(part.rstrip("./") + separator for separator in "./")
    taken = {name[len(starts[0]) :]: tensor for name, tensor in tensors.items() if name.startswith(starts)}
    return taken, [name for name in tensors if not name.startswith(starts)]


class _Search(Generic[T]):
    """Makes each tensor once and searches each table once, however often they are referred to."""

    def __init__(self, tensor_of: Callable[[Any], T | None]) -> None:
        self.tensor_of = tensor_of
        self.tensors: dict[int, tuple[Any, T]] = {}  # by identity, with the value, so that it stays
        self.holding: dict[int, tuple[Any, bool]] = {}

    def tensor(self, value: Any) -> T | None:
        if id(value) not in self.tensors:
            tensor = self.tensor_of(value)
            if tensor is None:
                return None
            if len(self.tensors) >= MAX_TENSORS:
                raise WeightsError(f"holds more than the {MAX_TENSORS:,} tensors that are read of one file")
            self.tensors[id(value)] = value, tensor
        return self.tensors[id(value)][1]

    def holds_weights(self, tree: Any, depth: int = MAX_DEPTH) -> bool:
        """Whether `tree` is a table with named tensors in it, at any reasonable depth."""
        table = _table(tree)
        if not table or not depth:
            return False
        if id(tree) not in self.holding:
            self.holding[id(tree)] = tree, False  # a table inside itself adds nothing
            held = any(
                type(name) is str
                and (
                    self.tensor(value) is not None
                    or (not _is_training_state(name) and self.holds_weights(value, depth - 1))
                )
                for name, value in table.items()
            )
            self.holding[id(tree)] = tree, held
        return self.holding[id(tree)][1]

    def named_key(self, table: Mapping[Any, Any], part: str | None) -> tuple[str | None, str | None]:
        """The key of `table` that `part` begins with, and the rest of `part`."""
        pieces = part.split(".") if part is not None else []
        for count in range(len(pieces), 0, -1):
            key = ".".join(pieces[:count])
            if key in table and self.holds_weights(table[key]):
                return key, ".".join(pieces[count:]) or None
        return None, part

    def usual_key(self, tree: Any, table: Mapping[Any, Any]) -> str | None:
        """The key to go down by, or None when the weights are here."""
        for key in WRAPPERS:
            if key in table and self.holds_weights(table[key]):
                return key
        if any(type(name) is str and self.tensor(value) is not None for name, value in table.items()):
            for value in map(table.get, WRAPPERS):
                if isinstance(value, PickledObject) and value.is_module:
                    raise refusal(value)  # the tensors beside a whole model are not its weights
            return None
        candidates = [
            name
            for name, value in table.items()
            if type(name) is str and not _is_training_state(name) and self.holds_weights(value)
        ]
        if len(candidates) > 1:
            raise WeightsError(
                f"holds several tables of tensors ({listed(candidates)}) and none has a usual name",
                way_out=f"Say which one, for instance part={quoted(candidates[0])}",
            )
        if not candidates:
            raise _not_found(tree, table)
        return candidates[0]


def _table(tree: Any) -> Mapping[Any, Any]:
    """`tree` as a table: a dict, an object that extends dict, or the tables in a short list by their positions."""
    if isinstance(tree, Mapping):
        return tree
    if isinstance(tree, PickledObject):
        return tree.items or {}
    if type(tree) in (list, tuple) and len(tree) <= MAX_MEMBERS:
        return {str(place): member for place, member in enumerate(tree) if isinstance(member, Mapping)}
    return {}


def _is_training_state(name: Any) -> bool:
    return type(name) is not str or any(word in name.lower() for word in NOT_WEIGHTS)


def _not_found(tree: Any, table: Mapping[Any, Any]) -> WeightsError:
    if isinstance(tree, Mapping) and not tree:
        return WeightsError("holds no tensors")
    objects = [value for value in (tree, *table.values()) if type(value) is PickledObject and "." in value.class_name]
    keys = f"; its keys are {listed(map(_shown, table))}" if table else ""
    if objects:
        return refusal(max(objects, key=lambda value: value.is_module), keys)
    return WeightsError(f"holds no table of named tensors{keys}")


def _shown(key: Any) -> str:
    known = type(key) is str or (type(key) is int and key.bit_length() <= 64)
    return str(key) if known else "(a key that is not text)"


def _strip(found: Found[T], part: str | None) -> None:
    """Takes off the names of `found` what wraps them, with the part that is wanted. Two may not become the same."""
    components = {component for name in found.tensors for component in name.split(".")[:-1]}
    if modules := [module for module in WRAPPING_MODULES if module in components]:

        def unwrapped(name: str) -> str:
            return ".".join(component for component in name.split(".") if component not in modules) or name

        _rename(found, [f"{module}." for module in modules], unwrapped)
        part = part and unwrapped(part)
    tables = [".".join(found.wrapper), *found.others]
    for _ in range(MAX_DEPTH):
        if part is not None and (taken := take_part(found.tensors, part))[0]:
            found.tensors, found.extras = taken[0], found.extras + taken[1]
            found.wrapper.append(f"{part}.")
            part = None
        prefix = _common_prefix(found.tensors, WRAPPING_PREFIXES, 1.0)
        if prefix is None and part is None:
            prefix = _common_prefix(found.tensors, BACKBONE_PREFIXES, 0.5)
        if prefix is None:
            break
        _rename(found, [prefix], lambda name, prefix=prefix: name.removeprefix(prefix))
    if part is not None:
        first = dict.fromkeys(name.replace("/", ".").partition(".")[0] for name in found.tensors)
        keys = f"the tables {listed(tables)} and " if tables[0] else ""
        raise WeightsError(
            f"has nothing under part={quoted(part)}", way_out=f"It has {keys}names that begin with {listed(first)}"
        )


def _rename(found: Found[T], taken_off: list[str], rename: Callable[[str], str]) -> None:
    renamed: dict[str, T] = {}
    for name, tensor in found.tensors.items():
        if (short := rename(name)) in renamed:
            raise WeightsError(
                f"holds two tensors that are both named {quoted(short)} once {listed(taken_off)} is taken off",
                way_out=f"part={taken_off[0][:-1]!r} takes the first of them"
                if taken_off[0] in BACKBONE_PREFIXES
                else "",
            )
        renamed[short] = tensor
    found.extras += [name for name in COUNTERS if renamed.pop(name, None) is not None]
    found.tensors = renamed
    found.wrapper += taken_off


def _common_prefix(names: Iterable[str], prefixes: tuple[str, ...], share: float) -> str | None:
    """The first prefix that all names carry, or with a smaller `share` more than that."""
    names = [name for name in names if name not in COUNTERS]
    for prefix in prefixes:
        count = sum(name.startswith(prefix) and name != prefix for name in names)
        if names and (count == len(names) or count > share * len(names)):
            return prefix
    return None
