"""The one place where a model option is declared."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..images import Preprocess
from ..layers.initialization import SCHEMES
from ..layers.mlp import ACTIVATIONS
from ..layers.patch_embed import Size, grid_of, to_pair
from ..layers.position import RESIZE_METHODS


def _option(default: Any, sentence: str) -> Any:
    return field(default=default, metadata={"help": sentence})


@dataclass(frozen=True)
class ViTConfig:
    """The architecture of a Vision Transformer; the defaults are ViT-B/16's at 224 (ViT paper, Table 1).

    Frozen: `replace` makes a changed copy. Raises ValueError when a value cannot work, alone or beside the others, and
    TypeError, with the nearest names, for an option that does not exist (in `replace` and `from_dict`).
    """

    img_size: Size = _option(224, "Image size, an int or (height, width).")
    patch_size: Size = _option(16, "Patch size, an int or (height, width).")
    in_chans: int = _option(3, "Channels of an image.")
    num_classes: int = _option(1000, "Classes of the head; 0 for no head: the model gives pooled features [B, D].")
    embed_dim: int = _option(768, "Width D of the tokens.")
    depth: int = _option(12, "Number of encoder blocks.")
    num_heads: int = _option(12, "Attention heads; they divide embed_dim.")
    mlp_ratio: float = _option(4.0, "Hidden width of the MLP divided by embed_dim.")
    activation: str = _option("gelu", 'Of the MLP: "gelu" (exact), "gelu_tanh", "quick_gelu", "relu", "silu".')
    norm_eps: float = _option(1e-6, "Epsilon of every LayerNorm.")
    qkv_bias: bool = _option(True, "Whether the projection to q, k and v has a bias.")
    qk_norm: bool = _option(False, "Whether q and k are normalised in each head (ViT-22B).")
    patch_bias: bool = _option(True, "Whether the patch projection has a bias (CLIP's has none).")
    class_token: bool = _option(True, "Whether a class token stands before the patches.")
    distillation_token: bool = _option(False, "Whether DeiT's distillation token and second head are there.")
    reg_tokens: int = _option(0, "Number of register tokens (arXiv 2309.16588), between class token and patches.")
    pos_embed: str = _option("learned", 'Positions: "learned", "sincos2d" (fixed), or "none".')
    no_embed_class: bool = _option(
        False, "Whether positions are for patches alone, without rows for the prefix tokens."
    )
    position_resize: str = _option("timm", "How a position table is resampled; see vitlib.layers.position.")
    pre_norm: bool = _option(False, "Whether a LayerNorm stands before the blocks (CLIP).")
    global_pool: str = _option(
        "token", 'What the head sees: "token" (class token), "avg" (mean of patches), "none" (all).'
    )
    fc_norm: bool | None = _option(None, "Whether the norm comes after pooling instead of before; None: with avg.")
    pre_logits: int | None = _option(
        None, "Width of a tanh layer before the head (ViT paper, pre-training); None: no layer."
    )
    init_values: float | None = _option(None, "Start value of LayerScale; None: no LayerScale.")
    drop_rate: float = _option(0.0, "Dropout before the head.")
    pos_drop_rate: float = _option(0.0, "Dropout after the positions are added.")
    patch_drop_rate: float = _option(0.0, "Share of patches left out in training (arXiv 2212.00794).")
    proj_drop_rate: float = _option(0.0, "Dropout after the attention projection and in the MLP.")
    attn_drop_rate: float = _option(0.0, "Dropout on the attention weights.")
    drop_path_rate: float = _option(0.0, "Stochastic depth of the last block.")
    drop_path_schedule: str = _option(
        "linear", 'Over the blocks: "linear" from 0 to the rate, or "constant" (DeiT III).'
    )
    weight_init: str = _option("timm", 'Initialisation: "timm", "deit", "jax" or "big_vision".')
    fused_attn: bool = _option(True, "Whether attention uses Paddle's fused function; the numbers are the same.")
    dynamic_img_size: bool = _option(False, "Whether images of any size are accepted, positions resampled on the fly.")
    dynamic_img_pad: bool = _option(False, "Whether images are padded to a multiple of the patch.")
    preprocess: Preprocess = _option(Preprocess(), "What a photo goes through; its size None means img_size.")

    def __new__(cls, *args: Any, **options: Any) -> ViTConfig:
        _known(options)  # dataclasses would name no nearest option
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if isinstance(value, np.generic):  # a number that came out of NumPy
                object.__setattr__(self, option.name, value.item())
            _check_type(option, getattr(self, option.name))
        for name in ("img_size", "patch_size"):
            pair = to_pair(getattr(self, name), name)
            if isinstance(getattr(self, name), (tuple, list)):
                object.__setattr__(self, name, pair)
        grid_of(to_pair(self.img_size), to_pair(self.patch_size), self.dynamic_img_pad)
        for name in ("in_chans", "embed_dim", "depth", "num_heads"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("num_classes", "reg_tokens"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"num_heads={self.num_heads} does not divide embed_dim={self.embed_dim}; choose a divisor of the width"
            )
        _require(self.pre_logits is None or self.pre_logits >= 1, "pre_logits", self.pre_logits, "at least 1, or None")
        hidden = self.mlp_ratio * self.embed_dim
        _require(hidden >= 1, "mlp_ratio", self.mlp_ratio, "a hidden width of at least 1")
        _require(0 < self.norm_eps <= 1e-3, "norm_eps", self.norm_eps, "above 0 and at most 1e-3, Paddle's own limit")
        for name in _RATES:
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "a probability in [0, 1)")
        for name, known in _CHOICES.items():
            _require(getattr(self, name) in known, name, getattr(self, name), "one of " + ", ".join(map(repr, known)))
        if self.global_pool == "token" and not self.class_token:
            raise ValueError('global_pool="token" needs class_token=True; use global_pool="avg" without a class token')
        if self.distillation_token and self.global_pool != "token":
            raise ValueError(
                f"distillation_token=True needs global_pool='token', found {self.global_pool!r}: "
                "each head reads its own token"
            )
        if self.pos_embed == "sincos2d":
            _require(
                self.embed_dim % 4 == 0 and self.embed_dim >= 8,
                "embed_dim",
                self.embed_dim,
                "a multiple of 4 for sincos2d",
            )

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patches: class, distillation and registers, in this order."""
        return self.class_token + self.distillation_token + self.reg_tokens

    @property
    def grid_size(self) -> tuple[int, int]:
        """The patch grid (rows, columns) at img_size."""
        return grid_of(to_pair(self.img_size), to_pair(self.patch_size), self.dynamic_img_pad)

    def replace(self, **changes: Any) -> ViTConfig:
        """A copy with these options changed. Raises as the class does."""
        return type(self)(**{**self._values(), **_known(changes)})

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON values."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in self._values().items()}
        return {**values, "preprocess": self.preprocess.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ViTConfig:
        """The inverse of `to_dict`; options that are left out take their defaults. Raises as the class does."""
        if not isinstance(values, dict):
            raise TypeError(f"expected a dict as to_dict gives it, found {type(values).__name__}")
        values = dict(_known(values))
        if isinstance(values.get("preprocess"), dict):
            values["preprocess"] = Preprocess.from_dict(values["preprocess"])
        return cls(**values)

    def _values(self) -> dict[str, Any]:
        return {option.name: getattr(self, option.name) for option in dataclasses.fields(self)}


_RATES = (
    "drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
)
_CHOICES: dict[str, tuple[str, ...]] = {
    "activation": tuple(ACTIVATIONS),
    "pos_embed": ("learned", "sincos2d", "none"),
    "position_resize": tuple(RESIZE_METHODS),
    "global_pool": ("token", "avg", "none"),
    "drop_path_schedule": ("linear", "constant"),
    "weight_init": tuple(SCHEMES),
}


def _require(good: bool, name: str, found: Any, expected: str) -> None:
    if not good:
        raise ValueError(f"{name}={found!r}: expected {expected}")


def _check_type(option: dataclasses.Field, value: Any) -> None:
    """Each option's annotation is a short union; a NaN, or a string where a number belongs, is refused by name."""
    kinds = {part.strip() for part in str(option.type).split("|")}
    if value is None:
        good = "None" in kinds
    elif isinstance(value, bool):
        good = "bool" in kinds
    elif isinstance(value, int):
        good = bool(kinds & {"int", "float", "Size"})
    elif isinstance(value, float):
        good = "float" in kinds and math.isfinite(value)
    elif isinstance(value, (tuple, list)):
        good = "Size" in kinds
    else:
        good = type(value).__name__ in kinds
    if not good:
        expected = str(option.type).replace("Size", "int | (height, width)").replace("float", "finite number")
        raise ValueError(f"{option.name}={value!r}: expected {expected}. {option.metadata['help']}")


def _known(changes: dict[str, Any]) -> dict[str, Any]:
    """The changes, if each is an option of `ViTConfig`; else TypeError with the nearest names."""
    names = [option.name for option in dataclasses.fields(ViTConfig)]
    for name in changes:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
            raise TypeError(f"unknown option {name!r}; {hint}")
    return changes
