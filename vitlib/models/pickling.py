"""Copies and pickles of a model whose parameters still train.

Paddle's own parameters do not survive: 3.0 refuses to pickle them, and 3.3 gives back plain tensors that no optimiser
finds. So a model pickles itself with each parameter as an array and its settings.
"""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import paddle
from paddle.base.framework import EagerParamBase


class Copyable:
    """Gives a `paddle.nn.Layer` `copy.deepcopy` and `pickle`. Put it before `nn.Layer` among the bases."""

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        buffer = io.BytesIO()
        _Pickler(buffer, protocol).dump(self.__dict__)
        return _restore, (type(self), buffer.getvalue())

    def __deepcopy__(self, memo: dict[int, Any]) -> Copyable:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for name, value in self.__dict__.items():
            twin.__dict__[name] = copy.deepcopy(value, memo)
        return twin


# A user may have frozen a parameter, or given it a learning rate, a decay or no clipping of its own.
_SETTINGS = ("trainable", "optimize_attr", "regularizer", "need_clip")


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, EagerParamBase):
            if not value._is_initialized():
                raise pickle.PicklingError(
                    f"parameter {value.name} has no values yet; load or initialise the model first"
                )
            settings = {name: getattr(value, name) for name in _SETTINGS}
            return _restore_parameter, (value.numpy(), str(value.dtype).rpartition(".")[2], settings)
        if isinstance(value, paddle.Tensor):
            return _restore_tensor, (value.numpy(), str(value.dtype).rpartition(".")[2], value.stop_gradient)
        return NotImplemented


def _restore(cls: type, state: bytes) -> Any:
    model = cls.__new__(cls)
    model.__dict__.update(pickle.loads(state))
    model._unfilled = False  # only filled models are pickled
    return model


def _restore_parameter(array: np.ndarray, dtype: str, settings: dict[str, Any]) -> EagerParamBase:
    parameter = EagerParamBase(list(array.shape), dtype, **settings)
    parameter.set_value(array)
    return parameter


def _restore_tensor(array: np.ndarray, dtype: str, stop_gradient: bool) -> paddle.Tensor:
    return paddle.to_tensor(array, dtype=dtype, stop_gradient=stop_gradient)
