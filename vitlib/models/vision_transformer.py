"""The Vision Transformer (arXiv 2010.11929): patches, prefix tokens and positions, encoder blocks, norm, pool, head."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..layers import (
    AttentionPool,
    EncoderBlock,
    LayerNorm,
    PatchEmbed,
    RotaryPositions,
    resample_positions,
    sincos_positions,
)
from ..layers.conv_stem import conv_stem_class
from ..layers.encoder_block import hidden_width
from ..layers.initialization import attr, linear
from ..layers.recompute import recompute
from ..layers.resnet_stem import hybrid_embed_class
from ..layers.rotary import rotary_block_class
from .config import ViTConfig, merged_config
from .editing import Editable
from .features import FeatureExtractor
from .other_libraries import ATTRIBUTES
from .paddle_model import one_input
from .pickling import Copyable


class VisionTransformer(Editable, FeatureExtractor, Copyable, nn.Layer):
    """Images [B, C, H, W] -> logits [B, num_classes] (ViT paper, §3.1, equations 1 to 4).

    Made from a config, from options, or from both: `VisionTransformer(get_config("ViT-B/16"), num_classes=10)`.
    Options are the fields of `ViTConfig`. A subclass swaps parts by the class attributes `patch_embed_class`,
    `block_class` and `norm_class` (outside the blocks), and the config by `config_class`; parameter names are timm's.

    Attributes: `config`; `labels`, names of the classes where the weights brought them, else None; `load_report`, that
    of the last `vitlib.load_weights`, else None.

    Raises ValueError or TypeError as `ViTConfig` does, and ValueError for a config with a distillation token, which
    `DeiT` takes. A call raises ValueError or TypeError for images that do not fit (see `PatchEmbed`), and RuntimeError
    while parameters of a model built under `paddle.LazyGuard` have no values.
    """

    config_class: type[ViTConfig] = ViTConfig
    patch_embed_class: type[nn.Layer] = PatchEmbed
    block_class: type[nn.Layer] = EncoderBlock
    norm_class: type[nn.Layer] = LayerNorm

    config: ViTConfig
    labels: Sequence[str] | None
    load_report: Any

    def __init__(self, config: ViTConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = config = self.make_config(config, **overrides)
        self.load_report, self.labels = None, None
        self.recompute = False
        init, width = config.weight_init, config.embed_dim

        embed_class = self.patch_embed_class
        if config.stem_blocks is not None:
            stem = {"stem_blocks": config.stem_blocks, "stem_norms": config.stem_norms}
            embed_class = functools.partial(hybrid_embed_class(embed_class), **stem)
        elif config.conv_stem:
            embed_class = functools.partial(conv_stem_class(embed_class), conv_stem=config.conv_stem)
        self.patch_embed = embed_class(
            config.img_size,
            config.patch_size,
            config.in_chans,
            width,
            bias=config.patch_bias,
            dynamic_img_size=config.dynamic_img_size,
            dynamic_img_pad=config.dynamic_img_pad,
            weight_init=init,
        )
        counts = {
            "cls_token": config.class_token,
            "dist_token": config.distillation_token,
            "reg_token": config.reg_tokens,
        }
        self.prefix_names = [name for name, count in counts.items() if count]
        self.num_prefix_tokens = config.num_prefix_tokens
        for name in self.prefix_names:
            token = self.create_parameter([1, int(counts[name]), width], attr=attr(init, name, width, width))
            self.add_parameter(name, token)
        if config.has_position_table:
            self.pos_embed = self.make_position_table()
        self.pos_drop = nn.Dropout(config.pos_drop_rate)
        self.norm_pre = self._norm(config.pre_norm)
        block_class = self.block_class
        if config.pos_embed == "rotary":
            self.rotary = RotaryPositions(width // config.num_heads, config.rotary_base, self.num_prefix_tokens)
            block_class = rotary_block_class(block_class)
        self.blocks = nn.LayerList(
            [
                block_class(
                    width,
                    config.num_heads,
                    config.mlp_ratio,
                    qkv_bias=config.qkv_bias,
                    qk_norm=config.qk_norm,
                    attn_drop=config.attn_drop_rate,
                    proj_drop=config.proj_drop_rate,
                    init_values=config.init_values,
                    drop_path=rate,
                    activation=config.activation,
                    gated_mlp=config.gated_mlp,
                    norm_eps=config.norm_eps,
                    fused_attn=config.fused_attn,
                    weight_init=init,
                )
                for rate in config.drop_path_rates
            ]
        )
        after_pool = config.global_pool == "avg" if config.fc_norm is None else config.fc_norm
        self.norm = self._norm(not after_pool)
        if config.global_pool == "map":
            self.attn_pool = AttentionPool(
                width,
                config.num_heads,
                hidden_width(width, config.mlp_ratio),
                qkv_bias=config.qkv_bias,
                activation=config.activation,
                norm_class=self.norm_class,
                norm_eps=config.norm_eps,
                weight_init=init,
            )
        self.fc_norm = self._norm(after_pool)
        self.pre_logits = nn.Identity()
        if config.pre_logits:
            self.pre_logits = nn.Sequential(("fc", linear(width, config.pre_logits, init)), ("act", nn.Tanh()))
        self.head_drop = nn.Dropout(config.drop_rate)
        self.head = self.make_head()
        self._unfilled = any(not p._is_initialized() for p in self.parameters())

    # Building

    @classmethod
    def make_config(cls, config: ViTConfig | None = None, **overrides: Any) -> ViTConfig:
        """The config of a model made from these arguments; of `config_class`. Raises as the class does."""
        config = merged_config(cls.config_class, config, overrides)
        if config.distillation_token:
            raise ValueError(
                "this config has a distillation token, and VisionTransformer has no second head to train it: use "
                "vitlib.DeiT, or create_model, which picks the class; or replace(distillation_token=False)"
            )
        return config

    def _norm(self, present: bool) -> nn.Layer:
        return self.norm_class(self.config.embed_dim, epsilon=self.config.norm_eps) if present else nn.Identity()

    def make_head(self) -> nn.Layer:
        """A classifier of config.num_classes classes, or nothing for 0."""
        config = self.config
        if not config.num_classes:
            return nn.Identity()
        width = config.pre_logits or config.embed_dim
        head = linear(width, config.num_classes, config.weight_init, kind="head", bias_kind="head_bias")
        if not head.weight._is_initialized():
            self._unfilled = True
        elif head.weight.dtype != (dtype := self.parameters()[0].dtype):  # the model was moved to another precision
            head.to(dtype=dtype)
        return head

    def make_position_table(self) -> paddle.Tensor:
        """[1, P + N, D], or [1, N, D] with no_embed_class; sin-cos tables are not trained."""
        config, width = self.config, self.config.embed_dim
        grid = self.patch_embed.grid_size
        rows = 0 if config.no_embed_class else config.num_prefix_tokens
        shape = [1, rows + grid[0] * grid[1], width]
        if config.pos_embed == "learned":
            return self.create_parameter(shape, attr=attr(config.weight_init, "pos_embed", width, width))
        table = np.zeros(shape, "float32")
        table[0, rows:] = sincos_positions(grid, width)
        fixed = paddle.ParamAttr(initializer=nn.initializer.Assign(table), trainable=False)
        return self.create_parameter(shape, attr=fixed)

    # The forward pass

    def embed(self, x: paddle.Tensor) -> paddle.Tensor:
        """Equation 1: images [B, C, H, W] -> prefix and patch tokens with their positions [B, P + N, D]."""
        if self._unfilled:
            self.check_filled()
        patches = self.patch_embed(x)  # [B, N, D]
        positions = self._positions(self.patch_embed.grid_for(x))
        if self.config.no_embed_class and positions is not None:
            patches, positions = patches + positions, None
        tokens = patches
        if self.prefix_names:
            prefix = paddle.concat([getattr(self, name) for name in self.prefix_names], axis=1)  # [1, P, D]
            tokens = paddle.concat([prefix + paddle.zeros_like(patches[:, :1]), patches], axis=1)
        if positions is not None:
            tokens = tokens + positions
        return self.norm_pre(self._drop_patches(self.pos_drop(tokens)))

    def _positions(self, grid: tuple[int, int]) -> paddle.Tensor | None:
        if not self.config.has_position_table:
            return None
        return resample_positions(self.pos_embed, self.patch_embed.grid_size, grid, self.config.position_resize)

    def _drop_patches(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """In training, keep a random share of each sample's patches (arXiv 2212.00794), and every prefix token."""
        rate, num_prefix = self.config.patch_drop_rate, self.num_prefix_tokens
        if not self.training or rate == 0:
            return tokens
        prefix, patches = tokens[:, :num_prefix], tokens[:, num_prefix:]
        count = patches.shape[1]
        if isinstance(count, int):
            keep = max(1, int(count * (1 - rate)))
        else:  # in a traced graph that leaves the size open
            keep = (count.astype("float64") * (1 - rate)).astype("int64").clip(min=1)
        order = paddle.argsort(paddle.rand(patches.shape[:2]), axis=1)[:, :keep]
        order = order.unsqueeze(-1).expand([-1, -1, self.config.embed_dim])
        patches = paddle.take_along_axis(patches, order, axis=1, broadcast=False)
        return paddle.concat([prefix, patches], axis=1) if num_prefix else patches

    def block_options(self, x: paddle.Tensor, mask: paddle.Tensor | None = None) -> dict[str, paddle.Tensor]:
        """What every block takes beside the tokens of images x [B, C, H, W]: a mask, rotary positions, or nothing."""
        if mask is not None and self.training and self.config.patch_drop_rate:
            raise ValueError(
                f"a mask is for all patches, and patch_drop_rate={self.config.patch_drop_rate} leaves some out in "
                "training: give no mask, or build the model with patch_drop_rate=0.0"
            )
        options = {} if mask is None else {"mask": mask}
        if self.config.pos_embed == "rotary":
            options["rotary"] = self.rotary(self.patch_embed.grid_for(x))
        return options

    def _run_block(self, block: nn.Layer, tokens: paddle.Tensor, options: dict[str, paddle.Tensor]) -> paddle.Tensor:
        if self.recompute and self.training and paddle.is_grad_enabled():
            return recompute(block, tokens, **options)
        return block(tokens, **options)

    def forward_features(self, x: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """Images [B, C, H, W] -> all tokens after the final norm [B, P + N, D].

        mask: broadcastable to [B, heads, P + N, P + N], boolean (True takes part) or added to the attention logits.
        """
        tokens, options = self.embed(x), self.block_options(x, mask)
        for block in self.blocks:  # equations 2 and 3
            tokens = self._run_block(block, tokens, options)
        return self.norm(tokens)

    def pool(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """Tokens [B, P + N, D] -> what the head sees [B, D]; with global_pool="none", the tokens as they are."""
        if self.config.global_pool == "token":
            return tokens[:, 0]
        if self.config.global_pool == "avg":
            return tokens[:, self.num_prefix_tokens :].mean(axis=1)
        if self.config.global_pool == "map":
            return self.attn_pool(tokens[:, self.num_prefix_tokens :])
        return tokens

    def forward_head(self, tokens: paddle.Tensor, pre_logits: bool = False) -> paddle.Tensor:
        """Tokens after the final norm [B, P + N, D] -> logits [B, num_classes] (equation 4), or the pooled features.

        pre_logits: give the input of the classifier instead, [B, num_features] (as timm).
        """
        features = self._head_features(self.pool(tokens))
        return features if pre_logits else self.head(features)

    def _head_features(self, pooled: paddle.Tensor) -> paddle.Tensor:
        return self.head_drop(self.pre_logits(self.fc_norm(pooled)))

    @one_input
    def forward(self, x: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """Images [B, C, H, W] -> logits [B, num_classes]; mask as in `forward_features`."""
        return self.forward_head(self.forward_features(x, mask))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            if name in ATTRIBUTES:
                raise AttributeError(f"{error}; {ATTRIBUTES[name]}") from None
            raise

    @paddle.jit.not_to_static
    def check_filled(self) -> None:
        """Raises RuntimeError when parameters have no values. In a trace, where nobody can tell, it does nothing."""
        if not paddle.in_dynamic_mode():
            return
        empty = [name for name, p in self.named_parameters() if not p._is_initialized()]
        if empty:
            raise RuntimeError(
                f"{len(empty)} parameters of this model have no values yet ({empty[0]} first): it was built under "
                "paddle.LazyGuard. Load weights into it, or draw random ones: "
                "for p in model.parameters(): p.initialize()"
            )
        self._unfilled = False
