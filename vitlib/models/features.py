"""Features of a model's inner layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import paddle

from ..images.checks import is_whole


class FeatureExtractor:
    """The part of `VisionTransformer` that gives features of chosen blocks."""

    @property
    def num_features(self) -> int:
        """Width of the classifier's input, and of the model's output with num_classes=0."""
        return self.config.pre_logits or self.config.embed_dim

    def intermediates(
        self,
        x: paddle.Tensor,
        layers: int | Sequence[int] | None = None,
        *,
        norm: bool = False,
        reshape: bool = False,
        prefix_tokens: bool = False,
    ) -> list[Any]:
        """Outputs of chosen blocks for images [B, C, H, W]: one entry per layer, in the requested order.

        Args:
            x: images.
            layers: indices (negative ones count from the end), a count n for the last n blocks, or None for all.
            norm: apply the model's final norm; otherwise the output of the block as it is.
            reshape: give patches as maps [B, D, h, w] instead of [B, N, D].
            prefix_tokens: return the prefix tokens too: [B, P + N, D], or with reshape pairs (map, prefix [B, P, D]).

        Blocks after the last one asked for are not run. Raises ValueError for a layer that does not exist.
        """
        indices = self.layer_indices(layers)
        tokens, options, found = self.embed(x), self.block_options(x), {}
        for index, block in enumerate(self.blocks[: max(indices) + 1]):
            tokens = self._run_block(block, tokens, options)
            if index in indices:
                found[index] = self.norm(tokens) if norm else tokens
        num_prefix, grid = self.num_prefix_tokens, self.patch_embed.grid_for(x)
        if reshape and self.training and self.config.patch_drop_rate:
            raise ValueError(
                "patches were dropped (patch_drop_rate in training), so there is no map; call eval() first"
            )
        results = []
        for tokens in (found[index] for index in indices):
            prefix, patches = tokens[:, :num_prefix], tokens[:, num_prefix:]
            if not reshape:
                results.append(tokens if prefix_tokens else patches)
                continue
            maps = patches.transpose([0, 2, 1]).reshape([0, self.config.embed_dim, *grid])
            results.append((maps, prefix) if prefix_tokens else maps)
        return results

    def layer_indices(self, layers: int | Iterable[int] | None) -> list[int]:
        """Indices from 0 of the blocks that `layers` chooses, as in `intermediates`. Raises ValueError as it does."""
        depth = len(self.blocks)
        if not isinstance(layers, Iterable):
            count = depth if layers is None else layers
            if not is_whole(count) or not 1 <= count <= depth:
                raise ValueError(f"layers={layers}: expected a count of 1 to {depth}, or a list of indices")
            return list(range(depth - count, depth))
        indices = list(layers)
        for index in indices:
            if not is_whole(index) or not -depth <= index < depth:
                raise ValueError(f"there is no layer {index!r}: this model has {depth} blocks, 0 to {depth - 1}")
        if not indices:
            raise ValueError("no layer was asked for; give indices, a count, or None for all")
        return [index % depth for index in indices]
