"""Writes vitlib/weights/dialects/timm_architectures.json from timm's own registry.

Runs in an environment with torch and timm, never in the tests:

    python tests/weights/make_timm_architectures.py

Each architecture is built without memory (PyTorch's "meta" device) and read off its modules. "plain" has the options of
`ViTConfig` in which it differs from the defaults, with its number of parameters; "other" has, by reason, the names of
those that a plain Vision Transformer cannot be.
"""

import json
import math
import pathlib

import timm
import torch
from timm.layers import AttentionPoolLatent, GluMlp, HybridEmbed, Mlp, PatchEmbed, StdConv2dSame, SwiGLU
from timm.layers.attention import Attention
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from timm.models import _registry, eva, resnetv2
from timm.models import deit as deit_module
from timm.models import vision_transformer as vit

TARGET = pathlib.Path(__file__).parents[2] / "vitlib" / "weights" / "dialects" / "timm_architectures.json"
# Families that share names of parameters with plain ViTs, or that people take for one
REASONS = {
    "beit": "relative positions and blocks of BEiT's own",
    "vision_transformer_relpos": "relative positions",
    "vision_transformer_sam": "windows and relative positions (SAM)",
    "naflexvit": "NaFlex's patches of any aspect",
    "cait": "class attention (CaiT)",
    "xcit": "cross-covariance attention (XCiT)",
    "deepseek_vit": "blocks of DeepSeek's own",
    "gemma4_vit": "blocks of Gemma's own",
    "qwen3_vit": "blocks of Qwen's own",
    "volo": "outlook attention (VOLO)",
    "tnt": "transformers within transformers (TNT)",
}
DEFAULTS = {
    "img_size": 224,
    "patch_size": 16,
    "num_classes": 1000,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4.0,
    "gated_mlp": False,
    "activation": "gelu",
    "norm_eps": 1e-6,
    "qkv_bias": True,
    "qk_norm": False,
    "patch_bias": True,
    "stem_blocks": None,
    "class_token": True,
    "distillation_token": False,
    "reg_tokens": 0,
    "pos_embed": "learned",
    "rotary_base": 100.0,
    "no_embed_class": False,
    "pre_norm": False,
    "global_pool": "token",
    "fc_norm": None,
    "init_values": None,
    "dynamic_img_size": False,
    "drop_path_schedule": "linear",
}


class NotPlainError(Exception):
    pass


def need(good, reason):
    if not good:
        raise NotPlainError(reason)


def pair(size):
    return size[0] if size[0] == size[1] else list(size)


def identity(layer):
    return isinstance(layer, torch.nn.Identity)


def activation(layer):
    kind = type(layer).__name__
    if kind == "GELU":
        return "gelu_tanh" if getattr(layer, "approximate", "none") == "tanh" else "gelu"
    known = {"GELUTanh": "gelu_tanh", "GELU_": "gelu", "QuickGELU": "quick_gelu", "ReLU": "relu", "SiLU": "silu"}
    need(kind in known, f"the activation {kind}")
    return known[kind]


def rotary_base(rope):
    """The period of DINOv3's slowest angle; None for other rotary positions."""
    if type(rope) is not RotaryEmbeddingDinoV3 or rope.min_period is not None or not rope.rotate_half:
        return None
    usual = (rope.normalize_coords, rope.grid_offset, rope.grid_indexing) == ("separate", 0.0, "ij")
    return rope.temperature if usual else None


def stem_blocks(embed):
    """Bottlenecks in each stage of the ResNet before the patches; None for no ResNet."""
    if type(embed) is PatchEmbed:
        return None
    backbone = embed.backbone if type(embed) is HybridEmbed else None
    convolutions = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)] if backbone else [None]
    need(all(type(m) is StdConv2dSame and m.eps == 1e-8 for m in convolutions), "a convolutional stem")
    need(
        all(norm.eps == 1e-5 for norm in backbone.modules() if isinstance(norm, torch.nn.GroupNorm)), "another epsilon"
    )
    if type(backbone) is not resnetv2.ResNetV2:
        return []
    blocks = [list(stage.blocks) for stage in backbone.stages]
    need(all(type(block) is resnetv2.Bottleneck for stage in blocks for block in stage), "another ResNet")
    return [len(stage) for stage in blocks]


