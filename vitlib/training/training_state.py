"""Everything that decides how a training run goes on, by the names of the model's parameters.

Paddle's own `optimizer.state_dict()` is keyed by generated tensor names (linear_0.w_0_moment1_0), which count up within
a process and change in copies; `optimizer.set_state_dict` matches them by luck. Here each is under the name that the
model gives its parameter.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import paddle

from .param_groups import trained_parameters
from .random_states import Generators, check_generators, random_states, set_random_states
from .state_file import CheckpointError, array_dtype

LRScheduler = paddle.optimizer.lr.LRScheduler


class Stateful(Protocol):
    """The methods of an average of weights, a sampler or a loss scaler."""

    def state_dict(self) -> dict[str, Any]: ...

    def set_state_dict(self, state: dict[str, Any]) -> Any: ...


def training_state(
    model: paddle.nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
    *,
    scheduler: LRScheduler | None = None,
    ema: Stateful | None = None,
    sampler: Stateful | None = None,
    rng: Generators = None,
    extra: Any = None,
) -> dict[str, Any]:
    """The state of a run between two steps, for `Checkpoints.save`.

    Args:
        model: its parameters and persistent buffers (running means of BatchNorm); the model itself, not
            `paddle.DataParallel` around it, so that the run can be resumed with another number of processes.
        optimizer: its moments, powers of beta, float32 master weights, and learning rate.
        scheduler: of the learning rate; default: the one that the optimizer was made with.
        ema: an average of the weights; its tensors should be under the model's names.
        sampler: an `EpochSampler`.
        rng: random generators, one or several by name, beside Paddle's, NumPy's and Python's global ones.
        extra: anything else that `Checkpoints` can save.

    The tensors are not copied: save them before the next step. Raises ValueError when the optimizer has moments of
    parameters that are not the model's.
    """
    scheduler = _scheduler(optimizer, scheduler)
    return {
        "model": dict(model.state_dict()),
        "optimizer": _optimizer_state(model, optimizer),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "ema": None if ema is None else ema.state_dict(),
        "sampler": None if sampler is None else sampler.state_dict(),
        "random": random_states(rng),
        "extra": extra,
    }


def restore_training_state(
    state: Mapping[str, Any],
    model: paddle.nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
    *,
    scheduler: LRScheduler | None = None,
    ema: Stateful | None = None,
    sampler: Stateful | None = None,
    rng: Generators = None,
    rank: int = 0,
) -> Any:
    """Sets everything to where `training_state` found it, and returns its `extra`.

    The optimizer may be new or have made steps. rank: of this process, see `set_random_states`. Random generators are
    set last, so nothing that is done here moves them.

    Raises CheckpointError, naming what differs, when the model, the kind of optimizer, or the parts that are given are
    not those of the state, before anything is changed; the average and the sampler check what they are given, and
    when the average refuses its state, the sampler has its own already.
    """
    scheduler = _scheduler(optimizer, scheduler)
    given = {"scheduler": scheduler, "ema": ema, "sampler": sampler}
    for name, part in given.items():
        if (part is None) != (state[name] is None):
            has, has_not = ("run", "checkpoint") if state[name] is None else ("checkpoint", "run")
            raise CheckpointError(f"the {has} has a {name} and the {has_not} has none; resume with the same settings")
    tensors = model.state_dict()
    _check_same("the model", tensors, state["model"])
    if scheduler is not None and (missing := scheduler.state_dict().keys() - state["scheduler"].keys()):
        raise CheckpointError(
            f"the run has a {type(scheduler).__name__}, and the checkpoint's scheduler lacks {_few(sorted(missing))}; "
            "resume with the same settings"
        )
    try:
        check_generators(state["random"], rng)
        with _prepared(model, optimizer, state["optimizer"]) as accumulators:
            if sampler is not None:
                sampler.set_state_dict(state["sampler"])
            if ema is not None:
                ema.set_state_dict(state["ema"])
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    for name, tensor in tensors.items():
        tensor.set_value(state["model"][name])
    for (kind, parameter), tensor in accumulators.items():
        tensor.set_value(state["optimizer"]["tensors"][kind][parameter])
    if scheduler is None:
        optimizer.set_lr(state["optimizer"]["learning_rate"])
    else:
        with warnings.catch_warnings():  # LinearWarmup's own state makes Paddle warn of "unused values"
            warnings.filterwarnings("ignore", "There are some unused values in state_dict")
            scheduler.set_state_dict(state["scheduler"])
    set_random_states(state["random"], rng, rank=rank)
    return state["extra"]


def _scheduler(optimizer: paddle.optimizer.Optimizer, scheduler: LRScheduler | None) -> LRScheduler | None:
    if scheduler is None and isinstance(optimizer._learning_rate, LRScheduler):
        return optimizer._learning_rate
    return scheduler


# Paddle has no public way to an optimizer's tensors by parameter; these attributes are the same from 3.0.0 to 3.3.1.


def _optimizer_state(model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer) -> dict[str, Any]:
    tensors: dict[str, dict[str, paddle.Tensor]] = {}
    # Sorted, since the optimizer has them in the order in which they were made: equal states make equal files
    for (kind, parameter), tensor in sorted(_optimizer_tensors(model, optimizer).items(), key=lambda pair: pair[0]):
        tensors.setdefault(kind, {})[parameter] = tensor
    return {
        "class": type(optimizer).__name__,
        "tensors": tensors,
        "learning_rate": None if isinstance(optimizer._learning_rate, LRScheduler) else optimizer.get_lr(),
    }


def _optimizer_tensors(
    model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer
) -> dict[tuple[str, str], paddle.Tensor]:
    """{(kind, name of the parameter in the model): tensor}; kinds are moment1, beta1_pow_acc, ..., master_weight."""
    names = {parameter.name: name for name, parameter in model.named_parameters()}
    masters = getattr(optimizer, "_master_weights", {})
    # Moments of a half-precision parameter belong to its float32 master
    owners = {name: name for name in names} | {master.name: name for name, master in masters.items()}
    prefix = "" if optimizer._name is None else f"{optimizer._name}_"
    tables = {kind.removeprefix(prefix): table for kind, table in optimizer._accumulators.items()}
    tensors = {}
    for kind, table in [*tables.items(), ("master_weight", masters)]:
        for name, tensor in table.items():
            if owners.get(name) not in names:
                raise ValueError(f"the optimizer has {kind} of {name!r}, which is no parameter of the model")
            tensors[kind, names[owners[name]]] = tensor
    return tensors


@contextmanager
def _prepared(
    model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer, state: Mapping[str, Any]
) -> Iterator[dict[tuple[str, str], paddle.Tensor]]:
    """The optimizer's tensors, made where it has not stepped yet, that the state has values for. It forgets all others
    at the end of the block; an error, here or within, leaves it as it was."""
    if state["class"] != type(optimizer).__name__:
        raise CheckpointError(f"the optimizer is {type(optimizer).__name__} and the checkpoint's {state['class']}")
    parameters = dict(model.named_parameters())
    wanted = {name for table in state["tensors"].values() for name in table}
    updated = {parameter.name for parameter in trained_parameters(optimizer)}
    foreign = sorted(name for name in wanted if name not in parameters or parameters[name].name not in updated)
    if foreign:
        raise CheckpointError(
            f"the checkpoint's optimizer has moments of {_few(foreign)}, which this one does not update; "
            "make it with the same parameters"
        )
    known = {name for _, name in _optimizer_tensors(model, optimizer)}
    try:
        if wanted:
            block = paddle.static.default_main_program().global_block()
            optimizer._create_accumulators(block, [parameters[name] for name in parameters if name in wanted])
        everything = _optimizer_tensors(model, optimizer)
        tensors = {(kind, name): tensor for (kind, name), tensor in everything.items() if name in wanted}
        flat = {f"{kind} of {name}": array for kind, table in state["tensors"].items() for name, array in table.items()}
        _check_same("the optimizer", {f"{kind} of {name}": tensor for (kind, name), tensor in tensors.items()}, flat)
        yield tensors
    except BaseException:
        _forget(optimizer, {parameters[name].name for name in wanted - known})
        raise
    _forget(optimizer, {parameters[name].name for name in parameters if name not in wanted})


def _forget(optimizer: paddle.optimizer.Optimizer, names: set[str]) -> None:
    """Makes the optimizer as new for these parameters, as before their first step."""
    masters = getattr(optimizer, "_master_weights", {})
    gone = names | {masters[name].name for name in names if name in masters}
    for table in [*optimizer._accumulators.values(), masters]:
        for name in gone & set(table):
            del table[name]
    optimizer._already_create_accumulator -= names


def _check_same(what: str, tensors: Mapping[str, paddle.Tensor], arrays: Mapping[str, np.ndarray]) -> None:
    """Raises CheckpointError unless names, shapes and types agree."""
    missing, extra = sorted(tensors.keys() - arrays.keys()), sorted(arrays.keys() - tensors.keys())
    different = [
        f"{name!r} is {_kind(tensors[name])} and the checkpoint's {_kind(arrays[name])}"
        for name in sorted(tensors.keys() & arrays.keys())
        if _kind(tensors[name]) != _kind(arrays[name])
    ]
    complaints = [f"the checkpoint lacks {_few(missing)}"] * bool(missing)
    complaints += [f"the checkpoint has {_few(extra)} besides"] * bool(extra)
    complaints += different[:3]
    if len(different) > 3:
        complaints.append(f"{len(different) - 3} more differ")
    if complaints:
        raise CheckpointError(f"{what} is not that of the checkpoint: {'; '.join(complaints)}")


def _kind(tensor: paddle.Tensor | np.ndarray) -> str:
    return f"{array_dtype(tensor).name} {[int(size) for size in tensor.shape]}"


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if names[3:] else "")
