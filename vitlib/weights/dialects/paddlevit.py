"""PaddleViT's three generations of names, and PASSL; both in Paddle's layout of linear weights."""

from __future__ import annotations

from .dialect import Dialect, Rows

_NUMERICS = {"norm_eps": 1e-6, "activation": "gelu", "position_resize": "timm"}


def _encoder(norm1: str, norm2: str) -> Rows:
    block = "encoder.layers.{i}"
    return (
        ("patch_embed.proj.*", "patch_embedding.patch_embedding.*"),
        ("blocks.{i}.norm1.*", f"{block}.{norm1}.*"),
        ("blocks.{i}.attn.qkv.*", f"{block}.attn.qkv.*"),
        ("blocks.{i}.attn.proj.*", f"{block}.attn.out.*"),
        ("blocks.{i}.norm2.*", f"{block}.{norm2}.*"),
        ("blocks.{i}.mlp.fc1.*", f"{block}.mlp.fc1.*"),
        ("blocks.{i}.mlp.fc2.*", f"{block}.mlp.fc2.*"),
        ("norm.*", "encoder.encoder_norm.*"),
        ("head.*", "classifier.*"),
        ("head_dist.*", "classifier_dist.*"),
    )


def _paddlevit(signature: tuple[str, ...], rows: Rows) -> Dialect:
    return Dialect("paddlevit", signature, rows, layout="paddle", numerics=_NUMERICS)


PADDLEVIT = _paddlevit(
    ("position_embedding", "encoder.layers.0.attn.qkv.weight"),
    (
        ("cls_token", "cls_token"),
        ("dist_token", "dist_token"),
        ("pos_embed", "position_embedding"),
        *_encoder("attn_norm", "mlp_norm"),
    ),
)
# Its first files of ViT
PADDLEVIT_FIRST = _paddlevit(
    ("patch_embedding.position_embeddings", "encoder.layers.0.attn.qkv.weight"),
    (
        ("cls_token", "patch_embedding.cls_token"),
        ("pos_embed", "patch_embedding.position_embeddings"),
        *_encoder("attn_norm", "mlp_norm"),
    ),
)
# Its first files of DeiT
PADDLEVIT_DEIT = _paddlevit(
    ("class_token", "pos_embed", "layers.0.attn.qkv.weight"),
    (
        ("cls_token", "class_token"),
        ("dist_token", "distill_token"),
        ("pos_embed", "pos_embed"),
        ("patch_embed.proj.*", "patch_embed.proj.*"),
        ("patch_embed.proj.*", "patch_embed.patch_embed.*"),
        ("blocks.{i}.norm1.*", "layers.{i}.norm1.*"),
        ("blocks.{i}.attn.qkv.*", "layers.{i}.attn.qkv.*"),
        ("blocks.{i}.attn.proj.*", "layers.{i}.attn.proj.*"),
        ("blocks.{i}.norm2.*", "layers.{i}.norm2.*"),
        ("blocks.{i}.mlp.fc1.*", "layers.{i}.mlp.fc1.*"),
        ("blocks.{i}.mlp.fc2.*", "layers.{i}.mlp.fc2.*"),
        ("norm.*", "norm.*"),
        ("head.*", "head.*"),
        ("head_dist.*", "head_distill.*"),
    ),
)

PASSL = Dialect(
    "passl",
    ("blocks.0.attn.qkv.weight", "head0.weight"),
    (("pre_logits.fc.*", "head0.*"),),
    timm_names=True,
    layout="paddle",
    numerics=_NUMERICS,
)
