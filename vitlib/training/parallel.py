"""Several processes: models inside `paddle.DataParallel`, and what the processes have to agree about."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn


def unwrapped(model: nn.Layer) -> nn.Layer:
    """The model itself, out of a `paddle.DataParallel` around it, which puts `_layers.` before parameters' names."""
    return model._layers if isinstance(model, paddle.DataParallel) else model


def sum_over_processes(values: np.ndarray) -> np.ndarray:
    """The sum of the processes' arrays, in float64, on each of them. Every process has to call it."""
    if paddle.distributed.get_world_size() == 1:
        return values
    total = paddle.to_tensor(values, dtype="float64")
    paddle.distributed.all_reduce(total)
    return total.numpy()


def merge_over_processes(arrays: list[np.ndarray], total: float) -> tuple[list[np.ndarray], float]:
    """Arrays of which each process has filled its own samples, and holds -1 for the others, and a sum over samples:
    those of all processes, on each of them. Every process has to call it."""
    if paddle.distributed.get_world_size() == 1:
        return arrays, total
    everything = [paddle.to_tensor(array) for array in arrays]
    for tensor in everything:
        paddle.distributed.all_reduce(tensor, op=paddle.distributed.ReduceOp.MAX)
    return [tensor.numpy() for tensor in everything], float(sum_over_processes(np.array([total]))[0])


@paddle.no_grad()
def broadcast(model: nn.Layer) -> None:
    """Give every process the weights and buffers that rank 0 has. Every process has to call it."""
    if paddle.distributed.get_world_size() > 1:
        for value in unwrapped(model).state_dict().values():
            paddle.distributed.broadcast(value, src=0)


@paddle.no_grad()
def average_batch_norm(model: nn.Layer) -> None:
    """Give every process the mean of the processes' statistics of BatchNorm, each of which comes from a share of the
    images (timm's `distribute_bn`). Every process has to call it, before they evaluate or save the model.

    model: in a `paddle.DataParallel` or not. On one process nothing changes.
    """
    world_size = paddle.distributed.get_world_size()
    if world_size == 1:
        return
    for layer in unwrapped(model).sublayers(include_self=True):
        if isinstance(layer, (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D)):
            for statistic in (layer._mean, layer._variance):
                statistic.set_value(sum_over_processes(statistic.numpy()).astype("float32") / world_size)
