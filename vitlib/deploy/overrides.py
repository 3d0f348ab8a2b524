"""Whether a layer computes what its class says: the test that no subclass is described as what it no longer is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from paddle import nn
from paddle.jit.dy2static.program_translator import StaticFunction

from ..models.editing import Editable

HOOK = "to_graph"

# Methods that change no answer in evaluation: they build parts, which are looked at themselves, or change a model.
_COMPUTE_NOTHING = {"__init__", "__repr__", "attention_weights", "extra_repr", *vars(Editable)}


class DescriptionError(TypeError):
    """A model, or a part of it, whose operations are not known. The message names the class and the ways out."""


def described_as(layer: nn.Layer, known: Collection[type]) -> type | None:
    """The known class whose operations are the layer's; None when its class has a `to_graph` of its own.

    Raises `DescriptionError` for a class that overrides what a known one computes, for one that derives from none, and
    for hooks and methods that were put on the layer itself.
    """
    name = type(layer).__name__
    if layer._forward_pre_hooks or layer._forward_post_hooks:
        raise DescriptionError(
            f"a {name} of this model has forward hooks, which an inference graph cannot hold; remove them first"
        )
    replaced = [attribute for attribute in vars(layer) if _is_replaced(layer, attribute)]
    if replaced:
        raise DescriptionError(f"the {' and '.join(replaced)} of a {name} of this model was replaced; {ways_out(name)}")
    changed: list[str] = []
    for cls in type(layer).__mro__:
        described = HOOK in vars(cls)
        if described or cls in known:
            if changed:
                raise DescriptionError(
                    f"{name} overrides {' and '.join(changed)} of {cls.__name__}, so its operations are not known; "
                    f"{ways_out(name)}"
                )
            return None if described else cls
        changed += [attribute for attribute in vars(cls) if _computes(attribute, cls, type(layer))]
    raise DescriptionError(f"the operations of {name} are not known; {ways_out(name)}")


def _is_replaced(layer: nn.Layer, attribute: str) -> bool:
    """Whether an attribute of the layer itself hides a method of its class."""
    method = getattr(type(layer), attribute, None)
    if _computes_nothing(attribute) or not _is_code(method) or method is getattr(nn.Layer, attribute, None):
        return False
    value = vars(layer)[attribute]
    if isinstance(value, StaticFunction):  # of paddle.jit.to_static
        value = value.dygraph_function
    return getattr(value, "__func__", None) is not method


def _computes(attribute: str, cls: type, leaf: type) -> bool:
    """Whether an attribute of cls is code that takes the place of an inherited one."""
    if _computes_nothing(attribute) or not _is_code(vars(cls)[attribute]):
        return False
    later = leaf.__mro__[leaf.__mro__.index(cls) + 1 :]
    if attribute in ("forward", "__call__"):
        return True
    return any(attribute in vars(base) for base in later if base not in (nn.Layer, object))


def _computes_nothing(attribute: str) -> bool:
    return attribute in _COMPUTE_NOTHING or attribute.startswith("make_")


def _is_code(value: Any) -> bool:
    if isinstance(value, type):  # a part swapped by class attribute is looked at where it is used
        return False
    return callable(value) or isinstance(value, (property, staticmethod, classmethod))


def ways_out(name: str) -> str:
    return (
        f"give {name} a method to_graph(self, graph, x) that adds its operations (see vitlib.deploy.Graph), run it by "
        "Predictor(model, engine='paddle'), which traces any model, or save it by paddle.jit.save"
    )
