"""Position tables in a graph that leaves the image size open.

The matrices are those of `vitlib.layers.resize_matrix`. Distances are fractions of whole numbers, which float32 holds
exactly, and the kernels are sums of products of rectifiers, so that the graph needs no comparisons.
"""

from __future__ import annotations

import numpy as np

from ..layers.position import RESIZE_METHODS, ResizeMethod
from .graph import Graph, Value


def resampled_positions(
    graph: Graph, table: np.ndarray, grid: tuple[int, int], patch: tuple[int, int], method: str
) -> Value:
    """A position table [1, h·w, D] of a grid (h, w), resampled to the images' grid: [1, h'·w', D]."""
    (h, w), dim = grid, table.shape[-1]
    with graph.scope("positions"):
        rows, columns = (
            _resize_matrix(graph, old, graph.patch_count(axis, patch[axis]), RESIZE_METHODS[method])
            for axis, old in enumerate(grid)
        )
        x = graph.matmul(rows, graph.weight(table.reshape(h, w * dim), "table"))
        x = graph.matmul(columns, graph.reshape(x, (-1, w, dim)))
        return graph.reshape(x, (1, -1, dim))


def _resize_matrix(graph: Graph, old: int, new: Value, rule: ResizeMethod) -> Value:
    """[new, old], whose rows sum to 1; new is a value [1]."""
    add, times, number = graph.add, graph.multiply, graph.weight
    i = graph.reshape(graph.arange(new), (-1, 1))
    if rule.align_corners:  # at i·(old - 1) / (new - 1)
        source = times(i, number(old - 1))
        over = _maximum(graph, add(new, number(-1)), 1)
    else:  # at (i + 1/2)·old / (new + offset) - 1/2; in tenths, since offsets have one decimal
        tenths = add(times(new, number(10)), number(round(10 * rule.offset)))
        over = times(tenths, number(2))
        source = add(add(times(i, number(20 * old)), number(10 * old)), times(tenths, number(-1)))
    columns = np.arange(old) if rule.antialias else np.arange(-2, old + 2)
    distance = add(times(over, number(columns)), times(source, number(-1)))  # [new, columns], times `over`
    if rule.antialias:  # the kernel widens as the grid shrinks
        distance = times(distance, new)
        over = times(over, _maximum(graph, new, old))
    weights = _kernel(graph, _absolute(graph, graph.divide(distance, over)), rule)
    if rule.antialias:
        return graph.divide(weights, graph.matmul(weights, number(np.ones([old, 1]))))
    border = np.zeros((old + 4, old))  # two taps beyond either border are the border's own pixel
    border[np.arange(old + 4), np.clip(columns, 0, old - 1)] = 1
    matrix = graph.matmul(weights, number(border))
    if not rule.offset:
        return matrix
    # an unchanged size is left alone
    same = _one_at_zero(graph, add(new, number(-old)))
    unit = _one_at_zero(graph, add(i, number(-np.arange(old))))
    other = add(number(1), times(same, number(-1)))
    return add(times(same, unit), times(other, matrix))


def _kernel(graph: Graph, x: Value, rule: ResizeMethod) -> Value:
    """The kernel's value at distance x, 0 or more."""
    add, times, number = graph.add, graph.multiply, graph.weight
    inner = graph.activation(add(number(1), times(x, number(-1))), "relu")  # max(1 - x, 0)
    if rule.kernel == "linear":
        return inner
    # Keys' cubic is a·(x - 1)·(2 - x)² between 1 and 2, and (1 - x)²·(2·x + 1 + 4·a) more than that below 1
    outer = graph.activation(add(number(2), times(x, number(-1))), "relu")
    far = times(times(outer, outer), add(number(rule.a), times(outer, number(-rule.a))))
    near = times(times(inner, inner), add(times(x, number(2)), number(1 + 4 * rule.a)))
    return add(far, near)


def _maximum(graph: Graph, x: Value, least: float) -> Value:
    return graph.add(graph.activation(graph.add(x, graph.weight(-least)), "relu"), graph.weight(least))


def _absolute(graph: Graph, x: Value) -> Value:
    negative = graph.multiply(x, graph.weight(-1))
    return graph.add(graph.activation(x, "relu"), graph.activation(negative, "relu"))


def _one_at_zero(graph: Graph, x: Value) -> Value:
    """1 where a whole number is 0, else 0."""
    x = graph.multiply(_absolute(graph, x), graph.weight(-1))
    return graph.activation(graph.add(graph.weight(1), x), "relu")
