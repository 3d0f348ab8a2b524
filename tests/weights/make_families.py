"""Writes families/: small models of the newer families, each saved as its codebase does, with what it computes.

Runs where torch, timm and transformers are installed, never in the tests: python make_families.py. Computed in float64,
with the random parameters of tests/models/make_references.py. transformers' models are its own classes. The authors'
files are made from timm's models by the inverse of timm's converters, which are checked to give the same model back;
tables are resampled by the authors' own rule.

expected.npz holds for each checkpoint `NAME:x`, `NAME:out`, `NAME:x2`, `NAME:out2` at another, oblong size, and
`NAME:weight:PARAM` under timm's names in PyTorch's layout.
"""

import copy
import math
import pathlib
import pickle
import re
import sys
from functools import partial

import numpy as np
import torch
import transformers as tf
from timm.layers import LayerNorm, SwiGLUPacked
from timm.models import eva
from timm.models import vision_transformer as vt
from timm.models.deit import VisionTransformerDistilled

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "models"))
from make_references import SHAPE, randomise  # noqa: E402

OUT = HERE / "families"
EXPECTED = {}
OTHER = (24, 12)
D, HEADS, DEPTH, CLASSES = SHAPE["embed_dim"], SHAPE["num_heads"], SHAPE["depth"], SHAPE["num_classes"]
HIDDEN = int(D * SHAPE["mlp_ratio"])
HEADLESS = {**SHAPE, "num_classes": 0}


def keep(name, weights, forward, forward2):
    rng = np.random.default_rng(len(EXPECTED))
    for key, size, run in (("", (16, 16), forward), ("2", OTHER, forward2)):
        x = rng.standard_normal((2, 3, *size)).astype("float32")
        with torch.no_grad():
            EXPECTED[f"{name}:x{key}"], EXPECTED[f"{name}:out{key}"] = x, run(torch.tensor(x).double()).numpy()
    for key, value in weights.items():
        EXPECTED[f"{name}:weight:{key}"] = value.detach().float().numpy()


# transformers

