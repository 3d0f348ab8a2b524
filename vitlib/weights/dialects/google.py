"""Google's vit_jax (ViT, AugReg, SAM), whose .npz files and big_vision's differ in the names of a few modules."""

from __future__ import annotations

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
