"""Position tables: resampling a learnt table to another grid, and 2-D sin-cos tables.

Every library resizes its table in its own way, and the results differ by several percent. Each way is a separable
linear map, so it is written here as two small matrices, which give the same numbers on every Paddle (antialiasing is
missing from `interpolate` before 3.3) and also in a traced graph whose grid is only known at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F


@dataclass(frozen=True)
class ResizeMethod:
    """The mapping of an output coordinate to the input, and the interpolation kernel.

    kernel: "linear" or "cubic"; a: the cubic's parameter; antialias: widen the kernel by the shrink factor and leave
    out taps beyond the border (otherwise they repeat its value); align_corners: first and last pixel centres coincide
    (otherwise half-pixel centres); offset: added to the new size before the ratio is taken.
    """

    kernel: str
    a: float = -0.75
    antialias: bool = False
    align_corners: bool = False
    offset: float = 0.0


RESIZE_METHODS: dict[str, ResizeMethod] = {
    "timm": ResizeMethod("cubic", a=-0.5, antialias=True),
    "bilinear": ResizeMethod("linear"),  # timm for Google's .npz; FlexiViT
    "google": ResizeMethod("linear", align_corners=True),  # scipy.ndimage.zoom(order=1)
    "deit": ResizeMethod("cubic"),  # facebook DeiT, Hugging Face, mmpretrain
    "torchvision": ResizeMethod("cubic", align_corners=True),
    "dino": ResizeMethod("cubic", offset=0.1),  # DINO, DINOv2
    "dinov2_registers": ResizeMethod("cubic", a=-0.5, antialias=True),
}


def _kernel(x: paddle.Tensor, method: ResizeMethod) -> paddle.Tensor:
    """The kernel's value at distance x, elementwise."""
    x = paddle.maximum(x, -x)  # not abs(): oneDNN in Paddle Inference fuses it with a subtraction, wrongly in float64
    if method.kernel == "linear":
        return (1 - x).clip(min=0)
    a, zero = method.a, paddle.zeros([], x.dtype)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return paddle.where(x <= 1, near, paddle.where(x < 2, far, zero))


def resize_matrix(old: int, new: int | paddle.Tensor, method: str = "timm") -> paddle.Tensor:
    """The matrix [new, old], float64, that resamples `old` values on a line to `new`; its rows sum to 1.

    new: an int, or in a traced graph a scalar integer tensor.
    method: a name of `RESIZE_METHODS`.

    Raises ValueError for an unknown method.
    """
    if method not in RESIZE_METHODS:
        raise ValueError(f"unknown position_resize {method!r}; there are {', '.join(map(repr, RESIZE_METHODS))}")
    rule = RESIZE_METHODS[method]
    i = paddle.arange(new).astype("float64").unsqueeze(1)
    size = new.astype("float64") if hasattr(new, "astype") else paddle.full([], float(new), "float64")
    one = paddle.ones([], "float64")
    if rule.align_corners:
        source = i * ((old - 1) / paddle.maximum(size - 1, one))
    else:
        source = (i + 0.5) * (old / (size + rule.offset)) - 0.5

    if rule.antialias:
        stretch = paddle.maximum(old / size, one)
        weights = _kernel((paddle.arange(old, dtype="float64") - source) / stretch, rule)
        matrix = weights / weights.sum(1, keepdim=True)
    else:
        taps = paddle.arange(-2, old + 2)  # those beyond a border repeat its value
        inside = F.one_hot(taps.clip(0, old - 1), old).astype("float64")  # [old + 4, old]
        matrix = paddle.matmul(_kernel(taps.astype("float64") - source, rule), inside)
    # An unchanged size is left alone, also by a method that has an offset.
    return paddle.where(size == old, (i == paddle.arange(old, dtype="float64")).astype("float64"), matrix)


def resample_positions(
    table: paddle.Tensor,
    old_grid: tuple[int, int],
    new_grid: tuple[int | paddle.Tensor, int | paddle.Tensor],
    method: str = "timm",
) -> paddle.Tensor:
    """Resample a position table to another grid: [1, P + h·w, D] -> [1, P + h'·w', D].

    The P rows beyond h·w are prefix tokens and stay as they are. Grids are (rows, columns) and are compared as such:
    14×14 and 7×28 hold as many patches and are still different.

    Raises ValueError when the table is smaller than the old grid, or the method is unknown.
    """
    (old_h, old_w), dim = old_grid, table.shape[-1]
    num_prefix = table.shape[1] - old_h * old_w
    if num_prefix < 0:
        raise ValueError(
            f"a position table with {table.shape[1]} rows cannot hold a grid of "
            f"{old_h} x {old_w} = {old_h * old_w} patches"
        )
    if all(isinstance(n, int) for n in new_grid) and tuple(new_grid) == tuple(old_grid):
        return table
    rows = resize_matrix(old_h, new_grid[0], method).astype(table.dtype)
    columns = resize_matrix(old_w, new_grid[1], method).astype(table.dtype)
    grid = table[:, num_prefix:].reshape([old_h, old_w * dim])
    grid = paddle.matmul(rows, grid).reshape([-1, old_w, dim])  # [h', w, D]
    grid = paddle.matmul(columns, grid).reshape([1, -1, dim])  # [1, h'·w', D]
    return paddle.concat([table[:, :num_prefix], grid], axis=1) if num_prefix else grid


def sincos_positions(
    grid: tuple[int, int], dim: int, *, temperature: float = 10000.0, include_end: bool = True
) -> np.ndarray:
    """A fixed 2-D table [h·w, dim], float32: for each patch [sin x·ω, cos x·ω, sin y·ω, cos y·ω], ω from 1 downwards.

    include_end: ω reaches 1/temperature (big_vision, SimpleViT, arXiv 2205.01580) or stops one step before it (MoCo v3,
    MAE). Raises ValueError when dim is not a multiple of 4.
    """
    if dim % 4 or dim < 8:
        raise ValueError(f"a sin-cos position table of width {dim}: expected a multiple of 4, at least 8")
    steps = dim // 4
    omega = temperature ** -(np.arange(steps) / (steps - include_end))
    y, x = (np.outer(axis.ravel(), omega) for axis in np.indices(grid).astype(float))
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1).astype("float32")
