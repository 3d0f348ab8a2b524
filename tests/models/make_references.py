"""Writes references/*.npz: small models of the original libraries, with weights, inputs, outputs and gradients.

Runs in an environment of its own (Python 3.11: `pip install torch torchvision timm transformers scipy`), never in the
tests. Every parameter is random: embeddings are small, so that the epsilon of the first LayerNorm shows, everything
else is large, so that a wrong activation, token order or transposition shows. Values are computed in float64.

Each file holds `config` (JSON: vitlib's options), `x`, `tokens` (after the final norm, where the original gives
them), `logits` (and `distillation_logits`), `c` (the loss is the sum of the logits times c, over both heads of a DeiT),
and for each parameter, under timm's name in PyTorch's layout, `weight:NAME` and `grad:NAME`.
"""

import json
import pathlib

import numpy as np
import torch

OUT = pathlib.Path(__file__).parent / "references"
SHAPE = {
    "img_size": 16,
    "patch_size": 4,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 2.0,
    "num_classes": 5,
}


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    model.double().eval()
    for name, p in model.named_parameters():
        embedding = any(part in name for part in ("patch_embed", "pos_embed", "token", "embeddings", "conv_proj"))
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.data = noise * (0.03 if embedding else 0.25)
        if p.ndim == 1 and name.endswith("weight"):
            p.data += 1
        p.data = p.data.float().double()  # what the file stores is exactly what was computed with


def store(name, config, model, forward, rename, seed=0):
    """forward(x) -> (tokens or None, [logits of each head]); rename({name: tensor}) -> the same in timm's names."""
    randomise(model, seed)
    rng = np.random.default_rng(seed)
    full = {**SHAPE, **config}
    size = full["img_size"] if isinstance(full["img_size"], (list, tuple)) else (full["img_size"],) * 2
    x = rng.standard_normal((2, 3, *size)).astype("float32")
    c = rng.standard_normal((2, full["num_classes"])).astype("float32")
    tokens, heads = forward(torch.tensor(x).double())
    sum((head * torch.tensor(c).double()).sum() for head in heads).backward()
    weights = rename({k: p.detach() for k, p in model.named_parameters()})
    grads = rename({k: torch.zeros_like(p) if p.grad is None else p.grad for k, p in model.named_parameters()})
    arrays = {"config": json.dumps(full), "x": x, "c": c, "logits": heads[0].detach().numpy()}
    if len(heads) == 2:
        arrays["distillation_logits"] = heads[1].detach().numpy()
    if tokens is not None:
        arrays["tokens"] = tokens.detach().numpy()
    arrays |= {f"weight:{k}": v.numpy().astype("float32") for k, v in weights.items()}
    arrays |= {f"grad:{k}": v.numpy().astype("float32") for k, v in grads.items()}
    OUT.mkdir(exist_ok=True)
    np.savez_compressed(OUT / f"{name}.npz", **arrays)
    print(name, sorted(weights)[:3], round((OUT / f"{name}.npz").stat().st_size / 1024), "KiB")


def timm_model(name, config=None, distilled=False, **options):
    """timm's class with timm's options; config says the same in vitlib's options."""
    from functools import partial

    from timm.layers import LayerNorm
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    config = {"activation": "gelu", **(config or {})}
    shape = {**SHAPE, **{k: v for k, v in options.items() if k in SHAPE}}
    rest = {k: v for k, v in options.items() if k not in SHAPE}
    if "eps" in rest:
        rest["norm_layer"] = partial(LayerNorm, eps=rest.pop("eps"))
    model = (VisionTransformerDistilled if distilled else VisionTransformer)(**shape, **rest)

    def forward(x):
        tokens = model.forward_features(x)
        if not distilled:
            return tokens, [model.forward_head(tokens)]
        return tokens, [model.head(tokens[:, 0]), model.head_dist(tokens[:, 1])]

    store(name, {**{k: v for k, v in options.items() if k in SHAPE}, **config}, model, forward, dict)


