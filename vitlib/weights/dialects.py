"""Whose names are these? One table per codebase, readable beside its own state dict, used for loading and for saving.

A row pairs vitlib's (and timm's) name with theirs. `{i}` stands for the block; a name that ends in `*` is a module
with a weight and a bias. Several names on their side are concatenated, as q, k and v are into qkv.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..images import IMAGENET_MEAN, IMAGENET_STD, Preprocess

Rows = tuple[tuple[str, "str | tuple[str, ...]"], ...]


@dataclass(frozen=True)
class Dialect:
    """How a codebase names, lays out and computes a Vision Transformer.

    name: what `dialect=` takes; several generations of one codebase share it.
    signature: a name that only this dialect has.
    rows: vitlib's name and theirs; empty when the names are vitlib's own.
    layout: of linear weights: "torch" [out, in], "paddle" [in, out], or "jax" (kernels [in, out], of attention by head
        [D, heads, d]; convolutions HWIO).
    prefixes: what may stand before every name.
    numerics: options of `ViTConfig` in which it differs from timm, or, for known codebases, fixes the value.
    preprocess: its evaluation transform, where the codebase has one.
    """

    name: str
    signature: str
    rows: Rows = ()
    layout: str = "torch"
    prefixes: tuple[str, ...] = ()
    numerics: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Preprocess | None = None

    def pairs(self, depth: int) -> list[tuple[str, tuple[str, ...]]]:
        """(vitlib's parameter name, their names) for a model of so many blocks; nothing when the names are the same."""
        pairs = []
        for ours, theirs in self.rows:
            theirs = (theirs,) if isinstance(theirs, str) else theirs
            for i in range(depth) if "{i}" in ours else (0,):
                for kind in ("weight", "bias") if ours.endswith("*") else ("",):
                    spelled = self._kinds(ours, kind)
                    names = tuple(name.replace("{i}", str(i)).replace("*", spelled) for name in theirs)
                    pairs.append((ours.replace("{i}", str(i)).replace("*", kind), names))
        return pairs

    def _kinds(self, ours: str, kind: str) -> str:
        if self.layout == "jax" and kind == "weight":
            return "scale" if "norm" in ours else "kernel"
        return kind


_HUGGINGFACE_HEADS: Rows = (
    ("head.*", "classifier.*"),
    ("head.*", "cls_classifier.*"),
    ("head_dist.*", "distillation_classifier.*"),
    ("pre_logits.fc.*", "pooler.dense.*"),
)
_HUGGINGFACE_EMBEDDINGS: Rows = (
    ("cls_token", "embeddings.cls_token"),
    ("dist_token", "embeddings.distillation_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.*", "embeddings.patch_embeddings.projection.*"),
    ("norm.*", "layernorm.*"),
)
_HUGGINGFACE_PREPROCESS = Preprocess(resize="squash", crop_fraction=1.0, interpolation="bilinear")

HUGGINGFACE = Dialect(
    "huggingface",
    "encoder.layer.0.attention.attention.query.weight",
    (
        *_HUGGINGFACE_EMBEDDINGS,
        ("blocks.{i}.norm1.*", "encoder.layer.{i}.layernorm_before.*"),
        (
            "blocks.{i}.attn.qkv.*",
            (
                "encoder.layer.{i}.attention.attention.query.*",
                "encoder.layer.{i}.attention.attention.key.*",
                "encoder.layer.{i}.attention.attention.value.*",
            ),
        ),
        ("blocks.{i}.attn.proj.*", "encoder.layer.{i}.attention.output.dense.*"),
        ("blocks.{i}.norm2.*", "encoder.layer.{i}.layernorm_after.*"),
        ("blocks.{i}.mlp.fc1.*", "encoder.layer.{i}.intermediate.dense.*"),
        ("blocks.{i}.mlp.fc2.*", "encoder.layer.{i}.output.dense.*"),
        *_HUGGINGFACE_HEADS,
    ),
    prefixes=("vit.", "deit."),
    numerics={"norm_eps": 1e-12, "activation": "gelu", "position_resize": "deit"},
    preprocess=_HUGGINGFACE_PREPROCESS,
)
HUGGINGFACE_V5 = Dialect(
    "huggingface",
    "layers.0.attention.q_proj.weight",
    (
        *_HUGGINGFACE_EMBEDDINGS,
        ("blocks.{i}.norm1.*", "layers.{i}.layernorm_before.*"),
        (
            "blocks.{i}.attn.qkv.*",
            ("layers.{i}.attention.q_proj.*", "layers.{i}.attention.k_proj.*", "layers.{i}.attention.v_proj.*"),
        ),
        ("blocks.{i}.attn.proj.*", "layers.{i}.attention.o_proj.*"),
        ("blocks.{i}.norm2.*", "layers.{i}.layernorm_after.*"),
        ("blocks.{i}.mlp.fc1.*", "layers.{i}.mlp.fc1.*"),
        ("blocks.{i}.mlp.fc2.*", "layers.{i}.mlp.fc2.*"),
        *_HUGGINGFACE_HEADS,
    ),
    prefixes=HUGGINGFACE.prefixes,
    numerics=HUGGINGFACE.numerics,
    preprocess=_HUGGINGFACE_PREPROCESS,
)


def _torchvision(fc1: str, fc2: str) -> Dialect:
    return Dialect(
        "torchvision",
        f"encoder.layers.encoder_layer_0.mlp.{fc1}.weight",
        (
            ("cls_token", "class_token"),
            ("pos_embed", "encoder.pos_embedding"),
            ("patch_embed.proj.*", "conv_proj.*"),
            ("blocks.{i}.norm1.*", "encoder.layers.encoder_layer_{i}.ln_1.*"),
            ("blocks.{i}.attn.qkv.*", "encoder.layers.encoder_layer_{i}.self_attention.in_proj_*"),
            ("blocks.{i}.attn.proj.*", "encoder.layers.encoder_layer_{i}.self_attention.out_proj.*"),
            ("blocks.{i}.norm2.*", "encoder.layers.encoder_layer_{i}.ln_2.*"),
            ("blocks.{i}.mlp.fc1.*", f"encoder.layers.encoder_layer_{{i}}.mlp.{fc1}.*"),
            ("blocks.{i}.mlp.fc2.*", f"encoder.layers.encoder_layer_{{i}}.mlp.{fc2}.*"),
            ("norm.*", "encoder.ln.*"),
            ("pre_logits.fc.*", "heads.pre_logits.*"),
            ("head.*", "heads.head.*"),
        ),
        numerics={"norm_eps": 1e-6, "activation": "gelu", "position_resize": "torchvision"},
        preprocess=Preprocess(crop_fraction=224 / 256, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    )


TORCHVISION = _torchvision("0", "3")
TORCHVISION_OLD = _torchvision("linear_1", "linear_2")  # before 0.13's release


def _google(
    name: str, attention: str, norm2: str, mlp: str, positions: str, prefixes: tuple[str, ...], preprocess: Preprocess
) -> Dialect:
    block = "Transformer/encoderblock_{i}"
    return Dialect(
        name,
        f"Transformer/encoderblock_0/{attention}/query/kernel",
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
            ("pre_logits.fc.*", "pre_logits/*"),
            ("head.*", "head/*"),
        ),
        layout="jax",
        prefixes=prefixes,
        numerics={"norm_eps": 1e-6, "activation": "gelu_tanh", "position_resize": "google"},
        preprocess=preprocess,
    )


GOOGLE = _google(
    "google",
    "MultiHeadDotProductAttention_1",
    "LayerNorm_2",
    "MlpBlock_3",
    "Transformer/posembed_input/pos_embedding",
    ("opt/target/",),
    Preprocess(resize="squash", crop_fraction=1.0, interpolation="bilinear"),
)
BIG_VISION = _google(
    "big_vision",
    "MultiHeadDotProductAttention_0",
    "LayerNorm_1",
    "MlpBlock_0",
    "pos_embedding",
    ("params/img/", "params/", "opt/target/", "img/"),
    Preprocess(crop_fraction=224 / 256, interpolation="bilinear"),
)

FACEBOOK = Dialect(
    "facebook",  # DeiT III; the first DeiT's names are timm's
    "blocks.0.gamma_1",
    (("blocks.{i}.ls1.gamma", "blocks.{i}.gamma_1"), ("blocks.{i}.ls2.gamma", "blocks.{i}.gamma_2")),
    numerics={"norm_eps": 1e-6, "activation": "gelu", "position_resize": "deit"},
    preprocess=Preprocess(crop_fraction=224 / 256, mean=IMAGENET_MEAN, std=IMAGENET_STD),
)
TIMM = Dialect("timm", "blocks.0.attn.qkv.weight")
# PaddleClas and ppim, and what paddle.save makes of any vitlib model: timm's names, Paddle's layout.
PADDLECLAS = Dialect("paddleclas", "blocks.0.attn.qkv.weight", layout="paddle")

# In the order of looking: names of the later ones may also be in files of the earlier ones.
DIALECTS: tuple[Dialect, ...] = (
    HUGGINGFACE,
    HUGGINGFACE_V5,
    TORCHVISION,
    TORCHVISION_OLD,
    GOOGLE,
    BIG_VISION,
    FACEBOOK,
    PADDLECLAS,
    TIMM,
)
NAMES: tuple[str, ...] = tuple(dict.fromkeys(dialect.name for dialect in DIALECTS))


def recognise(names: Iterable[str], format: str, wanted: str = "auto") -> Dialect | None:
    """The dialect of a file with these tensor names, or None; `wanted` narrows the choice to one dialect's name.

    format: of the file; timm's names in a .pdparams are PaddleClas's.
    """
    names = set(names)
    for dialect in DIALECTS:
        if wanted not in ("auto", dialect.name):
            continue
        if dialect is PADDLECLAS and wanted == "auto" and format != "pdparams":
            continue
        if any(prefix + dialect.signature in names for prefix in ("", *dialect.prefixes)):
            return dialect
        # the first DeiT of facebook's has timm's names, and whoever asks for "facebook" gets them read so
        if dialect is FACEBOOK and wanted == "facebook" and TIMM.signature in names:
            return dialect
    return None
