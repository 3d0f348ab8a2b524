"""Finds the weights inside the tables and name prefixes that training scripts put around them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from .errors import WeightsError, quoted
from .tensors import MAX_TENSORS, Tensor

# The first of these that holds weights is taken; the others are then listed as extras.
WRAPPERS = (
    "state_dict",
    "model",
    "teacher",
    "student",
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "module",
    "model_state_dict",
    "target_encoder",
    "network",
    "net",
    "params_ema",
    "params",
    "weights",
    "backbone",
    "encoder",
    "state",
    "checkpoint",
)
NOT_WEIGHTS = ("optimizer", "optimiser", "optim", "scheduler", "scaler", "lr_sched", "param_groups", "criterion")
MAX_DEPTH = 6

# Taken off when every name carries them: torch.compile, DataParallel and what averages models, Lightning modules
WRAPPING_PREFIXES = ("_orig_mod.", "module.", "model.")
COUNTERS = ("n_averaged",)  # beside the model in torch.optim.swa_utils.AveragedModel
# Taken off when most names carry them: heads stay beside
BACKBONE_PREFIXES = ("teacher.backbone.", "student.backbone.", "backbone.")

TensorOf = Callable[[Any], "Tensor | None"]


def find_weights(
    tree: Any, tensor_of: TensorOf, wrapper: str | None = None
) -> tuple[list[str], dict[str, Tensor], list[str]]:
    """The table of tensors in the object of a checkpoint.

    Args:
        tree: the object.
        tensor_of: makes a tensor from a value, or None when it is something else.
        wrapper: the one key to look under, in place of `WRAPPERS`.
    Returns:
        the keys that lead to the table, its tensors by name, the names of what lies beside on the way.
    """
    path: list[str] = []
    extras: list[str] = []
    cache: dict[int, Tensor | None] = {}
    count = itertools.count(1)
    barren: set[int] = set()

    def cached(value: Any) -> Tensor | None:
        if id(value) not in cache:
            tensor = cache[id(value)] = tensor_of(value)
            if tensor is not None and (made := next(count)) > MAX_TENSORS:
                raise WeightsError(f"holds more than the {made - 1:,} tensors that are read of one file")
        return cache[id(value)]

    while True:
        if type(tree) is not dict:
            raise _not_found(tree, wrapper)
        if not path and "param_groups" in tree and "state" in tree:
            raise WeightsError("is an optimiser's state, not a model's weights")
        key = _next_key(tree, cached, barren, wrapper if not path else None)
        if key is None:
            break
        extras += [_shown(other) for other in tree if other is not key and other != key]
        path.append(key)
        tree = tree[key]
        if len(path) > MAX_DEPTH:
            raise WeightsError(f"has its weights under more than {MAX_DEPTH} nested keys")
    tensors: dict[str, Tensor] = {}
    for name, value in tree.items():
        tensor = cached(value) if type(name) is str else None
        if tensor is None:
            extras.append(_shown(name))
        else:
            tensors[name] = tensor
    return path, tensors, extras


def _next_key(tree: dict[Any, Any], tensor_of: TensorOf, barren: set[int], wrapper: str | None) -> str | None:
    """The key to go down by, or None when the weights are here."""
    if wrapper is not None:
        if not _holds_weights(tree.get(wrapper), tensor_of, barren):
            raise _not_found(tree, wrapper)
        return wrapper
    for key in WRAPPERS:
        if _holds_weights(tree.get(key), tensor_of, barren):
            return key
    if any(type(name) is str and tensor_of(value) is not None for name, value in tree.items()):
        return None
    found = [
        key
        for key, value in tree.items()
        if type(key) is str
        and not any(word in key.lower() for word in NOT_WEIGHTS)
        and _holds_weights(value, tensor_of, barren)
    ]
    if len(found) > 1:
        raise WeightsError(
            f"holds several tables of tensors ({', '.join(map(quoted, found[:8]))}) and none has a usual name",
            way_out="Say which one with wrapper=",
        )
    if not found:
        raise _not_found(tree, None)
    return found[0]


def _holds_weights(tree: Any, tensor_of: TensorOf, barren: set[int]) -> bool:
    """Whether `tree` is a table with named tensors in it, at any reasonable depth.

    Tables without are noted in `barren`, so that no number of references makes one be searched twice.
    """
    seen: set[int] = set()
    level = [tree]
    for _ in range(MAX_DEPTH):
        following = []
        for node in level:
            if type(node) is not dict or id(node) in seen or id(node) in barren:
                continue
            seen.add(id(node))
            for name, value in node.items():
                if type(value) is dict:
                    if not (type(name) is str and any(word in name.lower() for word in NOT_WEIGHTS)):
                        following.append(value)
                elif type(name) is str and tensor_of(value) is not None:
                    return True
        level = following
    barren |= seen
    return False


def _not_found(tree: Any, wrapper: str | None) -> WeightsError:
    names = [_shown(key) for key in list(tree)[:8]] if type(tree) is dict else []
    found = f"; its keys are {', '.join(map(quoted, names))}" if names else ""
    where = f" under {quoted(wrapper)}" if wrapper is not None else ""
    return WeightsError(f"holds no table of named tensors{where}{found}")


def _shown(key: Any) -> str:
    return key if type(key) is str else str(key) if type(key) is int else "(a key that is not text)"


def strip_prefixes(tensors: dict[str, Tensor]) -> tuple[list[str], dict[str, Tensor]]:
    """Names without the prefixes of wrapping modules, and the prefixes in the order they were taken off.

    Raises `WeightsError` when two names become the same.
    """
    stripped: list[str] = []
    while (prefix := _common_prefix(tensors)) is not None:
        stripped.append(prefix)
        renamed: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            short = name.removeprefix(prefix)
            if short in renamed:
                raise WeightsError(
                    f"holds two tensors that are both named {quoted(short)} once {quoted(prefix)} is taken off"
                )
            renamed[short] = tensor
        tensors = renamed
        if len(stripped) > MAX_DEPTH:
            raise WeightsError(f"wraps its names in more than {MAX_DEPTH} prefixes")
    return stripped, tensors


def _common_prefix(names: Iterable[str]) -> str | None:
    names = [name for name in names if name not in COUNTERS]
    if not names:
        return None
    for prefix in WRAPPING_PREFIXES:
        if all(name.startswith(prefix) and name != prefix for name in names):
            return prefix
    for prefix in BACKBONE_PREFIXES:
        # A student beside its teacher says nothing about whether the teacher's backbone is most of the teacher
        rivals = [name for name in names if not (prefix.startswith("teacher.") and name.startswith("student."))]
        if 2 * sum(name.startswith(prefix) and name != prefix for name in rivals) > len(rivals):
            return prefix
    return None
