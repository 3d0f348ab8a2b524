"""Help for `paddle.Model`, which counts the inputs of a network by the parameters of its forward and unpacks its
outputs for the loss."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, TypeVar

from paddle import nn

_PADDLE_MODEL = "paddle.hapi.model"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def one_input(forward: _Function) -> _Function:
    """Decorate a forward(self, x, ...) of which `paddle.Model` shall fill x alone.

    It would pass the next tensor of the data, the labels, as the second argument. Keyword-only parameters, which it
    leaves out, cannot be traced by Paddle 3.0; so only the signature that `paddle.Model` sees lacks the others.
    """
    forward.__signature__ = _Signature.from_callable(forward)  # type: ignore[attr-defined]
    return forward


class _Signature(inspect.Signature):
    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        everything = super().parameters
        # called by inspect.getfullargspec, called by paddle.Model
        if sys._getframe(2).f_globals.get("__name__") == _PADDLE_MODEL:
            return dict(list(everything.items())[:2])
        return everything


def check_loss_takes_pair(caller: FrameType, way_out: str) -> None:
    """To be called where outputs in training, (logits, distillation_logits), are unpacked.

    caller: the frame that unpacks. Where that is `paddle.Model`, raises TypeError, ending in the way out, for a loss or
    metric that would take the second of them for labels.
    """
    if caller.f_globals.get("__name__") != _PADDLE_MODEL or caller.f_back is None:
        return
    step = caller.f_back.f_locals
    model = getattr(step.get("self"), "model", None)
    loss = getattr(model, "_loss", None)
    labels = step.get("labels") or []
    for metric in getattr(model, "_metrics", None) or []:
        if type(metric).__module__.startswith("paddle."):
            name = type(metric).__name__
            raise TypeError(f"the metric {name} would compare the two outputs of a DeiT in training. {way_out}")
    if loss is not None and not _takes(loss, 2 + len(labels)):
        name = getattr(loss, "__name__", type(loss).__name__)
        raise TypeError(f"the loss {name} takes one output of the network, and a DeiT in training gives two. {way_out}")


def _takes(loss: Any, count: int) -> bool:
    """Whether a loss takes so many tensors; Paddle's own take (input, label)."""
    owner = loss if inspect.isroutine(loss) else type(loss)
    if (getattr(owner, "__module__", None) or "").startswith("paddle."):
        return False
    try:
        inspect.signature(loss.forward if isinstance(loss, nn.Layer) else loss).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        pass
    return True
