"""Hugging Face transformers: ViT and DeiT, their config.json and preprocessor_config.json.

Two spellings: the one on disk, and the one that version 5 has in memory.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from ...images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from ...images.resize import exact_fraction, resize_target
from ...layers.encoder_block import hidden_width
from ...layers.patch_embed import to_pair
from ...models import ViTConfig
from .dialect import Dialect, Rows, SourceConfig, class_labels

_HEADS: Rows = (
    ("head.*", "classifier.*"),
    ("head.*", "cls_classifier.*"),
    ("head_dist.*", "distillation_classifier.*"),
    ("pre_logits.fc.*", "pooler.dense.*"),
)
_EMBEDDINGS: Rows = (
    ("cls_token", "embeddings.cls_token"),
    ("dist_token", "embeddings.distillation_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.*", "embeddings.patch_embeddings.projection.*"),
    ("norm.*", "layernorm.*"),
)


def _usual_preprocess(config: ViTConfig, names: Container[str]) -> Preprocess:
    """google/vit-* and facebook/deit-*, where no processor's file says it."""
    if "dist_token" in names or config.preprocess.mean == IMAGENET_MEAN:
        return Preprocess(resize="squash", crop_fraction=224 / 256, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return Preprocess(resize="squash", crop_fraction=1.0, interpolation="bilinear")


HUGGINGFACE = Dialect(
    "huggingface",
    ("encoder.layer.0.attention.attention.query.weight",),
    (
        *_EMBEDDINGS,
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
        *_HEADS,
    ),
    prefixes=("vit.", "deit."),
    numerics={"norm_eps": 1e-12, "activation": "gelu", "position_resize": "deit"},
    preprocess=_usual_preprocess,
)
HUGGINGFACE_V5 = Dialect(
    "huggingface",
    ("layers.0.attention.q_proj.weight",),
    (
        *_EMBEDDINGS,
        ("blocks.{i}.norm1.*", "layers.{i}.layernorm_before.*"),
        (
            "blocks.{i}.attn.qkv.*",
            ("layers.{i}.attention.q_proj.*", "layers.{i}.attention.k_proj.*", "layers.{i}.attention.v_proj.*"),
        ),
        ("blocks.{i}.attn.proj.*", "layers.{i}.attention.o_proj.*"),
        ("blocks.{i}.norm2.*", "layers.{i}.layernorm_after.*"),
        ("blocks.{i}.mlp.fc1.*", "layers.{i}.mlp.fc1.*"),
        ("blocks.{i}.mlp.fc2.*", "layers.{i}.mlp.fc2.*"),
        *_HEADS,
    ),
    prefixes=HUGGINGFACE.prefixes,
    numerics=HUGGINGFACE.numerics,
    preprocess=_usual_preprocess,
)

_ACTIVATIONS = {  # transformers' names -> vitlib's; of several, the first is written
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
}
# Pillow's codes
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def common_options(values: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """What the configs of transformers' Vision Transformers have in common, as options of `ViTConfig`; keys left out
    take transformers' defaults, those of ViT-B/16 where `defaults` has no others.

    Raises ValueError for an activation that there is none of here.
    """
    values = {**defaults, **values}
    activation = values.get("hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"hidden_act={activation!r} is not supported; there are {', '.join(_ACTIVATIONS)}")
    width = values.get("hidden_size", 768)
    size, patch = values.get("image_size", 224), values.get("patch_size", 16)
    return {
        "img_size": tuple(size) if isinstance(size, list) else size,
        "patch_size": tuple(patch) if isinstance(patch, list) else patch,
        "in_chans": values.get("num_channels", 3),
        "embed_dim": width,
        "depth": values.get("num_hidden_layers", 12),
        "num_heads": values.get("num_attention_heads", 12),
        "mlp_ratio": values.get("intermediate_size", 3072) / width,
        "activation": _ACTIVATIONS[activation],
        "norm_eps": values.get("layer_norm_eps", 1e-12),
        "qkv_bias": values.get("qkv_bias", True),
        "position_resize": "deit",
        "global_pool": "token",
    }


def architecture(values: Mapping[str, Any]) -> str:
    """The class that was saved."""
    return (values.get("architectures") or [""])[0]


def headless_options(values: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """`common_options` of a family whose classifiers read something else than the models here do.

    Raises ValueError for such a classifier.
    """
    if architecture(values).endswith("ForImageClassification"):
        raise ValueError(f"{architecture(values)}: its classifier reads the patches beside the class token")
    return {**common_options(values, **defaults), "num_classes": 0}


def _vit_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' `ViTConfig` and `DeiTConfig`."""
    headless = architecture(values).endswith("Model")
    if headless and values.get("pooler_act", "tanh") != "tanh":
        raise ValueError(f"pooler_act={values['pooler_act']!r} is not supported; tanh is")
    options = common_options(values)
    return {**options, "num_classes": 0} if headless else options


HUGGINGFACE = replace(HUGGINGFACE, model_types=("vit", "deit"), config_options=_vit_options)
# The encoder of transformers' ViTMAE has the names of its ViT
HUGGINGFACE_MAE = replace(HUGGINGFACE, model_types=("vit_mae",), config_options=headless_options)


def read_config(values: Mapping[str, Any], processor: Mapping[str, Any] | None, dialect: Dialect) -> SourceConfig:
    """config.json of a model with a dialect's names, and the image processor's; keys left out take transformers'
    defaults.

    Raises ValueError for options that have no counterpart here.
    """
    labels = values.get("id2label")
    if labels is not None:
        labels = class_labels([labels[key] for key in sorted(labels, key=int)])
        labels = None if labels is not None and all(name.startswith("LABEL_") for name in labels) else labels
    options = dialect.config_options(values)
    labels = None if options.get("num_classes") == 0 else labels
    images = SourceConfig() if processor is None else read_processor(processor)
    return SourceConfig("huggingface", options, images.preprocess, labels, assumed=images.assumed)


def read_processor(values: Mapping[str, Any]) -> SourceConfig:
    """preprocessor_config.json, which tells the preprocessing alone: of `ViTImageProcessor`, `DeiTImageProcessor`,
    `CLIPImageProcessor` and their like, and their older names.

    `(x * rescale_factor - mean) / std` of 8-bit values is `Preprocess`'s `(x / 255 - mean) / std` with other numbers.
    Raises ValueError for a size by the longest edge.
    """
    size, crop = _size(values.get("size", 224)), None
    if values.get("do_center_crop"):
        crop = _size(values.get("crop_size", size))
    target = crop or size
    fraction = exact_fraction(target[0], max(size[0], target[0]))
    kind = values.get("image_processor_type") or values.get("feature_extractor_type") or ""
    by_short_side = kind.startswith(("CLIP", "Bit"))  # what a size that is one number means to them
    short = "shortest_edge" in values["size"] if isinstance(values.get("size"), dict) else by_short_side
    normalise = values.get("do_normalize", True)
    factor = 255 * values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 255.0
    factor = 1.0 if abs(factor - 1) < 1e-9 else factor
    mean = values.get("image_mean", (0.5,) * 3) if normalise else (0.0,) * 3
    std = values.get("image_std", (0.5,) * 3) if normalise else (1.0,) * 3
    assumed, resized = (), resize_target(target, fraction)
    if not values.get("do_resize", True):
        assumed = (f"preprocessing: images are resized to {target[0]} x {target[1]}, where do_resize is false",)
    elif resized != size:
        said = f"{size[0]} x {size[1]} before a crop of {target[0]} x {target[1]}"
        assumed = (f"preprocessing: images are resized to {resized[0]} x {resized[1]}, where the file says {said}",)
    record = Preprocess(
        size=target,
        resize="short" if short else "squash",
        crop_fraction=fraction,
        interpolation=_INTERPOLATIONS[values.get("resample", 2)],
        mean=tuple(value / factor for value in mean),
        std=tuple(value / factor for value in std),
    )
    return SourceConfig(preprocess=record, assumed=assumed)


def _size(size: Any) -> tuple[int, int]:
    if isinstance(size, dict):
        if "height" in size:
            return int(size["height"]), int(size["width"])
        return (int(size["shortest_edge"]),) * 2
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def write_config(config: ViTConfig, labels: list[str] | None, architecture: str) -> dict[str, Any]:
    """config.json of a ViT or DeiT class of transformers. Raises ValueError for what it cannot express."""
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    size, patch = to_pair(config.img_size), to_pair(config.patch_size)
    values: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": "deit" if architecture.startswith("DeiT") else "vit",
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": hidden_width(config.embed_dim, config.mlp_ratio),
        "hidden_act": names[config.activation],
        "hidden_dropout_prob": config.proj_drop_rate,
        "attention_probs_dropout_prob": config.attn_drop_rate,
        "layer_norm_eps": config.norm_eps,
        "image_size": size[0] if size[0] == size[1] else list(size),
        "patch_size": patch[0] if patch[0] == patch[1] else list(patch),
        "num_channels": config.in_chans,
        "qkv_bias": config.qkv_bias,
        "pooler_act": "tanh",
        "pooler_output_size": config.embed_dim,
    }
    if config.num_classes:
        labels = labels or [f"LABEL_{index}" for index in range(config.num_classes)]
        values["id2label"] = {str(index): name for index, name in enumerate(labels)}
        values["label2id"] = {name: index for index, name in enumerate(labels)}
    return values


def write_processor(record: Preprocess) -> dict[str, Any]:
    """preprocessor_config.json with the same pixels as this record, whose size is given.

    Raises ValueError for a record that transformers' image processors cannot express.
    """
    height, width = to_pair(record.size)
    if record.resize == "border":
        raise ValueError("transformers' image processors cannot express resize='border'")
    if record.resize == "short" and height != width:
        raise ValueError(
            f"transformers' image processors cannot express resize='short' for images of {height} x {width}; "
            "resize='squash' they can"
        )
    values: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": next(code for code, name in _INTERPOLATIONS.items() if name == record.interpolation),
        "image_mean": list(record.mean),
        "image_std": list(record.std),
        "size": {"height": height, "width": width},
        "image_processor_type": "ViTImageProcessor",
    }
    if record.resize == "squash" and record.crop_fraction == 1.0:
        return values
    full = resize_target((height, width), record.crop_fraction)
    values["do_center_crop"] = True
    values["crop_size"] = {"height": height, "width": width}
    # transformers' DeiT processor resizes both sides to `size`; the one that keeps the aspect is CLIP's
    if record.resize == "squash":
        return values | {"size": {"height": full[0], "width": full[1]}, "image_processor_type": "DeiTImageProcessor"}
    return values | {"size": {"shortest_edge": full[0]}, "image_processor_type": "CLIPImageProcessor"}
