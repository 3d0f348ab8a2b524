"""The one place where a model option is declared."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from ..images import Preprocess
from ..images.checks import check_count, check_name, check_number
from ..images.record import Record, field_types, sentence
from ..layers.conv_stem import check_stem
from ..layers.initialization import SCHEMES
from ..layers.mlp import ACTIVATIONS
from ..layers.patch_embed import Size, grid_of, is_positive_int, to_pair
from ..layers.position import RESIZE_METHODS
from ..layers.resnet_stem import STEM_NORMS, stem_stride
from .other_libraries import OPTIONS

CHOICES: dict[str, tuple[str, ...]] = {
    "activation": tuple(ACTIVATIONS),
    "pos_embed": ("learned", "sincos2d", "rotary", "none"),
    "position_resize": tuple(RESIZE_METHODS),
    "global_pool": ("token", "avg", "map", "none"),
    "drop_path_schedule": ("linear", "constant"),
    "weight_init": tuple(SCHEMES),
    "stem_norms": tuple(STEM_NORMS),
}
_RATES = ("drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate")
_AT_LEAST = {"in_chans": 1, "num_classes": 0, "embed_dim": 1, "depth": 1, "num_heads": 1, "reg_tokens": 0}


@dataclass(frozen=True)
class ViTConfig(Record):
    """The architecture of a Vision Transformer; the defaults are ViT-B/16's at 224 (ViT paper, Table 1).

    Frozen: `replace` makes a changed copy. `print(config)` shows the options that differ from the defaults first.
    For options of your own, subclass it as a dataclass and name it in your model's `config_class`::

        @dataclass(frozen=True)
        class PromptConfig(vitlib.ViTConfig):
            num_prompts: int = 8

        class PromptViT(vitlib.VisionTransformer):
            config_class = PromptConfig
            config: PromptConfig

    Raises ValueError when a value cannot work, alone or beside the others, and TypeError, with the nearest name, for an
    option that does not exist.

    Args:
        img_size: Image size in pixels, an int or (height, width). Default: 224.
        patch_size: Patch size in pixels, an int or (height, width). Default: 16.
        in_chans: Channels of an image. Default: 3.
        num_classes: Classes of the head, or the width of a CLIP tower's projected embedding; 0 for no head: the model
            gives pooled features [B, D]. Default: 1000.
        embed_dim: Width D of the tokens. Default: 768.
        depth: Number of encoder blocks. Default: 12.
        num_heads: Attention heads; they divide embed_dim. Default: 12.
        mlp_ratio: Hidden width of the MLP divided by embed_dim. Default: 4.0.
        gated_mlp: Whether the MLP multiplies its hidden layer with a gate (SwiGLU, arXiv 2002.05202, with activation
            "silu"). Default: False.
        activation: Activation of the MLP: "gelu" (exact), "gelu_tanh", "quick_gelu", "relu" or "silu". Default: 'gelu'.
        norm_eps: Epsilon of every LayerNorm, above 0 and at most 1e-3. Default: 1e-6.
        qkv_bias: Whether the projection to q, k and v has a bias. Default: True.
        qk_norm: Whether q and k are normalised in each head (ViT-22B, arXiv 2302.05442). Default: False.
        patch_bias: Whether the patch projection has a bias (CLIP's has none). Default: True.
        stem_blocks: Bottlenecks in each stage of a ResNet before the patches, up to 4, whose stride divides patch_size;
            () for its root alone, None for no ResNet (hybrids of the ViT paper, §3.1). Default: None.
        stem_norms: Epsilons of the ResNet's norms and standardised weights: "timm" or "google" (vit_jax).
            Default: 'timm'.
        conv_stem: Channels of the 3 x 3 convolutions of stride 2 that make the patches: three for patches of 8 x 8
            (arXiv 2106.14881); () for a plain projection. Default: ().
        class_token: Whether a class token stands before the patches. Default: True.
        distillation_token: Whether there is DeiT's distillation token, with a second head. Default: False.
        reg_tokens: Number of register tokens (arXiv 2309.16588), between class token and patches. Default: 0.
        pos_embed: Positions: "learned", "sincos2d" (fixed), "rotary" (in attention, over the patches alone, without a
            table; DINOv3, arXiv 2508.10104), or "none". Default: 'learned'.
        rotary_base: The periods of the rotary angles are from 1 to a little below it, at least 1. Default: 100.0.
        no_embed_class: Whether positions are for the patches alone, without rows for the prefix tokens. Default: False.
        position_resize: How a position table is resampled to another grid: "timm", "bilinear", "google", "deit",
            "torchvision", "dino" or "dinov2_registers" (see vitlib.layers.position). Default: 'timm'.
        pre_norm: Whether a LayerNorm stands before the blocks (CLIP). Default: False.
        global_pool: Input of the head: "token" (class token), "avg" (mean of the patches), "map" (attention pooling
            of the patches; SigLIP, arXiv 2303.15343) or "none" (every token). Default: 'token'.
        fc_norm: Whether the final norm comes after pooling instead of before; None: after for "avg". Default: None.
        pre_logits: Width of a tanh layer before the head (ViT paper, pre-training); None: no layer. Default: None.
        init_values: Initial value of LayerScale; None: no LayerScale. Default: None.
        drop_rate: Dropout probability before the head, in [0, 1). Default: 0.0.
        pos_drop_rate: Dropout probability after the positions are added, in [0, 1). Default: 0.0.
        patch_drop_rate: Share of the patches left out in training (arXiv 2212.00794), in [0, 1). Default: 0.0.
        proj_drop_rate: Dropout probability after the attention projection and in the MLP, in [0, 1). Default: 0.0.
        attn_drop_rate: Dropout probability on the attention weights, in [0, 1). Default: 0.0.
        drop_path_rate: Stochastic depth of the last block, in [0, 1). Default: 0.0.
        drop_path_schedule: Stochastic depth over the blocks: "linear" from 0 to the rate, or "constant" (DeiT III).
            Default: 'linear'.
        weight_init: Initialisation of the weights: "timm", "deit", "jax" or "big_vision". Default: 'timm'.
        fused_attn: Whether attention uses Paddle's fused function; the numbers are the same. Default: True.
        dynamic_img_size: Whether images of any size are accepted; positions are resampled on the fly. Default: False.
        dynamic_img_pad: Whether images are padded to a multiple of the patch. Default: False.
        preprocess: Preprocessing of images; its size None means img_size. Default: Preprocess().
    """

    img_size: Size = 224
    patch_size: Size = 16
    in_chans: int = 3
    num_classes: int = 1000
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    gated_mlp: bool = False
    activation: str = "gelu"
    norm_eps: float = 1e-6
    qkv_bias: bool = True
    qk_norm: bool = False
    patch_bias: bool = True
    stem_blocks: tuple[int, ...] | None = None
    stem_norms: str = "timm"
    conv_stem: tuple[int, ...] = ()
    class_token: bool = True
    distillation_token: bool = False
    reg_tokens: int = 0
    pos_embed: str = "learned"
    rotary_base: float = 100.0
    no_embed_class: bool = False
    position_resize: str = "timm"
    pre_norm: bool = False
    global_pool: str = "token"
    fc_norm: bool | None = None
    pre_logits: int | None = None
    init_values: float | None = None
    drop_rate: float = 0.0
    pos_drop_rate: float = 0.0
    patch_drop_rate: float = 0.0
    proj_drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    drop_path_schedule: str = "linear"
    weight_init: str = "timm"
    fused_attn: bool = True
    dynamic_img_size: bool = False
    dynamic_img_pad: bool = False
    preprocess: Preprocess = Preprocess()

    elsewhere: ClassVar[Mapping[str, str]] = OPTIONS

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            hint = field_types(type(self))[option.name]
            if isinstance(value, np.generic):  # a number that came out of NumPy
                object.__setattr__(self, option.name, value := value.item())
            if isinstance(value, list) and is_of_type(tuple(value), hint):  # a tuple that went through JSON
                object.__setattr__(self, option.name, value := tuple(value))
            _check_type(type(self), option, value, hint)
        for name in ("img_size", "patch_size"):
            value, pair = getattr(self, name), to_pair(getattr(self, name), name)
            object.__setattr__(self, name, pair if isinstance(value, tuple) else pair[0])
        grid_of(to_pair(self.img_size), to_pair(self.patch_size), self.dynamic_img_pad)
        if self.conv_stem:
            check_stem(self.conv_stem, to_pair(self.patch_size))
            if self.stem_blocks is not None:
                raise ValueError(
                    f"stem_blocks={self.stem_blocks!r} and conv_stem={self.conv_stem!r}: expected one kind of stem, "
                    "stem_blocks=None or conv_stem=()"
                )
        for name, least in _AT_LEAST.items():
            check_count(name, getattr(self, name), least)
        if self.pre_logits is not None:
            check_count("pre_logits", self.pre_logits, 1)
        if self.stem_blocks is not None:
            self._check_stem(self.stem_blocks)
        for name in _RATES:
            check_number(name, getattr(self, name), "[0, 1)")
        for name, known in CHOICES.items():
            check_name(name, getattr(self, name), known)
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"num_heads={self.num_heads} does not divide embed_dim={self.embed_dim}; choose a divisor of the width"
            )
        if self.mlp_ratio * self.embed_dim < 1:
            raise ValueError(f"mlp_ratio={self.mlp_ratio!r}: expected a hidden width of at least 1")
        check_number("norm_eps", self.norm_eps, "(0, 0.001]")  # Paddle's own limit
        if self.global_pool == "token" and not self.class_token:
            raise ValueError('global_pool="token" needs class_token=True; use global_pool="avg" without a class token')
        if self.distillation_token and self.global_pool != "token":
            raise ValueError(
                f"distillation_token=True needs global_pool='token', found {self.global_pool!r}: "
                "each head reads its own token"
            )
        check_number("rotary_base", self.rotary_base, "[1, inf)")
        if self.pos_embed == "rotary" and self.embed_dim // self.num_heads % 4:
            raise ValueError(
                f"num_heads={self.num_heads} of embed_dim={self.embed_dim}: expected heads whose width is a multiple "
                "of 4 for rotary positions"
            )
        if self.pos_embed == "rotary" and self.patch_drop_rate:
            raise ValueError("patch_drop_rate does not go with rotary positions; use patch_drop_rate=0.0")
        if self.pos_embed == "sincos2d" and (self.embed_dim % 4 or self.embed_dim < 8):
            raise ValueError(f"embed_dim={self.embed_dim}: expected a multiple of 4, at least 8, for sincos2d")

    def _check_stem(self, stem_blocks: tuple[int, ...]) -> None:
        if len(stem_blocks) > 4 or not all(map(is_positive_int, stem_blocks)):
            raise ValueError(f"stem_blocks={stem_blocks!r}: expected up to 4 numbers of at least 1")
        stride = stem_stride(stem_blocks)
        if any(side % stride for side in to_pair(self.patch_size)):
            raise ValueError(
                f"stem_blocks={stem_blocks!r}: the stride of {len(stem_blocks)} stages is {stride}, which does not "
                f"divide patch_size={self.patch_size!r}"
            )

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patches: class, distillation and registers, in this order."""
        return self.class_token + self.distillation_token + self.reg_tokens

    @property
    def has_position_table(self) -> bool:
        """Whether positions are a table that is added to the tokens."""
        return self.pos_embed in ("learned", "sincos2d")

    @property
    def grid_size(self) -> tuple[int, int]:
        """The patch grid (rows, columns) at img_size."""
        return grid_of(to_pair(self.img_size), to_pair(self.patch_size), self.dynamic_img_pad)

    @property
    def drop_path_rates(self) -> list[float]:
        """One rate a block: linear from 0 to drop_path_rate (DeiT, timm), or constant (DeiT III)."""
        if self.drop_path_schedule == "constant":
            return [self.drop_path_rate] * self.depth
        return [self.drop_path_rate * index / max(self.depth - 1, 1) for index in range(self.depth)]


def merged_config(cls: type[ViTConfig], config: ViTConfig | None, overrides: Mapping[str, Any]) -> ViTConfig:
    """A config of class `cls` or a subclass: the given one, or the defaults, with the overrides.

    Raises TypeError for a config that is none, and as `ViTConfig` does.
    """
    if config is None:
        return cls(**overrides)
    if not isinstance(config, ViTConfig):
        raise TypeError(
            f"expected a ViTConfig, found {config!r}; create_model(name) builds a preset, get_config(name) gives "
            "its config"
        )
    if isinstance(config, cls):
        return config.replace(**overrides)
    return cls(**{option.name: getattr(config, option.name) for option in fields(config)}).replace(**overrides)


def _check_type(cls: type, option: Field[Any], value: Any, hint: Any) -> None:
    if not is_of_type(value, hint):
        declared = option.type if isinstance(option.type, str) else getattr(option.type, "__name__", str(option.type))
        expected = declared.replace("Size", "int | (height, width)").replace("float", "finite number")
        raise ValueError(f"{option.name}={value!r}: expected {expected}. {sentence(cls, option.name)}".rstrip())


def is_of_type(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type: a class, None, a union, Literal or a generic container (by its class
    alone). As numbers, bool is neither int nor float, an int is a float, and NaN and infinity are none. Other
    annotations accept everything."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(is_of_type(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    kind = origin or hint
    if kind is Any or not isinstance(kind, type):
        return True
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)
