"""The exponential moving average of a model's weights (Polyak averaging, as in DeiT's recipe)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import paddle
from paddle import nn

from ..images.checks import check_number
from .parallel import unwrapped


class ExponentialMovingAverage:
    """average ← decay · average + (1 - decay) · weight after every step. It starts with the model's weights.

    Args:
        model: in a `paddle.DataParallel` or not.
        decay: in [0, 1). DeiT: 0.99996, over 300 epochs; short runs need less, about 1 - 10 / steps.
        warmup: take min(decay, (1 + n) / (10 + n)) at the n-th update (n from 0), so that the random start is soon
            forgotten (as TensorFlow's ExponentialMovingAverage with num_updates).

    Call `update()` after every `optimizer.step()`. Frozen parameters and buffers, such as BatchNorm's
    statistics, are copied, not averaged. Averages are kept by the parameters' names, in float32 where the model has
    half precision.

    Raises ValueError for a decay outside [0, 1) and a model without values, and, from every method, when the model's
    parameters have other names or shapes than at construction (after `reset_head` or `set_image_size`).
    """

    def __init__(self, model: nn.Layer, decay: float = 0.99996, *, warmup: bool = False) -> None:
        self.model = unwrapped(model)
        if any(not value._is_initialized() for value in self.model.parameters()):
            raise ValueError("parameters of this model have no values (paddle.LazyGuard); load or initialise it first")
        self.decay = check_number("decay", decay, "[0, 1)")
        self.warmup = warmup
        self.num_updates = 0
        self.average = {name: _kept(value) for name, value in self.model.state_dict().items()}

    @paddle.no_grad()
    def update(self) -> None:
        """Update the average with the model's present weights."""
        decay = self.decay
        if self.warmup:
            decay = min(decay, (1 + self.num_updates) / (10 + self.num_updates))
        # Not by name: a parameter that two layers share has two in state_dict(), one in named_parameters()
        trained = {id(value) for value in self.model.parameters() if not value.stop_gradient}
        weights: dict[Any, paddle.Tensor] = {}  # tensors, since lerp_ leaks memory with a number (Paddle 3.3.1)
        for name, value in self._values(self.model).items():
            average = self.average[name]
            if id(value) in trained:
                if average.dtype not in weights:
                    weights[average.dtype] = paddle.full([], 1 - decay, average.dtype)
                average.lerp_(_as(value, average.dtype), weights[average.dtype])
            else:
                average.copy_(_as(value, average.dtype), True)
        self.num_updates += 1

    @paddle.no_grad()
    def apply_to(self, model: nn.Layer) -> None:
        """Set the weights and buffers of a model of the same structure to the average, for good."""
        for name, value in self._values(unwrapped(model)).items():
            value.copy_(_as(self.average[name], value.dtype), True)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the model has the averaged weights; afterwards, come what may, its own."""
        own = {name: value.detach().clone() for name, value in self._values(self.model).items()}
        try:
            self.apply_to(self.model)
            yield
        finally:
            with paddle.no_grad():
                for name, value in self.model.state_dict().items():
                    value.copy_(own[name], True)

    def state_dict(self) -> dict[str, Any]:
        """{"num_updates": int, "average": {name: tensor}}; the tensors are those that `update` changes."""
        return {"num_updates": self.num_updates, "average": dict(self.average)}

    @paddle.no_grad()
    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave; tensors or arrays. Raises ValueError, and changes nothing, when names or shapes
        are others than the model's."""
        given = state["average"]
        self._check({name: tuple(value.shape) for name, value in given.items()}, "this state")
        for name, average in self.average.items():
            average.copy_(_as(paddle.to_tensor(given[name]), average.dtype), True)
        self.num_updates = int(state["num_updates"])

    def _values(self, model: nn.Layer) -> dict[str, paddle.Tensor]:
        values = dict(model.state_dict())
        self._check({name: tuple(value.shape) for name, value in values.items()}, "the model")
        return values

    def _check(self, shapes: dict[str, tuple[int, ...]], what: str) -> None:
        expected = {name: tuple(value.shape) for name, value in self.average.items()}
        if shapes == expected:
            return
        name = next(name for name in [*shapes, *expected] if shapes.get(name) != expected.get(name))
        found, wanted = (known.get(name, "nothing") for known in (shapes, expected))
        raise ValueError(
            f"{what} has {name!r} as {found}, and the average has it as {wanted}; make the average "
            "from a model of the same structure, after reset_head and set_image_size"
        )


def _as(value: paddle.Tensor, dtype: paddle.dtype) -> paddle.Tensor:
    return value if value.dtype == dtype else value.astype(dtype)  # which copies even where nothing changes


def _kept(value: paddle.Tensor) -> paddle.Tensor:
    kept = value.detach().clone()
    return kept.astype("float32") if kept.dtype in (paddle.float16, paddle.bfloat16) else kept
