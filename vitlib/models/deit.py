"""DeiT (arXiv 2012.12877): a Vision Transformer with a distillation token, and a second head that a teacher trains."""

from __future__ import annotations

from typing import Any, NamedTuple

import paddle

from .config import ViTConfig
from .vision_transformer import VisionTransformer


class DeiTLogits(NamedTuple):
    """What the two heads say, each [B, num_classes]."""

    logits: paddle.Tensor
    distillation_logits: paddle.Tensor


class DeiT(VisionTransformer):
    """`VisionTransformer` with a distillation token after the class token and a head on it (DeiT paper, §4, figure 2).

    In training a call gives `DeiTLogits`, for the two halves of the loss; in evaluation the mean of the two heads
    (DeiT paper, §4, "joint classifiers"; the mean of logits, as in the original code).
    """

    def __init__(self, config: ViTConfig | None = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self.head_dist = self._make_head()

    def _own_config(self, config: ViTConfig) -> ViTConfig:
        return config.replace(distillation_token=True)

    def forward_head(self, tokens: paddle.Tensor, return_heads: bool = False) -> paddle.Tensor | DeiTLogits:
        """Tokens after the final norm [B, P + N, D] -> `DeiTLogits` in training or on request, else their mean."""
        logits = self.head(self._head_features(tokens[:, 0]))
        distillation_logits = self.head_dist(self._head_features(tokens[:, 1]))
        if self.training or return_heads:
            return DeiTLogits(logits, distillation_logits)
        return (logits + distillation_logits) / 2

    def forward(
        self, x: paddle.Tensor, mask: paddle.Tensor | None = None, return_heads: bool = False
    ) -> paddle.Tensor | DeiTLogits:
        """Images [B, C, H, W] -> as `forward_head`; mask as in `forward_features`."""
        return self.forward_head(self.forward_features(x, mask), return_heads)

    def reset_head(self, num_classes: int) -> None:
        super().reset_head(num_classes)
        self.head_dist = self._make_head()


def build_model(config: ViTConfig, model_class: type[VisionTransformer] | None = None) -> VisionTransformer:
    """A model with initial values: of `model_class`, else a `DeiT` where the config has a distillation token, else a
    `VisionTransformer`."""
    return (model_class or (DeiT if config.distillation_token else VisionTransformer))(config)