# fmt: off
NAMES = (
    (r"^(vit|dinov2|dinov2_with_registers|vision_model)\.", ""), (r"^(model\.|encoder\.)?layers?\.", "blocks."),
    ("embeddings.cls_token", "cls_token"), ("embeddings.class_embedding", "cls_token"),
    ("embeddings.register_tokens", "reg_token"), ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.position_embedding.weight", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("embeddings.patch_embeddings?", "patch_embed.proj"), (r"layernorm_before|layer_norm1", "norm1"),
    (r"layernorm_after|layer_norm2", "norm2"), (r"(self_attn\.out_proj|attention\.o_proj)", "attn.proj"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"), ("pre_layrnorm", "norm_pre"), ("post_layernorm", "norm"),
    (r"^layernorm\.", "norm."), ("visual_projection", "head"), ("head.probe", "attn_pool.latent"),
    (r"head\.(layernorm)", "attn_pool.norm"), (r"head\.mlp", "attn_pool.mlp"),
    ("head.attention.out_proj", "attn_pool.proj"), ("mlp.down_proj", "mlp.fc2"),
)
# fmt: on


def in_timm_s_names(model):
    """The parameters of a model of transformers' that belong to the encoder."""
    state, out = {}, {}
    for key, value in model.state_dict().items():
        for old, new in NAMES:
            key = re.sub(old, new, key)
        if not re.match(r"text_|logit_|decoder|.*mask_token|.*position_ids|rope", key):
            state[key] = value
    for key, value in state.items():
        attention = re.match(r"(blocks\.\d+\.)(?:self_attn|attention)\.q_proj\.(weight|bias)", key)
        gate = re.match(r"(blocks\.\d+\.mlp\.)gate_proj\.(weight|bias)", key)
        pool = re.match(r"head\.attention\.in_proj_(weight|bias)", key)
        if attention:
            parts = [state.get(key.replace("q_proj", f"{part}_proj"), torch.zeros_like(value)) for part in "qkv"]
            out[f"{attention[1]}attn.qkv.{attention[2]}"] = torch.cat(parts)
        elif gate:
            out[f"{gate[1]}fc1.{gate[2]}"] = torch.cat([value, state[key.replace("gate", "up")]])
        elif pool:
            out[f"attn_pool.q.{pool[1]}"], out[f"attn_pool.kv.{pool[1]}"] = value[:D], value[D:]
        elif "up_proj" in key:
            if key.replace("up", "gate") not in state:
                out[key.replace("up_proj", "fc1")] = value
        elif not re.search(r"[kv]_proj", key):
            shaped = (
                value.reshape((1,) * (3 - value.ndim) + value.shape) if key in ("cls_token", "pos_embed") else value
            )
            out[key] = shaped
    if "head.weight" in out:
        out["head.bias"] = torch.zeros(len(out["head.weight"]))
    return out


def make_transformers():
    size = {
        "image_size": 16,
        "patch_size": 4,
        "hidden_size": D,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
    }
    plain = {**size, "intermediate_size": HIDDEN}
    text = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    text |= {"projection_dim": 20, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 0}

    def save(name, model, seed, out, **options):
        randomise(model, seed)
        weights = in_timm_s_names(model)
        if "dinov2" in name and "reg_token" in weights:  # timm's form: no rows, the class token's added to it
            weights["cls_token"] = weights["cls_token"].float() + weights["pos_embed"][:, :1].float()
            weights["pos_embed"] = weights["pos_embed"][:, 1:]
        keep(name, weights, lambda x: out(model(x)), lambda x: out(model(x, **options)))
        model.float().save_pretrained(OUT / name)

    pooled = lambda o: o.pooler_output  # noqa: E731
    wide = {"interpolate_pos_encoding": True}
    save("huggingface_dinov2", tf.Dinov2Model(tf.Dinov2Config(**size, mlp_ratio=2)), 1, pooled)
    gated = tf.Dinov2Config(**size, mlp_ratio=4, use_swiglu_ffn=True)
    save("huggingface_dinov2_gated", tf.Dinov2Model(gated), 2, pooled)
    registers = tf.Dinov2WithRegistersConfig(**size, mlp_ratio=2, num_register_tokens=3)
    model = tf.Dinov2WithRegistersModel(registers)
    save("huggingface_dinov2_registers", model, 3, pooled)
    torch.save(model.state_dict(), OUT / "huggingface_dinov2_v5_names.bin")  # as version 5 has them in memory
    dinov3 = {**plain, "num_register_tokens": 3}
    save("huggingface_dinov3", tf.DINOv3ViTModel(tf.DINOv3ViTConfig(**dinov3)), 4, pooled)
    gated = tf.DINOv3ViTConfig(**dinov3, use_gated_mlp=True, hidden_act="silu", rope_theta=50.0)
    save("huggingface_dinov3_gated", tf.DINOv3ViTModel(gated), 5, pooled)

    vision = tf.CLIPVisionConfig(**plain, projection_dim=20)
    save("huggingface_clip_vision", tf.CLIPVisionModel(vision), 6, pooled, **wide)
    projected = tf.CLIPVisionModelWithProjection(vision)
    save("huggingface_clip_projection", projected, 7, lambda o: o.image_embeds, **wide)

    def whole(name, model, vision, out, weights=None):
        """The two towers; only the image's is run."""
        run = lambda x, **o: out(model, vision(model)(x, **o))  # noqa: E731
        keep(name, in_timm_s_names(model), run, partial(run, **wide))
        model.float().save_pretrained(OUT / name)

    config = tf.CLIPConfig(text_config=text, vision_config=plain, projection_dim=20)
    model = tf.CLIPModel(config)
    randomise(model, 8)
    project = lambda model, o: model.visual_projection(o.pooler_output)  # noqa: E731
    whole("huggingface_clip", model, lambda m: m.vision_model, project)
    siglip = tf.SiglipVisionModel(tf.SiglipVisionConfig(**plain))
    save("huggingface_siglip_vision", siglip, 9, pooled, **wide)
    text = {k: v for k, v in text.items() if k != "projection_dim"} | {"projection_size": D}
    model = tf.SiglipModel(tf.SiglipConfig(text_config=text, vision_config=plain))
    randomise(model, 10)
    whole("huggingface_siglip", model, lambda m: m.vision_model, lambda m, o: o.pooler_output)

    model = tf.ViTMAEForPreTraining(
        tf.ViTMAEConfig(
            **plain,
            mask_ratio=0.0,
            decoder_hidden_size=8,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=1,
            decoder_intermediate_size=8,
        )
    )
    randomise(model, 11)

    def encode(x, **options):
        order = torch.arange(x.shape[2] * x.shape[3] // 16).expand(len(x), -1).double()
        return model.vit(x, noise=order, **options).last_hidden_state[:, 0]

    weights = {k: v for k, v in in_timm_s_names(model).items() if not k.startswith("decoder")}
    keep("huggingface_mae", weights, encode, partial(encode, **wide))
    model.float().save_pretrained(OUT / "huggingface_mae")

    config = tf.TimmWrapperConfig(
        architecture="vit_small_patch16_224",
        num_labels=CLASSES,
        model_args={k: v for k, v in SHAPE.items() if k != "num_classes"},
    )
    model = tf.TimmWrapperForImageClassification(config)
    randomise(model, 12)
    state = {k.removeprefix("timm_model."): v for k, v in model.state_dict().items()}
    free = vt.VisionTransformer(**SHAPE, dynamic_img_size=True).double().eval()
    free.load_state_dict(state)
    keep("huggingface_timm_wrapper", state, lambda x: model(x).logits, free)
    model.float().save_pretrained(OUT / "huggingface_timm_wrapper")


# Files of the authors


def resized(model, method, num_prefix):
    """Runs a copy of the model at another size, its table resampled by method(grid [1, D, h, w], (h, w))."""

    def run(x):
        big, new = copy.deepcopy(model), tuple(n // 4 for n in x.shape[2:])
        table = big.pos_embed
        side = math.isqrt(table.shape[1] - num_prefix)
        grid = table[:, num_prefix:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        rows = method(grid, new).permute(0, 2, 3, 1).reshape(1, new[0] * new[1], -1)
        table.data = torch.cat([table[:, :num_prefix], rows], 1)
        big.patch_embed.img_size, big.patch_embed.grid_size = tuple(x.shape[2:]), new
        return big(x)

    return run


def bicubic(grid, size, **options):
    return torch.nn.functional.interpolate(grid, size, mode="bicubic", align_corners=False, **options)


def dino_offset(grid, size):
    """DINO and DINOv2: by scale, with 0.1 added to the new size."""
    scale = tuple((new + 0.1) / old for new, old in zip(size, grid.shape[2:], strict=True))
    return torch.nn.functional.interpolate(grid, scale_factor=scale, mode="bicubic")


def timm_rule(model, options, **more):
    free = type(model)(**options, dynamic_img_size=True, **more).double().eval()
    free.load_state_dict(model.state_dict())
    return free


def renamed(state, *pairs):
    out = {}
    for key, value in state.items():
        for old, new in pairs:
            key = re.sub(old, new, key)
        out[key] = value.float().contiguous()
    return out


def same(found, model):
    """timm's converter gives the model back."""
    expected = model.state_dict()
    assert set(found) == set(expected), set(found) ^ set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key].double(), value.double(), rtol=0, atol=1e-7)


def noise(*shape):
    return torch.randn(shape) * 0.1


class Part(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def scripted(state):
    """A TorchScript module with these parameters and buffers, as OpenAI publishes CLIP."""
    root = Part()
    for name, value in state.items():
        *path, last = name.split(".")
        part = root
        for each in path:
            if each not in part._modules:
                part.add_module(each, Part())
            part = part._modules[each]
        if value.is_floating_point():
            part.register_parameter(last, torch.nn.Parameter(value))
        else:
            part.register_buffer(last, value)
    return torch.jit.script(root)


def make_authors():
    model = vt.VisionTransformer(**HEADLESS)
    randomise(model, 20)
    state = renamed(model.state_dict())
    keep("dino", state, model, resized(model, dino_offset, 1))
    head = {"head.mlp.0.weight": noise(8, D), "head.mlp.0.bias": noise(8), "head.last_layer.weight_g": noise(9, 1)}
    head["head.last_layer.weight_v"] = noise(9, 8)
    student = {f"module.backbone.{k}": v for k, v in state.items()} | {f"module.{k}": v for k, v in head.items()}
    teacher = {f"backbone.{k}": v for k, v in state.items()} | head
    torch.save({"student": student, "teacher": teacher, "epoch": 3}, OUT / "dino.pth")

    model = vt.VisionTransformer(**HEADLESS)
    randomise(model, 21)
    keep("mae", renamed(model.state_dict()), model, resized(model, bicubic, 1))
    decoder = {"mask_token": noise(1, 1, 8), "decoder_embed.weight": noise(8, D), "decoder_pos_embed": noise(1, 17, 8)}
    decoder |= {"decoder_blocks.0.norm1.weight": noise(8), "decoder_norm.bias": noise(8)}
    decoder["decoder_pred.weight"] = noise(48, 8)
    torch.save({"model": renamed(model.state_dict()) | decoder}, OUT / "mae.pth")

    options = {**SHAPE, "global_pool": "avg"}
    model = vt.VisionTransformer(**options)
    randomise(model, 22)
    keep("mae_finetuned", renamed(model.state_dict()), model, timm_rule(model, options))
    torch.save({"model": renamed(model.state_dict())}, OUT / "mae_finetuned.pth")

    gated = (r"mlp\.fc1", "mlp.w12"), (r"mlp\.fc2", "mlp.w3")
    for name, options, pairs, seed in (
        ("dinov2", {}, (), 23),
        ("dinov2_gated", {"mlp_ratio": 4.0, "mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU}, gated, 24),
    ):
        model = vt.VisionTransformer(**{**HEADLESS, "init_values": 1e-5, **options})
        randomise(model, seed)
        state = renamed(model.state_dict(), *pairs) | {"mask_token": noise(1, D)}
        same(vt.checkpoint_filter_fn(dict(state), model), model)
        keep(name, model.state_dict(), model, resized(model, dino_offset, 1))
        torch.save(state, OUT / f"{name}.pth")

    model = vt.VisionTransformer(**HEADLESS, init_values=1e-5, reg_tokens=3, no_embed_class=True)
    randomise(model, 25)
    row = torch.randn(1, 1, D).double() * 0.03
    state = model.state_dict()
    state["pos_embed"] = torch.cat([row, state["pos_embed"]], 1).float()
    state["cls_token"] = (state["cls_token"] - row).float()
    model.cls_token.data = (state["cls_token"] + row.float()).double()
    state = renamed(state, ("^reg_token", "register_tokens")) | {"mask_token": noise(1, D)}
    same(vt.checkpoint_filter_fn(dict(state), model), model)
    keep("dinov2_registers", model.state_dict(), model, resized(model, partial(bicubic, antialias=True), 0))
    torch.save(state, OUT / "dinov2_registers.pth")
    chunked = renamed(state, (r"^blocks\.(\d+)", r"blocks.0.\1"))  # as DINOv2's training code keeps its blocks
    torch.save({"teacher": {f"backbone.{k}": v for k, v in chunked.items()}}, OUT / "dinov2_chunked.pth")

    for name, bias, gated, seed in (("dinov3", True, False, 26), ("dinov3_gated", False, True, 27)):
        options = {
            **HEADLESS,
            "qkv_bias": bias,
            "init_values": 1e-5,
            "use_rot_pos_emb": True,
            "rope_type": "dinov3",
            "rope_temperature": 100,
            "rope_rotate_half": True,
            "use_abs_pos_emb": False,
            "num_reg_tokens": 3,
            "use_fc_norm": False,
            "global_pool": "token",
            "dynamic_img_size": True,
            "norm_layer": partial(LayerNorm, eps=1e-5),
            "swiglu_mlp": gated,
            "swiglu_align_to": 8 if gated else 0,
        }
        model = eva.Eva(**options)
        randomise(model, seed)
        pairs = ("^reg_token", "storage_tokens"), (r"gamma_(\d)", r"ls\1.gamma"), (r"fc1_g", "w1"), ("fc1_x", "w2")
        if gated:
            pairs = (*pairs, (r"mlp\.fc2", "mlp.w3"))
        state = renamed(model.state_dict(), *pairs)
        weights = renamed(
            model.state_dict(),
            (r"gamma_(\d)", r"ls\1.gamma"),
        )
        for i in range(DEPTH):
            if bias:  # the middle third is masked
                q, v = (state.pop(f"blocks.{i}.attn.{part}_bias") for part in "qv")
                state[f"blocks.{i}.attn.qkv.bias"] = torch.cat([q, noise(D), v])
                state[f"blocks.{i}.attn.qkv.bias_mask"] = torch.cat([torch.ones(D), torch.zeros(D), torch.ones(D)])
                for part in "qv":
                    weights.pop(f"blocks.{i}.attn.{part}_bias")
                weights[f"blocks.{i}.attn.qkv.bias"] = torch.cat([q, torch.zeros(D), v])
            if gated:
                for kind in ("weight", "bias"):
                    parts = [weights.pop(f"blocks.{i}.mlp.fc1_{part}.{kind}") for part in "gx"]
                    weights[f"blocks.{i}.mlp.fc1.{kind}"] = torch.cat(parts)
        state |= {"mask_token": noise(1, D), "rope_embed.periods": model.rope.periods.float()}
        same(eva.checkpoint_filter_fn(dict(state), model), model)
        keep(name, weights, model, model)
        torch.save(state, OUT / f"{name}.pth")

    options = {**SHAPE, "pre_norm": True, "act_layer": "quick_gelu", "norm_layer": partial(LayerNorm, eps=1e-5)}
    options["num_classes"] = 20
    model = vt.VisionTransformer(**options)
    randomise(model, 28)
    model.head.bias.data.zero_()
    state = {}
    table = (
        (r"^patch_embed\.proj", "conv1"),
        (r"^pos_embed", "positional_embedding"),
        (r"^cls_token", "class_embedding"),
        (r"^norm_pre", "ln_pre"),
        (r"^norm\.", "ln_post."),
        (r"\.norm(\d)", r".ln_\1"),
        (r"attn\.qkv\.", "attn.in_proj_"),
        (r"attn\.proj", "attn.out_proj"),
        (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"),
        (r"^blocks", "transformer.resblocks"),
        (r"^", "visual."),
    )
    for key, value in renamed(model.state_dict(), *table).items():
        if key == "visual.head.weight":
            state["visual.proj"] = value.T.contiguous()
        elif key != "visual.head.bias":
            flat = key.endswith(("class_embedding", "positional_embedding"))
            state[key] = value.squeeze() if flat else value
    text = {
        "positional_embedding": noise(7, 8),
        "text_projection": noise(8, 20),
        "logit_scale": torch.tensor(4.6),
        "token_embedding.weight": noise(9, 8),
        "ln_final.weight": noise(8),
        "transformer.resblocks.0.attn.in_proj_weight": noise(24, 8),
        "transformer.resblocks.0.ln_1.weight": noise(8),
    }
    same(vt.checkpoint_filter_fn(state | text, model), model)
    keep("open_clip", model.state_dict(), model, timm_rule(model, options))
    torch.save(state | text, OUT / "open_clip.pt")
    keep("openai", model.state_dict(), model, timm_rule(model, options))
    numbers = {"input_resolution": torch.tensor(16), "context_length": torch.tensor(7), "vocab_size": torch.tensor(9)}
    torch.jit.save(scripted(state | text | numbers), OUT / "openai.pt")

    options = {**HEADLESS, "class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"}
    model = vt.VisionTransformer(**options)
    randomise(model, 29)
    arrays = {f"params/img/{k}": v for k, v in big_vision_names(model.state_dict()).items()}
    arrays |= {"params/txt/head/bias": np.zeros(3, "float32"), "params/t": np.zeros(1, "float32")}
    np.savez(OUT / "big_vision_siglip.npz", **arrays)
    back = vt.VisionTransformer(**options)
    back.load_pretrained(str(OUT / "big_vision_siglip.npz"), "params/img/")
    same(back.state_dict(), model)

    def aligned(grid, size):
        return torch.nn.functional.interpolate(grid, size, mode="bilinear", align_corners=True)

    keep("big_vision_siglip", model.state_dict(), model, resized(model, aligned, 0))

    # mmpretrain
    model = VisionTransformerDistilled(**SHAPE)
    randomise(model, 30)
    table = (
        (r"^norm\.", "backbone.ln1."),
        (r"^blocks\.(\d+)\.norm(\d)", r"backbone.layers.\1.ln\2"),
        (r"^blocks\.(\d+)\.mlp\.fc1", r"backbone.layers.\1.ffn.layers.0.0"),
        (r"^blocks\.(\d+)\.mlp\.fc2", r"backbone.layers.\1.ffn.layers.1"),
        (r"^blocks", "backbone.layers"),
        (r"^patch_embed\.proj", "backbone.patch_embed.projection"),
        (r"^(cls_token|dist_token|pos_embed)", r"backbone.\1"),
        (r"^head(_dist)?\.", r"head.layers.head\1."),
    )
    keep("mmpretrain", model.state_dict(), model, resized(model, bicubic, 2))
    torch.save({"meta": {"epoch": 1}, "state_dict": renamed(model.state_dict(), *table)}, OUT / "mmpretrain.pth")


def big_vision_names(state):
    """timm's names -> big_vision's, with blocks one by one."""
    state = {k: v.float().numpy() for k, v in state.items()}
    out = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "MAPHead_0/probe": state["attn_pool.latent"],
    }

    def attention(to, weight, bias, proj, proj_bias):
        for name, w, b in zip(("query", "key", "value"), np.split(weight, 3), np.split(bias, 3), strict=True):
            out[f"{to}/{name}/kernel"], out[f"{to}/{name}/bias"] = w.T.reshape(D, HEADS, -1), b.reshape(HEADS, -1)
        out[f"{to}/out/kernel"], out[f"{to}/out/bias"] = proj.T.reshape(HEADS, -1, D), proj_bias

    def mlp(to, at):
        for index, name in enumerate(("fc1", "fc2")):
            out[f"{to}/Dense_{index}/kernel"] = state[f"{at}.{name}.weight"].T
            out[f"{to}/Dense_{index}/bias"] = state[f"{at}.{name}.bias"]

    def norm(to, at):
        out[f"{to}/scale"], out[f"{to}/bias"] = state[f"{at}.weight"], state[f"{at}.bias"]

    for i in range(DEPTH):
        to, at = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        attention(
            f"{to}/MultiHeadDotProductAttention_0",
            *(state[f"{at}.attn.{name}"] for name in ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias")),
        )
        mlp(f"{to}/MlpBlock_0", f"{at}.mlp")
        norm(f"{to}/LayerNorm_0", f"{at}.norm1")
        norm(f"{to}/LayerNorm_1", f"{at}.norm2")
    joined = [
        np.concatenate([state[f"attn_pool.{part}.{kind}"] for part in ("q", "kv")]) for kind in ("weight", "bias")
    ]
    proj = (state["attn_pool.proj.weight"], state["attn_pool.proj.bias"])
    attention("MAPHead_0/MultiHeadDotProductAttention_0", *joined, *proj)
    mlp("MAPHead_0/MlpBlock_0", "attn_pool.mlp")
    norm("MAPHead_0/LayerNorm_0", "attn_pool.norm")
    return out


# Paddle's


def make_paddle():
    def save(name, model, table, seed, options):
        randomise(model, seed)
        weights = renamed(model.state_dict(), ("^head0", "pre_logits.fc"))
        keep(name, weights, model, timm_rule(model, options))
        linear = {f"{n}.weight" for n, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
        state = {k: v.T if k in linear else v for k, v in model.state_dict().items()}
        arrays = {k: np.ascontiguousarray(v.numpy()) for k, v in renamed(state, *table).items()}
        with open(OUT / f"{name}.pdparams", "wb") as file:
            pickle.dump(arrays, file, protocol=4)

    encoder = (
        (r"^blocks\.(\d+)\.attn\.proj", r"encoder.layers.\1.attn.out"),
        (r"^blocks\.(\d+)\.norm1", r"encoder.layers.\1.attn_norm"),
        (r"^blocks\.(\d+)\.norm2", r"encoder.layers.\1.mlp_norm"),
        (r"^blocks", "encoder.layers"),
        (r"^norm\.", "encoder.encoder_norm."),
        (r"^head_dist\.", "classifier_dist."),
        (r"^head\.", "classifier."),
        (r"^patch_embed\.proj", "patch_embedding.patch_embedding"),
    )
    now = (*encoder, ("^pos_embed", "position_embedding"))
    save("paddlevit", VisionTransformerDistilled(**SHAPE), now, 40, SHAPE)
    first = (*encoder, ("^pos_embed", "patch_embedding.position_embeddings"), ("^cls_", "patch_embedding.cls_"))
    save("paddlevit_first", vt.VisionTransformer(**SHAPE), first, 41, SHAPE)
    deit = (("^blocks", "layers"), ("^head_dist", "head_distill"), ("^cls_", "class_"), ("^dist_", "distill_"))
    save("paddlevit_deit", VisionTransformerDistilled(**SHAPE), deit, 42, SHAPE)

    class WithPreLogits(vt.VisionTransformer):
        def __init__(self, **options):
            super().__init__(**options)
            self.head0 = torch.nn.Linear(D, 20)
            self.head = torch.nn.Linear(20, CLASSES)

        def forward_head(self, x, pre_logits=False):
            return self.head(torch.tanh(self.head0(self.pool(x))))

    save("passl", WithPreLogits(**SHAPE), (), 43, SHAPE)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    make_transformers()
    make_authors()
    make_paddle()
    np.savez_compressed(OUT / "expected.npz", **EXPECTED)
    print({p.name: p.stat().st_size for p in sorted(OUT.rglob("*")) if p.is_file()})
