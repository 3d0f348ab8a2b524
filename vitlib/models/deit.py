"""DeiT (arXiv 2012.12877): a Vision Transformer with a distillation token, and a second head that a teacher trains."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import paddle

from .config import ViTConfig, merged_config
from .editing import set_mode
from .paddle_model import check_loss_takes_pair, one_input
from .vision_transformer import VisionTransformer

_TWO_WAYS = (
    "In training, a DeiT gives the pair (logits, distillation_logits), one of each head. Train it with "
    "vitlib.DistillationLoss (loss(outputs, labels, teacher_logits); for paddle.Model, loss.for_model_fit), or take a "
    "plain preset, such as deit_tiny_patch16_224, for a loss on one output. After model.eval() a call gives the mean "
    "of both heads"
)


class DeiTLogits(NamedTuple):
    """Logits of the two heads of a DeiT, each [B, num_classes]."""

    logits: paddle.Tensor
    distillation_logits: paddle.Tensor

    def __getattr__(self, name: str) -> Any:
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(text if name.startswith("_") else f"{text}. {_TWO_WAYS}")

    def __iter__(self) -> Iterator[paddle.Tensor]:
        check_loss_takes_pair(sys._getframe(1), _TWO_WAYS)
        return tuple.__iter__(self)


class DeiT(VisionTransformer):
    """`VisionTransformer` with a distillation token after the class token and a head on it (DeiT paper, §4, figure 2).

    A call returns `DeiTLogits` in training, for the two parts of the loss, and the mean of the two heads in evaluation
    (DeiT paper, §4, "joint classifiers"; the mean of logits, as in the original code).
    """

    def __init__(self, config: ViTConfig | None = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self.head_dist = self.make_head()

    @classmethod
    def make_config(cls, config: ViTConfig | None = None, **overrides: Any) -> ViTConfig:
        """As `VisionTransformer.make_config`, with distillation_token=True."""
        return merged_config(cls.config_class, config, overrides).replace(distillation_token=True)

    def pool(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """Tokens [B, P + N, D] -> what the two heads see [B, 2, D], the class token and the distillation token."""
        return tokens[:, :2]

    def forward_head(
        self, tokens: paddle.Tensor, return_heads: bool = False, pre_logits: bool = False
    ) -> paddle.Tensor | DeiTLogits:
        """Tokens after the final norm [B, P + N, D] -> `DeiTLogits` in training or on request, else their mean.

        pre_logits: return the mean of the inputs of the two heads instead, [B, num_features] (as timm).
        """
        both = self._head_features(self.pool(tokens))
        features, distillation_features = both[:, 0], both[:, 1]
        if pre_logits:
            return (features + distillation_features) / 2
        logits, distillation_logits = self.head(features), self.head_dist(distillation_features)
        if self.training or return_heads:
            if not return_heads and not paddle.in_dynamic_mode():
                self._warn_of_pair()
            return DeiTLogits(logits, distillation_logits)
        self._check_same_classes(logits, distillation_logits)
        return (logits + distillation_logits) / 2

    @one_input
    def forward(
        self, x: paddle.Tensor, mask: paddle.Tensor | None = None, return_heads: bool = False
    ) -> paddle.Tensor | DeiTLogits:
        """Images [B, C, H, W] -> as `forward_head`; mask as in `forward_features`."""
        return self.forward_head(self.forward_features(x, mask), return_heads=return_heads)

    @paddle.jit.not_to_static
    def _check_same_classes(self, logits: paddle.Tensor, distillation_logits: paddle.Tensor) -> None:
        if logits.shape != distillation_logits.shape:  # one class against several would broadcast
            count, other = logits.shape[-1], distillation_logits.shape[-1]
            raise ValueError(
                f"the width of model.head is {count} and that of model.head_dist {other}, so there is no mean of both: "
                f"call model.reset_head({count}), which makes both, or replace model.head_dist, too"
            )

    @paddle.jit.not_to_static
    def _warn_of_pair(self) -> None:
        warnings.warn(
            "this DeiT is traced in training mode, so the graph gives the logits of both heads, "
            "(logits, distillation_logits). Call model.eval() before paddle.jit.save to have their mean",
            UserWarning,
            stacklevel=2,
        )

    def reset_head(self, num_classes: int) -> None:
        super().reset_head(num_classes)
        self.head_dist = self.make_head()
        set_mode(self.head_dist, self.training)


def build_model(config: ViTConfig, model_class: type[VisionTransformer] | None = None) -> VisionTransformer:
    """A model with initial values: of `model_class`, else a `DeiT` where the config has a distillation token, else a
    `VisionTransformer`."""
    return (model_class or (DeiT if config.distillation_token else VisionTransformer))(config)
