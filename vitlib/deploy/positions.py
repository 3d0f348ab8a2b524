"""Positions in a graph that leaves the image size open.

Tables are resampled by the matrices of `vitlib.layers.resize_matrix`. Distances are fractions of whole numbers, which
float32 holds exactly, and the kernels are sums of products of rectifiers, so that the graph needs no comparisons.
"""

from __future__ import annotations

import math

import numpy as np

from ..layers.position import RESIZE_METHODS, ResizeMethod
from .graph import Graph
from .operations import Value


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


def rotary_turns(
    graph: Graph, head_dim: int, base: float, num_prefix: int, patch: tuple[int, int]
) -> tuple[Value, Value]:
    """The turns of `vitlib.layers.RotaryPositions` for the images' grid: cosines and sines, each [1, P + N, d]; the
    first half of the sines is negative."""
    steps = head_dim // 4
    frequencies = 2 * math.pi * base ** (-np.arange(steps, dtype="float64") / steps)
    with graph.scope("rotary"):
        counts = [graph.patch_count(axis, patch[axis]) for axis in (0, 1)]
        ones = [graph.add(graph.multiply(graph.arange(count), graph.weight(0)), graph.weight(1)) for count in counts]
        turns = []
        for count in counts:
            angles = graph.multiply(_centres(graph, count), graph.weight(frequencies))
            # sin(x) is cos(x - π/2). Paddle's inplace_pass overwrites x where both cos(x) and sin(x) are asked for
            shift = graph.weight(np.array([0, -math.pi / 2]).reshape(2, 1, 1), "shift")
            turns.append(graph.cos(graph.add(graph.reshape(angles, (1, -1, steps)), shift)))  # [2, count, d/4]
        rows = graph.multiply(graph.reshape(turns[0], (2, -1, 1, steps)), graph.reshape(ones[1], (1, 1, -1, 1)))
        columns = graph.multiply(graph.reshape(turns[1], (2, 1, -1, steps)), graph.reshape(ones[0], (1, -1, 1, 1)))
        turns = graph.reshape(graph.concat([rows, columns], 3), (2, -1, 2 * steps))  # [2, N, d/2]
        if num_prefix:
            still = np.zeros([2, num_prefix, 2 * steps])
            still[0] = 1
            turns = graph.concat([graph.weight(still, "still"), turns], 1)
        negative = graph.multiply(turns, graph.weight(np.array([1, -1]).reshape(2, 1, 1), "sign"))
        cos, sin = graph.split(graph.concat([negative, turns], 2), 0, 2)
        return cos, sin


def _centres(graph: Graph, count: Value) -> Value:
    """Centres of so many patches, in [-1, 1]: [count, 1]"""
    doubled = graph.add(graph.multiply(graph.arange(count), graph.weight(2)), graph.weight(1))
    shifted = graph.add(doubled, graph.multiply(count, graph.weight(-1)))
    return graph.reshape(graph.divide(shifted, count), (-1, 1))


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
