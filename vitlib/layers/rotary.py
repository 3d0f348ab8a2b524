"""Rotary positions (RoPE, arXiv 2104.09864) over the patch grid, as in DINOv3 (arXiv 2508.10104).

Queries and keys are rotated by angles proportional to the position of their patch, so their products depend on the
relative positions of the patches. There is no table: the angles are computed for each grid.
"""

from __future__ import annotations

import math

import paddle
from paddle import nn

from .attention import MultiHeadAttention
from .encoder_block import EncoderBlock


class RotaryPositions(nn.Layer):
    """Cosines and sines of the rotary angles of all tokens of a patch grid (rows, columns): [2, P + N, d].

    The centres of the patches lie in [-1, 1] along each axis, whatever the grid. The first half of the d/2 angles of a
    head is for the row, the second for the column; angle j is 2π · centre / base^(4j/d). The P tokens before the
    patches are not rotated.

    Args:
        head_dim: width d of a head, a multiple of 4.
        base: the periods are base^(4j/d), from 1 for the fastest angle to a little below base.
        num_prefix_tokens: P.

    Raises ValueError when head_dim is not a multiple of 4.
    """

    def __init__(self, head_dim: int, base: float = 100.0, num_prefix_tokens: int = 0) -> None:
        super().__init__()
        if head_dim % 4:
            raise ValueError(f"heads of width {head_dim}: expected a multiple of 4 for rotary positions")
        self.head_dim, self.base, self.num_prefix_tokens = head_dim, base, num_prefix_tokens

    def forward(self, grid: tuple[int | paddle.Tensor, int | paddle.Tensor]) -> paddle.Tensor:
        """grid: ints, or scalar tensors in a graph that leaves the size open -> [2, P + N, d], float32"""
        steps = self.head_dim // 4
        frequencies = 2 * math.pi * self.base ** (-paddle.arange(steps, dtype="float64") / steps)  # [d/4]
        rows, columns = (self._centres(count).unsqueeze(-1) * frequencies for count in grid)  # [h, d/4], [w, d/4]
        # not by broadcasting [h, 1, d/4] and [w, d/4], whose sum Paddle Inference gives the shape of one of them
        patch, width = paddle.arange(grid[0] * grid[1]), grid[1]
        angles = paddle.concat([rows.gather(patch // width), columns.gather(patch % width)], axis=-1)  # [N, d/2]
        angles = paddle.concat([paddle.zeros([self.num_prefix_tokens, 2 * steps], angles.dtype), angles])
        angles = paddle.concat([angles, angles], axis=-1)  # [P + N, d]
        return paddle.stack([angles.cos(), angles.sin()]).astype("float32")

    def _centres(self, count: int | paddle.Tensor) -> paddle.Tensor:
        """Centres of so many patches along one axis of [-1, 1]."""
        size = count.astype("float64") if hasattr(count, "astype") else float(count)
        return (paddle.arange(count).astype("float64") + 0.5) * 2 / size - 1


def rotate(x: paddle.Tensor, rotary: paddle.Tensor) -> paddle.Tensor:
    """Rotate the pairs (j, j + d/2) of each head: x [B, N, H, d], rotary [2, N, d] -> [B, N, H, d]."""
    cos, sin = rotary.astype(x.dtype).unsqueeze(2)  # each [N, 1, d]
    first, second = x.chunk(2, axis=-1)
    return x * cos + paddle.concat([-second, first], axis=-1) * sin


class RotaryAttention(MultiHeadAttention):
    """`MultiHeadAttention` whose queries and keys are turned by `rotary` [2, N, d], from `RotaryPositions`."""

    def project_qkv(
        self, x: paddle.Tensor, rotary: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """x: [B, N, D] -> q, k, v, each [B, N, H, d]; q and k turned."""
        q, k, v = MultiHeadAttention.project_qkv(self, x)  # where a subclass is traced, Paddle mistakes super()
        return rotate(q, rotary), rotate(k, rotary), v

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor | None = None, *, rotary: paddle.Tensor) -> paddle.Tensor:
        """x: [B, N, D] -> [B, N, D]; mask as in `attend`."""
        q, k, v = self.project_qkv(x, rotary)
        return self.merge(self.attend(q, k, v, mask=mask))

    def attention_weights(
        self, x: paddle.Tensor, mask: paddle.Tensor | None = None, *, rotary: paddle.Tensor
    ) -> paddle.Tensor:
        """The attention weights of `forward`, as in `MultiHeadAttention`: [B, H, N, N]."""
        q, k, _ = self.project_qkv(x, rotary)
        return self.weights_of(q, k, mask)


class RotaryBlock(EncoderBlock):
    """`EncoderBlock` with rotary positions. Parts are swapped in the same way; attention derives from
    `RotaryAttention`."""

    attention_class: type[nn.Layer] = RotaryAttention

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor | None = None, *, rotary: paddle.Tensor) -> paddle.Tensor:
        """x: [B, N, D] -> [B, N, D]; rotary [2, N, d], from `RotaryPositions`."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x), mask, rotary=rotary)))
        x = x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
        return x


def rotary_block_class(block_class: type[nn.Layer]) -> type[nn.Layer]:
    """The class of blocks for rotary positions: `RotaryBlock` in place of `EncoderBlock`, others as they are.

    Raises TypeError for a class that does not derive from `RotaryBlock` and so takes no rotary positions.
    """
    if block_class is EncoderBlock:
        return RotaryBlock
    if not issubclass(block_class, RotaryBlock):
        raise TypeError(
            f"{block_class.__name__} as block_class takes no rotary positions: derive it from "
            "vitlib.layers.RotaryBlock, and its attention from vitlib.layers.RotaryAttention"
        )
    return block_class