def options(model):
    kinds = (vit.VisionTransformer, deit_module.VisionTransformerDistilled, eva.Eva)
    is_eva = type(model) is eva.Eva
    rope = getattr(model, "rope", None)
    need(rope is None or rotary_base(rope) is not None, "rotary positions of another kind than DINOv3's")
    need(rope is None or model.pos_embed is None, "rotary positions beside a table")
    need(type(model) in kinds, f"a model of the kind {type(model).__name__}")
    blocks = list(model.blocks)
    block = blocks[0]
    names = {"ResPostBlock": "norms after each branch (res-post-norm)"}
    names |= {"ParallelScalingBlock": "attention and MLP in parallel", "ParallelThingsBlock": "parallel branches"}
    for each in blocks:
        kind = type(each).__name__
        need(type(each) is (eva.EvaBlock if is_eva else vit.Block), names.get(kind, f"blocks of the kind {kind}"))
    need(
        type(block.attn) is (eva.EvaAttention if is_eva else Attention),
        f"attention of the kind {type(block.attn).__name__}",
    )
    need(type(block.mlp) in (Mlp, GluMlp, SwiGLU), f"an MLP of the kind {type(block.mlp).__name__}")
    gated = type(block.mlp) is not Mlp
    need(block.attn.qkv is not None, "projections to q, k and v of their own")
    need(getattr(block.attn, "gate", None) is None, "gated attention")
    need(not gated or not getattr(block.mlp, "gate_last", False), "a gated MLP whose gate comes last")
    need(block.mlp.fc2.bias is not None, "an MLP without biases")
    need(block.attn.proj.bias is not None, "no bias after attention")
    need(identity(getattr(block.attn, "norm", torch.nn.Identity())), "a norm inside attention")
    need(identity(getattr(block.mlp, "norm", torch.nn.Identity())), "a norm inside the MLP")
    stem = stem_blocks(model.patch_embed)
    need(stem is not None or identity(model.patch_embed.norm), "a norm after the patches")
    ratio = (1, 1) if stem is None else model.patch_embed.feature_ratio
    need(model.global_pool in ("token", "avg", "map", ""), f"global_pool={model.global_pool!r}")
    pool = getattr(model, "attn_pool", None)
    if pool is not None:
        need(type(pool) is AttentionPoolLatent and pool.latent_len == 1 and pool.pool == "token", "another pooling")
        need(pool.num_heads == block.attn.num_heads, "other heads in its attention pooling")
        need(pool.mlp.fc1.out_features == block.mlp.fc1.out_features, "another MLP in its attention pooling")
        need(identity(pool.q_norm) and pool.pos_embed is None, "another pooling")
    need(not getattr(model, "pool_include_prefix", False), "pooling over prefix tokens")
    need(rope is not None or model.pos_embed is not None, "no position table")
    norms = [m for m in model.modules() if "Norm" in type(m).__name__ and not isinstance(m, torch.nn.GroupNorm)]
    for norm in norms:
        need(isinstance(norm, torch.nn.LayerNorm), f"{type(norm).__name__} in place of LayerNorm")
    eps = {norm.eps for norm in norms}
    need(len(eps) == 1, "norms of several epsilons")
    after = not identity(model.fc_norm)
    need(after or not identity(model.norm), "no norm before the head")
    need(identity(model.norm) or not after, "a norm before and after pooling")
    width = model.embed_dim
    distilled = hasattr(model, "dist_token")
    prefix = model.num_prefix_tokens
    grid = model.patch_embed.grid_size
    rows = grid[0] * grid[1] + prefix if rope else model.pos_embed.shape[1]
    need(rows in (grid[0] * grid[1], grid[0] * grid[1] + prefix), "a position table of its own")
    classes = model.head.out_features if isinstance(model.head, torch.nn.Linear) else 0
    pooling = model.global_pool or "none"
    usual_norm = pooling == "avg"
    found = {
        "img_size": pair(model.patch_embed.img_size),
        "patch_size": pair([side * each for side, each in zip(model.patch_embed.patch_size, ratio, strict=True)]),
        "num_classes": classes,
        "embed_dim": width,
        "depth": len(blocks),
        "num_heads": block.attn.num_heads,
        "mlp_ratio": block.mlp.fc2.in_features / width,
        "gated_mlp": gated,
        "activation": activation(block.mlp.act),
        "norm_eps": next(iter(eps)),
        "qkv_bias": (block.attn.q_bias if is_eva else block.attn.qkv.bias) is not None,
        "qk_norm": not identity(block.attn.q_norm),
        "patch_bias": model.patch_embed.proj.bias is not None,
        "stem_blocks": stem,
        "class_token": model.cls_token is not None,
        "distillation_token": distilled,
        "reg_tokens": model.reg_token.shape[1] if getattr(model, "reg_token", None) is not None else 0,
        "pos_embed": "rotary" if rope else "learned",
        "rotary_base": rotary_base(rope) if rope else 100.0,
        "no_embed_class": bool(prefix) and rows == grid[0] * grid[1],
        "pre_norm": not identity(model.norm_pre),
        "global_pool": pooling,
        "fc_norm": None if after == usual_norm else after,
        "init_values": 1e-5 if (block.gamma_1 is not None if is_eva else not identity(block.ls1)) else None,
        "dynamic_img_size": not model.patch_embed.strict_img_size,
        "drop_path_schedule": "linear",
    }
    if not classes:  # a head of the caller's own is drawn for this many
        found["num_classes"] = 0
    return {key: value for key, value in found.items() if value != DEFAULTS[key]}


def main():
    plain, other = {}, {}
    for name in sorted(timm.list_models()):
        module = _registry._model_to_module[name]
        if module not in {"vision_transformer", "vision_transformer_hybrid", "deit", "eva", *REASONS}:
            cfg = "no Vision Transformer"
            other.setdefault(cfg, []).append(name)
            continue
        with torch.device("meta"):
            model = timm.create_model(name)
        try:
            if module in REASONS:
                reason = REASONS[module]
                if getattr(model, "rope", None) is not None:
                    reason = "rotary positions"
                raise NotPlainError(reason)
            found = options(model)
        except NotPlainError as error:
            other.setdefault(str(error), []).append(name)
            continue
        count = sum(math.prod(p.shape) for p in model.parameters())
        plain[name] = {"parameters": count, **found}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in plain.items())
    rest = ",\n".join(f"  {json.dumps(reason)}: {json.dumps(' '.join(names))}" for reason, names in other.items())
    TARGET.write_text(f'{{"timm": "{timm.__version__}",\n"plain": {{\n{lines}\n}},\n"other": {{\n{rest}\n}}\n}}\n')
    print({reason: len(names) for reason, names in other.items()}, len(plain))


if __name__ == "__main__":
    main()
