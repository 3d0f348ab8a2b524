"""Shifted patch tokenisation and locality self-attention for small data sets (arXiv 2112.13492), as subclasses."""

import paddle
import paddle.nn.functional as F
from paddle import nn

import vitlib


class ShiftedPatches(vitlib.PatchEmbed):
    """Patches of the image and of its four diagonal shifts by half a patch, normalised, then projected (§3.1)."""

    def __init__(self, img_size, patch_size, in_chans, embed_dim, **options):
        super().__init__(img_size, patch_size, 5 * in_chans, embed_dim, **options)
        self.in_chans = in_chans
        self.norm = nn.LayerNorm(5 * in_chans * self.patch_size[0] * self.patch_size[1])

    def forward(self, x):
        """[B, C, H, W] -> [B, N, D]"""
        self.check(x)
        x = self.pad(x) if self.dynamic_img_pad else x
        rows, columns = (side // 2 for side in self.patch_size)
        height, width = x.shape[2:]
        padded = F.pad(x, [columns, columns, rows, rows])
        shifted = [
            padded[:, :, top : top + height, left : left + width] for top in (0, 2 * rows) for left in (0, 2 * columns)
        ]
        patches = F.unfold(paddle.concat([x, *shifted], axis=1), self.patch_size, self.patch_size)  # [B, 5CPP, N]
        weight = self.proj.weight.flatten(1)  # [D, 5CPP]
        return F.linear(self.norm(patches.transpose([0, 2, 1])), weight.t(), self.proj.bias)


class LocalityAttention(vitlib.MultiHeadAttention):
    """No token attends to itself, and the temperature, √d at first, is learned (§3.2)."""

    def __init__(self, embed_dim, num_heads, **options):
        super().__init__(embed_dim, num_heads, **options)
        initial = nn.initializer.Constant(self.head_dim**0.5)
        self.temperature = self.create_parameter([1], default_initializer=initial)

    def attend(self, q, k, v, mask=None):
        """q, k, v [B, N, H, d] -> [B, N, H, d]; mask: added to the logits"""
        others = paddle.eye(q.shape[1], dtype=q.dtype) * -1e9
        q = q * (self.head_dim**0.5 / self.temperature)
        return super().attend(q, k, v, others if mask is None else others + mask)


class LocalityBlock(vitlib.EncoderBlock):
    attention_class = LocalityAttention


class SmallDataViT(vitlib.VisionTransformer):
    patch_embed_class = ShiftedPatches
    block_class = LocalityBlock


def small_data_vit(num_classes=10, **options):
    """For train_deit.py: --model research/small_datasets.py:small_data_vit --set patch_size=8 embed_dim=192 ..."""
    return SmallDataViT(num_classes=num_classes, **options)