def huggingface_names(prefix):
    def rename(state):
        out = {}
        for k, v in state.items():
            out[k.removeprefix(prefix)] = v
        table = {
            "embeddings.cls_token": "cls_token",
            "embeddings.distillation_token": "dist_token",
            "embeddings.position_embeddings": "pos_embed",
            "embeddings.patch_embeddings.projection": "patch_embed.proj",
            "layernorm_before": "norm1",
            "layernorm_after": "norm2",
            "attention.output.dense": "attn.proj",
            "attention.o_proj": "attn.proj",
            "intermediate.dense": "mlp.fc1",
            "output.dense": "mlp.fc2",
            "encoder.layer.": "blocks.",
            "layers.": "blocks.",
            "distillation_classifier": "head_dist",
            "cls_classifier": "head",
            "classifier": "head",
            "pooler.dense": "pre_logits.fc",
            "layernorm": "norm",
        }
        result = {}
        for k, v in out.items():
            for old, new in table.items():
                k = k.replace(old, new)
            result[k] = v
        for i in range(SHAPE["depth"]):
            for kind in ("weight", "bias"):
                names = [f"blocks.{i}.attention.{part}.{kind}" for part in ("q_proj", "k_proj", "v_proj")]
                if names[0] not in result:
                    names = [f"blocks.{i}.attention.attention.{part}.{kind}" for part in ("query", "key", "value")]
                if names[0] not in result:  # qkv_bias=False
                    continue
                result[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat([result.pop(n) for n in names])
        return result

    return rename


def huggingface(name, distilled=False, **options):
    import transformers

    kind = transformers.DeiTConfig if distilled else transformers.ViTConfig
    settings = kind(
        image_size=SHAPE["img_size"],
        patch_size=SHAPE["patch_size"],
        hidden_size=SHAPE["embed_dim"],
        num_hidden_layers=SHAPE["depth"],
        num_attention_heads=SHAPE["num_heads"],
        intermediate_size=int(SHAPE["embed_dim"] * SHAPE["mlp_ratio"]),
        num_labels=SHAPE["num_classes"],
        **options,
    )
    if distilled:
        model = transformers.DeiTForImageClassificationWithTeacher(settings)
        body, prefix = model.deit, "deit."
    else:
        model = transformers.ViTForImageClassification(settings)
        body, prefix = model.vit, "vit."

    def forward(x):
        tokens = body(x).last_hidden_state
        if distilled:
            out = model(x)
            return tokens, [out.cls_logits, out.distillation_logits]
        return tokens, [model(x).logits]

    config = {"norm_eps": settings.layer_norm_eps, "activation": "gelu"}
    if distilled:
        config["distillation_token"] = True
    store(name, config, model, forward, huggingface_names(prefix), seed=1)


def torchvision_names(state):
    table = {
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        "conv_proj": "patch_embed.proj",
        "encoder.layers.encoder_layer_": "blocks.",
        "ln_1": "norm1",
        "ln_2": "norm2",
        "self_attention.in_proj_": "attn.qkv.",
        "self_attention.out_proj": "attn.proj",
        "mlp.0": "mlp.fc1",
        "mlp.3": "mlp.fc2",
        "encoder.ln": "norm",
        "heads.pre_logits": "pre_logits.fc",
        "heads.head": "head",
    }
    result = {}
    for k, v in state.items():
        for old, new in table.items():
            k = k.replace(old, new)
        result[k] = v
    return result


def torchvision_model(name, representation_size=None):
    from torchvision.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        image_size=SHAPE["img_size"],
        patch_size=SHAPE["patch_size"],
        num_layers=SHAPE["depth"],
        num_heads=SHAPE["num_heads"],
        hidden_dim=SHAPE["embed_dim"],
        mlp_dim=int(SHAPE["embed_dim"] * SHAPE["mlp_ratio"]),
        num_classes=SHAPE["num_classes"],
        representation_size=representation_size,
    )

    def forward(x):
        tokens = model._process_input(x)
        tokens = torch.cat([model.class_token.expand(len(x), -1, -1), tokens], dim=1)
        return model.encoder(tokens), [model(x)]

    store(name, {"pre_logits": representation_size}, model, forward, torchvision_names, seed=2)


