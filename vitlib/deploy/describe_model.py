"""From a model to its inference graph: in evaluation, and without what costs time and changes no answer.

The last block computes only the tokens that are read; the scale of attention and LayerScale go into the linear layers
beside them; prefix tokens take their positions; a DeiT's two heads are one product; dropout is gone.

Queries, keys and values are three products: one that is split is as fast in OpenVINO and onnxruntime, and slower in
Paddle Inference. Scale and shift of a LayerNorm stay where they are: no engine gains from them in the next layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import paddle
from paddle import nn

from ..layers import AttentionPool, HybridEmbed, PatchEmbed, RotaryPositions, resample_positions
from ..layers.patch_embed import by, grid_of, to_pair
from ..models import DeiT, VisionTransformer
from ..models.evaluation import evaluation_mode, in_full_precision
from ..models.structure import check_heads
from .describe_block import Kept, describe_block
from .describe_layers import describe_layer
from .graph import Graph
from .known_layers import LINEAR, Window, array, is_plain, linear_weights, window_of
from .model_images import images_of
from .operations import Value
from .outputs import block_of, parse_outputs
from .overrides import DescriptionError, described_as, ways_out
from .positions import resampled_positions, rotary_turns


def describe(
    model: VisionTransformer,
    outputs: str | Iterable[str] = "logits",
    *,
    img_size: int | tuple[int, int] | None = None,
    pixels: bool = False,
) -> Graph:
    """The graph of what a model computes in evaluation, whatever mode it is in.

    outputs: one or several of "logits", "features", "tokens", "map_3" and "attention_3": see `parse_outputs`.
    img_size: the one size of the images; None: the model's, or any size when it has `dynamic_img_size`.
    pixels: take uint8 [B, H, W, C] as a picture holds them; normalising is part of the graph.

    Raises `DescriptionError` for a model, layer or activation of a class whose operations are not known, and for hooks;
    RuntimeError for a model without values; ValueError for outputs and sizes that cannot be, and for a head of another
    number of classes than the config's.
    """
    if not isinstance(model, VisionTransformer):
        raise TypeError(f"expected a vitlib model, found {type(model).__name__}")
    if described_as(model, (VisionTransformer, DeiT)) is None:
        name = type(model).__name__
        raise DescriptionError(
            f"{name} has a to_graph, and only layers of a model can have one: {ways_out('the layer that differs')}"
        )
    model.check_filled()
    model = in_full_precision(model)
    names = parse_outputs(outputs, model.config, len(model.blocks))
    if "logits" in names or not model.config.num_classes:
        check_heads(model)
    graph = Graph(images_of(model, img_size, pixels))
    paths = {id(layer): name for name, layer in model.named_sublayers()}
    graph.describe_layer = lambda layer, x: describe_layer(graph, layer, x, paths.get(id(layer), ""))
    with evaluation_mode(model), paddle.no_grad():
        _Model(model, graph, names).describe()
    graph.describe_layer = None
    graph.drop_unused()
    return graph


class _Model:
    """Adds a model's operations to a graph, as far as the outputs need them."""

    def __init__(self, model: VisionTransformer, graph: Graph, outputs: tuple[str, ...]) -> None:
        self.model, self.graph, self.outputs = model, graph, outputs
        self.config, self.num_prefix = model.config, model.config.num_prefix_tokens
        self.patch = to_pair(model.config.patch_size)

    def describe(self) -> None:
        graph, found = self.graph, {}
        of_blocks = [block for name in self.outputs if (block := block_of(name)) is not None]
        to_the_end = len(of_blocks) < len(self.outputs)
        last = len(self.model.blocks) - 1
        x = self.embed()
        if self.config.pos_embed == "rotary":
            graph.rotary = self.rotary()
        for index, block in enumerate(self.model.blocks[: last + 1 if to_the_end else max(of_blocks) + 1]):
            with_weights = f"attention_{index}" in self.outputs
            kept = self.kept_tokens() if index == last and f"map_{index}" not in self.outputs else "all"
            x, weights = describe_block(
                graph, block, x, f"blocks.{index}", kept, self.num_prefix, with_weights=with_weights
            )
            if with_weights:
                found[f"attention_{index}"] = weights
            if f"map_{index}" in self.outputs:
                patches = graph.slice(x, 1, self.num_prefix) if self.num_prefix else x
                found[f"map_{index}"] = graph.patch_map(patches, self.config.embed_dim, self.patch)
        if to_the_end:
            found.update(self.head(x, kept))
        for name in self.outputs:
            graph.output(name, found[name], self.shape(name))

    def shape(self, output: str) -> tuple[int | None, ...]:
        """Of an output; None for the batch, and for what the image size decides when it is open."""
        config, size = self.config, self.graph.images.size
        grid = (None, None) if None in size else grid_of(size, self.patch, config.dynamic_img_pad)
        count = None if None in grid else self.num_prefix + grid[0] * grid[1]
        kind, block = output.partition("_")[0], block_of(output)
        num_heads = self.model.blocks[block].attn.num_heads if kind == "attention" else None
        every_token = (count,) if config.global_pool == "none" else ()
        return {
            "logits": (None, *every_token, config.num_classes),
            "features": (None, *every_token, self.model.num_features),
            "tokens": (None, count, config.embed_dim),
            "map": (None, config.embed_dim, *grid),
            "attention": (None, num_heads, count, count),
        }[kind]

    def embed(self) -> Value:
        """Equation 1 of the ViT paper: [B, P + N, D]"""
        graph, config, model = self.graph, self.config, self.model
        patches = self.patches()
        tokens = [array(getattr(model, name)) for name in model.prefix_names]
        prefix = np.concatenate(tokens, axis=1) if tokens else None
        if config.has_position_table:
            table = array(model.pos_embed)
            rows = table.shape[1] - int(np.prod(model.patch_embed.grid_size))
            if rows:
                prefix, table = prefix + table[:, :rows], table[:, rows:]
            patches = graph.add(patches, self.positions(table), "positions.add")
        x = patches if prefix is None else graph.prepend(prefix, patches)
        return graph.layer(model.norm_pre, graph.layer(model.pos_drop, x))

    def patches(self) -> Value:
        """Patch tokens without positions: [B, N, D]"""
        graph, config, embed = self.graph, self.config, self.model.patch_embed
        record = self.model.preprocess
        mean, std = np.array(record.mean), np.array(record.std)
        if isinstance(embed, HybridEmbed) and embed.dynamic_img_pad:
            raise DescriptionError(
                "how a ResNet before the patches pads its images depends on their size, which a graph cannot hold; set "
                f"dynamic_img_pad=False, {ways_out(type(embed).__name__)}"
            )
        if described_as(embed, (PatchEmbed,)) is None:
            return graph.layer(embed, graph.normalized_images(mean, std))
        self.check_projection(embed.proj)
        weight, bias = array(embed.proj.weight), array(embed.proj.bias)
        pad, pad_values = (0, 0), None
        if graph.images.dtype == "uint8":  # (pixels / 255 - mean) / std, as part of the product
            bias = (0 if bias is None else bias) - np.einsum("dchw,c->d", weight, mean / std)
            weight = weight / (255 * std).reshape(1, -1, 1, 1)
            pad_values = 255 * mean  # 0 after normalising
        if config.dynamic_img_pad:  # as much as the largest remainder needs: the convolution leaves out the surplus
            pad = tuple(
                patch - 1 if side is None else -side % patch
                for side, patch in zip(graph.images.size, self.patch, strict=True)
            )
        with graph.scope("patch_embed"):
            return graph.cut_patches(weight, bias, pad=pad, pad_values=pad_values)

    def check_projection(self, proj: nn.Layer) -> None:
        """Raises `DescriptionError` for anything but a convolution whose kernel and stride are the patch."""
        if not is_plain(proj, (nn.Conv2D,)):
            raise DescriptionError(
                f"patch_embed.proj is a {type(proj).__name__}; expected a Conv2D; {ways_out('the patch embedding')}"
            )
        if window_of(proj) != Window(self.patch, (0, 0)) or tuple(proj.weight.shape[2:]) != self.patch:
            raise DescriptionError(
                "patch_embed.proj is a convolution whose kernel and stride are not the patch "
                f"({by(self.patch)}); {ways_out('the patch embedding')}"
            )

    def positions(self, table: np.ndarray) -> Value:
        """[1, N, D]; the table's rows are those of the patches."""
        graph, config, grid = self.graph, self.config, self.model.patch_embed.grid_size
        if None in graph.images.size:
            return resampled_positions(graph, table, grid, self.patch, config.position_resize)
        new_grid = grid_of(graph.images.size, self.patch, config.dynamic_img_pad)
        if new_grid != grid:
            table = resample_positions(paddle.to_tensor(table), grid, new_grid, config.position_resize)
        return graph.weight(table, "positions")

    def rotary(self) -> tuple[Value, Value]:
        """Cosines and sines of the turns of all tokens, each [1, P + N, d]."""
        graph, rotary, size = self.graph, self.model.rotary, self.graph.images.size
        if described_as(rotary, (RotaryPositions,)) is None:
            raise DescriptionError(f"the turns of {type(rotary).__name__} are not known; {ways_out('its block')}")
        if None in size:
            return rotary_turns(graph, rotary.head_dim, rotary.base, rotary.num_prefix_tokens, self.patch)
        cos, sin = array(rotary(grid_of(size, self.patch, self.config.dynamic_img_pad)))
        sin[:, : rotary.head_dim // 2] *= -1
        return graph.weight(cos[None], "rotary.cos"), graph.weight(sin[None], "rotary.sin")

    def kept_tokens(self) -> Kept:
        """Those of the last block that outputs and head read."""
        config = self.config
        if "tokens" in self.outputs or config.global_pool == "none":
            return "all"
        if config.global_pool == "token":
            return 1 + config.distillation_token
        return "mean" if is_plain(self.model.norm, (nn.Identity,)) else "all"

    def head(self, x: Value, kept: Kept) -> dict[str, Value]:
        """From the last block's tokens, as far as they were kept, to the outputs of the head."""
        graph, model, config, found = self.graph, self.model, self.config, {}
        if kept == "mean":
            pooled = graph.reshape(x, (0, config.embed_dim), "pool")
        else:
            count = 1 + config.distillation_token
            if kept == "all" and "tokens" not in self.outputs and config.global_pool == "token":
                x = graph.slice(x, 1, 0, count, "read")
                kept = count
            tokens = graph.layer(model.norm, x)
            if kept == "all":
                found["tokens"] = tokens
            pooled = self.pool(tokens, count if kept == "all" else None)
        features = graph.layer(model.head_drop, graph.layer(model.pre_logits, graph.layer(model.fc_norm, pooled)))
        if not config.distillation_token:
            return {**found, "features": features, "logits": graph.layer(model.head, features)}
        found["features"] = graph.mean(features, 1, name="features")  # of the class and the distillation token
        return {**found, "logits": self.two_heads(features)}

    def pool(self, tokens: Value, count: int | None) -> Value:
        """Tokens [B, N, D] -> [B, D], for a DeiT [B, 2, D]. count: how many of them to read; None: no others came."""
        graph, config = self.graph, self.config
        if config.global_pool == "none":
            return tokens
        if config.global_pool in ("avg", "map"):
            patches = graph.slice(tokens, 1, self.num_prefix) if self.num_prefix else tokens
            return graph.mean(patches, 1, name="pool") if config.global_pool == "avg" else self.attention_pool(patches)
        if count is not None:
            tokens = graph.slice(tokens, 1, 0, count, "read")
        return tokens if config.distillation_token else graph.reshape(tokens, (0, config.embed_dim), "pool")

    def attention_pool(self, x: Value) -> Value:
        """One query reads all patches: [B, N, D] -> [B, D]

        The query is a constant, so that its products with the keys are one small layer, whose bias softmax would take
        away again; and values are projected after they were summed, since that is linear.
        """
        graph, pool = self.graph, self.model.attn_pool
        if described_as(pool, (AttentionPool,)) is None:
            return graph.layer(pool, x)
        heads, d, dim = pool.num_heads, pool.head_dim, pool.embed_dim
        q = array(pool.q(pool.latent)).reshape(heads, d) / math.sqrt(d)
        with graph.scope("attn_pool"):
            if is_plain(pool.kv, LINEAR):
                affine = linear_weights(pool.kv)
                k, v = affine.columns(0, dim), affine.columns(dim, 2 * dim)
                logits = graph.linear(x, np.einsum("xhd,hd->xh", k.weight.reshape(dim, heads, d), q), name="logits")
                weights = graph.softmax(graph.transpose(logits, (0, 2, 1)))  # [B, H, N]
                y = graph.reshape(graph.matmul(weights, x), (0, heads, 1, dim))
                y = graph.matmul(y, graph.weight(v.weight.reshape(dim, heads, d).transpose(1, 0, 2), "v.weight"))
                y = graph.reshape(y, (0, dim))
                if v.bias is not None:
                    y = graph.add(y, graph.weight(v.bias, "v.bias"))
            else:
                k, v = graph.split(graph.layer(pool.kv, x), 2, 2)
                query = graph.weight(q.reshape(1, heads, 1, d), "q")
                y = graph.attention(query, graph.heads(k, heads, d), graph.heads(v, heads, d))
                y = graph.reshape(y, (0, dim))
        y = graph.layer(pool.proj, y)
        return graph.add(y, graph.layer(pool.mlp, graph.layer(pool.norm, y)), "attn_pool.add")

    def two_heads(self, features: Value) -> Value:
        """The mean of a DeiT's heads, each on its own token: [B, 2, F] -> [B, num_classes]"""
        graph, heads = self.graph, (self.model.head, self.model.head_dist)
        if all(is_plain(head, LINEAR) for head in heads):
            affine = [linear_weights(head) for head in heads]
            weight = np.concatenate([part.weight for part in affine]) / 2
            bias = sum(0 if part.bias is None else part.bias for part in affine) / 2
            return graph.linear(
                graph.reshape(features, (0, len(weight))), weight, np.broadcast_to(bias, weight.shape[1:]), "heads"
            )
        logits = []
        for index, head in enumerate(heads):
            token = graph.slice(features, 1, index, index + 1)
            logits.append(graph.layer(head, graph.reshape(token, (0, self.model.num_features))))
        return graph.multiply(graph.add(*logits), graph.weight(0.5, "half"))
