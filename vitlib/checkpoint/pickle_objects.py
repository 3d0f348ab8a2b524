"""Stand-ins for the classes and functions that a pickle names: they hold data and do nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .errors import WeightsError, quoted

MAX_ARGUMENTS = 16


class PickledObject:
    """An object that is not rebuilt: the name of its class, its arguments, its items and its state, as data.

    Equality and hashing are by identity and there is no repr of contents, so nesting and cycles cannot recurse.
    """

    __slots__ = ("arguments", "class_name", "items", "state")

    def __init__(self, class_name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.class_name = class_name
        self.arguments = arguments
        self.items: dict[Any, Any] | None = None
        self.state: Any = None

    def set_state(self, state: Any) -> None:
        """The opcode BUILD: the state is kept, no `__setstate__` is called."""
        self.state = state

    @property
    def is_module(self) -> bool:
        """Whether this is a layer of PyTorch or Paddle."""
        state = self.state
        return type(state) is dict and any(key in state for key in ("_modules", "_parameters", "_sub_layers"))


class LongText:
    """Text too long for a name; as in the file, UTF-8 and not yet checked."""

    __slots__ = ("utf8",)

    def __init__(self, utf8: memoryview) -> None:
        self.utf8 = utf8


class Global:
    """A class or function that a pickle names; it is never looked up.

    `make` gives the data that a call of a known one stands for. It must take constant time and memory: two bytes of a
    file are a call, on arguments of any size.
    """

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[..., Any] | None = None) -> None:
        self.name = name
        self.make = make

    def called_with(self, arguments: tuple[Any, ...]) -> Any:
        if self.make is None:
            return PickledObject(self.name, arguments)
        try:
            if len(arguments) > MAX_ARGUMENTS:
                raise TypeError
            return self.make(*arguments)
        except TypeError:
            raise WeightsError(f"holds a corrupt pickle: {quoted(self.name)} with arguments that it has not") from None


def globals_by_name(makers: dict[str, Callable[..., Any] | None]) -> dict[tuple[str, str], Global]:
    """Known classes and functions by (module, name), from "module.name"."""
    return {tuple(name.rsplit(".", 1)): Global(name, make) for name, make in makers.items()}


def _reconstructed(of_class: Any, *arguments: Any) -> PickledObject:
    return PickledObject(of_class.name if isinstance(of_class, Global) else "object", arguments)


def _make_tuple(items: Any = ()) -> Any:
    """tuple((name, array)), by which Paddle writes a tensor with its name."""
    return items if type(items) is tuple else PickledObject("tuple", (items,))


def _make_bytes(*arguments: Any) -> Any:
    """bytes(), by which protocol 2 writes empty ones."""
    return PickledObject("bytes", arguments) if arguments else memoryview(b"")


# Calls of these give dicts, which the reader makes
ORDERED_DICT, DEFAULT_DICT = Global("collections.OrderedDict"), Global("collections.defaultdict")
PYTHON = globals_by_name(
    {
        "copyreg._reconstructor": _reconstructed,
        "copy_reg._reconstructor": _reconstructed,
        "builtins.tuple": _make_tuple,
        "__builtin__.tuple": _make_tuple,
        "builtins.bytes": _make_bytes,
        "__builtin__.bytes": _make_bytes,
    }
) | {("collections", "OrderedDict"): ORDERED_DICT, ("collections", "defaultdict"): DEFAULT_DICT}

SAVE_PLAIN = "Where you trust the file, load it with the library that made it and save only the model's state_dict"
_MODEL_PACKAGES = ("torch.nn.modules", "torch.nn.parallel", "timm.models", "torchvision.models", "transformers.")


def refusal(item: PickledObject, keys: str = "") -> WeightsError:
    """The error for an object of a class of its own where weights are expected. keys: those of the table around it."""
    name = quoted(item.class_name)[1:-1]
    packed = next((other for other in _class_names(item) if "quant" in other.lower()), None)
    if packed is not None:
        return quantised(f"holds a quantised model (`{quoted(packed)[1:-1]}`)")
    if item.is_module or item.class_name.startswith(_MODEL_PACKAGES):
        return WeightsError(
            f"holds a whole pickled model (`{name}`), which only its own code can rebuild", way_out=SAVE_PLAIN
        )
    return WeightsError(
        f"holds no table of named tensors{keys}; it refuses to run `{name}`, as nothing in a file is run",
        way_out=SAVE_PLAIN,
    )


def quantised(found: str) -> WeightsError:
    return WeightsError(
        f"{found}, whose packed integers are not weights",
        way_out="Save the state_dict of the model before quantisation",
    )


def _class_names(model: PickledObject) -> Iterator[str]:
    """The classes of a model and of the layers in it."""
    seen, waiting = set(), [model]
    while waiting:
        layer = waiting.pop()
        yield layer.class_name
        layers = layer.state.get("_modules") or layer.state.get("_sub_layers") if layer.is_module else None
        if type(layers) is dict and id(layers) not in seen:
            seen.add(id(layers))
            waiting += [inner for inner in layers.values() if isinstance(inner, PickledObject)]