def position_tables():
    """One random table, resized by each library's own call to several grids, larger and smaller, square and not."""
    import scipy.ndimage
    import torch.nn.functional as F
    from timm.layers import resample_abs_pos_embed
    from torchvision.models.vision_transformer import interpolate_embeddings

    rng = np.random.default_rng(0)
    arrays = {}
    for old in ((6, 6), (5, 7)):
        table = rng.standard_normal((1, 2 + old[0] * old[1], 6))
        prefix, grid = table[:, :2], torch.tensor(table[:, 2:]).reshape(1, *old, 6).permute(0, 3, 1, 2)
        key = f"{old[0]}x{old[1]}"
        arrays[f"table:{key}"] = table

        def keep(method, new, result, key=key, prefix=prefix):
            rows = result.permute(0, 2, 3, 1).reshape(1, -1, 6).numpy()
            assert rows.shape[1] == new[0] * new[1], (method, new, rows.shape)
            arrays[f"{method}:{key}:{new[0]}x{new[1]}"] = np.concatenate([prefix, rows], 1)

        for new in ((9, 9), (3, 3), (4, 10), (11, 2), (1, 8), (12, 3)):
            resized = resample_abs_pos_embed(torch.tensor(table), new, old, num_prefix_tokens=2)  # float32 inside
            keep("timm", new, resized[:, 2:].reshape(1, *new, 6).permute(0, 3, 1, 2))
            keep("bilinear", new, F.interpolate(grid, new, mode="bilinear", antialias=False))
            keep("deit", new, F.interpolate(grid, new, mode="bicubic", align_corners=False))
            factors = [(n + 0.1) / o for n, o in zip(new, old, strict=True)]
            keep("dino", new, F.interpolate(grid, scale_factor=factors, mode="bicubic"))
            keep("dinov2_registers", new, F.interpolate(grid, new, mode="bicubic", antialias=True))
            zoomed = scipy.ndimage.zoom(
                grid[0].permute(1, 2, 0).numpy(), [*(n / o for n, o in zip(new, old, strict=True)), 1], order=1
            )
            keep("google", new, torch.tensor(zoomed).permute(2, 0, 1)[None])
            if (
                old[0] == old[1] and new[0] == new[1]
            ):  # torchvision's own function knows square grids and one prefix row
                state = {"encoder.pos_embedding": torch.tensor(table[:, 1:])}
                out = interpolate_embeddings(new[0] * 4, 4, state)["encoder.pos_embedding"][:, 1:]
                keep("torchvision", new, out.reshape(1, *new, 6).permute(0, 3, 1, 2))
    OUT.mkdir(exist_ok=True)
    np.savez_compressed(OUT / "position_tables.npz", **arrays)
    print("position tables", len(arrays))


if __name__ == "__main__":
    timm_model("timm_class_token")
    timm_model("timm_distilled", {"distillation_token": True}, distilled=True)
    timm_model(
        "timm_average_then_norm",
        {"class_token": False, "global_pool": "avg"},
        class_token=False,
        global_pool="avg",
    )
    timm_model(
        "timm_norm_then_average",
        {"global_pool": "avg", "fc_norm": False},
        global_pool="avg",
        fc_norm=False,
    )
    timm_model(
        "timm_layer_scale",
        {"init_values": 1e-4, "no_embed_class": True},
        init_values=1e-4,
        no_embed_class=True,
    )
    timm_model("timm_registers", {"reg_tokens": 3, "no_embed_class": True}, reg_tokens=3, no_embed_class=True)
    timm_model("timm_registers_with_positions", {"reg_tokens": 2}, reg_tokens=2)
    timm_model("timm_not_square", img_size=(16, 24), patch_size=(4, 8))
    timm_model(
        "timm_clip_like",
        {
            "qk_norm": True,
            "pre_norm": True,
            "qkv_bias": False,
            "patch_bias": False,
            "activation": "quick_gelu",
            "norm_eps": 1e-5,
        },
        qk_norm=True,
        pre_norm=True,
        qkv_bias=False,
        act_layer="quick_gelu",
        eps=1e-5,
    )
    timm_model("timm_tanh_gelu", {"activation": "gelu_tanh"}, act_layer="gelu_tanh")
    huggingface("huggingface_vit")
    huggingface("huggingface_deit", distilled=True)
    torchvision_model("torchvision")
    torchvision_model("torchvision_pre_logits", representation_size=20)
    position_tables()
