"""Google's vit_jax (ViT, AugReg, SAM), whose .npz files and big_vision's differ in the names of a few modules."""

from __future__ import annotations

from dataclasses import replace

from ...images import Preprocess
from .dialect import Dialect, Rows


def flax_dialect(
    name: str,
    attention: str,
    norm2: str,
    mlp: str,
    positions: str,
    prefixes: tuple[str, ...],
    preprocess: Preprocess,
    rowless: bool = False,
    pooling: Rows = (),
    foreign: tuple[str, ...] = (),
) -> Dialect:
    """Names of flax modules, which vit_jax and big_vision share but for a few."""
    block = "Transformer/encoderblock_{i}"
    return Dialect(
        name,
        (f"Transformer/encoderblock_0/{attention}/query/kernel",),
        (
            ("cls_token", "cls"),
            ("pos_embed", positions),
            ("patch_embed.proj.*", "embedding/*"),
            ("blocks.{i}.norm1.*", f"{block}/LayerNorm_0/*"),
            (
                "blocks.{i}.attn.qkv.*",
                (f"{block}/{attention}/query/*", f"{block}/{attention}/key/*", f"{block}/{attention}/value/*"),
            ),
            ("blocks.{i}.attn.proj.*", f"{block}/{attention}/out/*"),
            ("blocks.{i}.norm2.*", f"{block}/{norm2}/*"),
            ("blocks.{i}.mlp.fc1.*", f"{block}/{mlp}/Dense_0/*"),
            ("blocks.{i}.mlp.fc2.*", f"{block}/{mlp}/Dense_1/*"),
            ("norm.*", "Transformer/encoder_norm/*"),
            *pooling,
            ("pre_logits.fc.*", "pre_logits/*"),
            ("head.*", "head/*"),
        ),
        layout="jax",
        prefixes=prefixes,
        stacked=("Transformer/encoderblock/", "Transformer/encoderblock_{i}/"),
        rowless=rowless,
        foreign=foreign,
        numerics={"norm_eps": 1e-6, "activation": "gelu_tanh", "position_resize": "google"},
        preprocess=lambda config, names: preprocess,
    )


GOOGLE = flax_dialect(
    "google",
    "MultiHeadDotProductAttention_1",
    "LayerNorm_2",
    "MlpBlock_3",
    "Transformer/posembed_input/pos_embedding",
    ("opt/target/",),
    Preprocess(resize="squash", crop_fraction=1.0, interpolation="bilinear"),
)

_RESNET: Rows = (
    ("patch_embed.backbone.stem.conv.weight", "conv_root/kernel"),
    ("patch_embed.backbone.stem.norm.*", "gn_root/*"),
)
for _stage in range(4):
    _ours, _theirs = f"patch_embed.backbone.stages.{_stage}.blocks.{{i}}", f"block{_stage + 1}/unit{{i+1}}"
    _RESNET += (
        (f"{_ours}.downsample.conv.weight", f"{_theirs}/conv_proj/kernel"),
        (f"{_ours}.downsample.norm.*", f"{_theirs}/gn_proj/*"),
        *((f"{_ours}.conv{n}.weight", f"{_theirs}/conv{n}/kernel") for n in (1, 2, 3)),
        *((f"{_ours}.norm{n}.*", f"{_theirs}/gn{n}/*") for n in (1, 2, 3)),
    )
# vit_jax `models_resnet.py`: a ResNet before the patches, or its root alone
GOOGLE_HYBRID = replace(
    GOOGLE,
    signature=(*GOOGLE.signature, "block1/unit1/conv1/kernel"),
    rows=(*GOOGLE.rows, *_RESNET),
    numerics={**GOOGLE.numerics, "stem_norms": "google"},
)
GOOGLE_ROOT = replace(
    GOOGLE_HYBRID,
    signature=(*GOOGLE.signature, "conv_root/kernel"),
    rows=(*GOOGLE.rows, *((ours.replace("backbone.stem.", "backbone."), theirs) for ours, theirs in _RESNET[:2])),
)
