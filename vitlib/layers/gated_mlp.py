"""The gated MLP SwiGLU (arXiv 2002.05202), of DINOv2's giant and DINOv3's "plus" models."""

from __future__ import annotations

import paddle

from .mlp import MLP


class GatedMLP(MLP):
    """fc2(activation(x·W_gate) · x·W_value): [B, N, D] -> [B, N, D].

    fc1 holds both products, the gate first: [D, 2·hidden_dim], as timm's `SwiGLUPacked` and DINOv2's `w12`. The
    activation is SiLU in SwiGLU. Arguments and errors as of `MLP`.
    """

    fc1_products = 2

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x: [B, N, D] -> [B, N, D]"""
        gate, value = self.fc1(x).chunk(2, axis=-1)  # each [B, N, hidden_dim]
        return self.drop2(self.fc2(self.drop1(self.activation(gate) * value)))
