"""Writes checkpoints/: small models of each codebase, saved in its own format, with what the original computes.

Runs in an environment of its own (Python 3.11: `pip install torch torchvision timm transformers scipy`), never in the
tests: python make_checkpoints.py. The models are those of tests/models/make_references.py: every parameter random, and
large enough that a wrong activation, epsilon, layout or order shows. Computed in float64.

expected.npz holds for each checkpoint `NAME:x`, `NAME:logits` (heads averaged where there are two), `NAME:x2`,
`NAME:logits2` at another size, which is not square unless the original knows square ones alone, and `NAME:weight:PARAM`
under timm's names in PyTorch's layout.
"""

import json
import math
import pathlib
import pickle
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "models"))
from make_references import SHAPE, huggingface_names, randomise, torchvision_names  # noqa: E402

OUT = HERE / "checkpoints"
EXPECTED = {}
GRID, OTHER = (16, 16), (24, 12)


def keep(name, model, forward, forward2, rename, other=OTHER):
    """forward(x), forward2(x2) -> logits."""
    rng = np.random.default_rng(len(EXPECTED))
    x = rng.standard_normal((2, 3, *GRID)).astype("float32")
    x2 = rng.standard_normal((2, 3, *other)).astype("float32")
    with torch.no_grad():
        EXPECTED[f"{name}:x"], EXPECTED[f"{name}:x2"] = x, x2
        EXPECTED[f"{name}:logits"] = forward(torch.tensor(x).double()).numpy()
        EXPECTED[f"{name}:logits2"] = forward2(torch.tensor(x2).double()).numpy()
    for k, v in rename({k: p.detach().float() for k, p in model.named_parameters()}).items():
        EXPECTED[f"{name}:weight:{k}"] = v.numpy()
    model.float()


def resized(model, name, method, num_prefix, size):
    """The model with its table resized as the original's fine-tuning code does: method(grid [1, D, h, w], (h, w))."""
    import copy

    model = copy.deepcopy(model)
    table = dict(model.named_parameters())[name]
    side = math.isqrt(table.shape[1] - num_prefix)
    grid = table[:, num_prefix:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    new = tuple(n // SHAPE["patch_size"] for n in size)
    rows = method(grid, new).permute(0, 2, 3, 1).reshape(1, new[0] * new[1], -1)
    table.data = torch.cat([table[:, :num_prefix], rows], 1)
    return model, new


def bicubic(grid, size):
    return torch.nn.functional.interpolate(grid, size, mode="bicubic", align_corners=False)


def make_timm():
    import timm.models.vision_transformer as vt
    from safetensors.torch import save_file
    from timm.models.deit import VisionTransformerDistilled

    model = vt.VisionTransformer(**SHAPE)
    randomise(model, 10)
    free = vt.VisionTransformer(**SHAPE, dynamic_img_size=True).double().eval()
    free.load_state_dict(model.state_dict())
    keep("timm", model, model, free, dict)
    save_file(model.state_dict(), OUT / "timm.safetensors")
    half = {k: v.to(torch.bfloat16) for k, v in model.state_dict().items()}
    save_file(half, OUT / "timm_bfloat16.safetensors")

    model = VisionTransformerDistilled(**SHAPE)
    randomise(model, 11)
    free = VisionTransformerDistilled(**SHAPE, dynamic_img_size=True).double().eval()
    free.load_state_dict(model.state_dict())
    keep("facebook_deit_distilled", model, model, free, dict)  # facebook's DeiT files have timm's names
    torch.save({"model": model.state_dict()}, OUT / "facebook_deit_distilled.pth")

    model = vt.VisionTransformer(**SHAPE, init_values=1e-4, no_embed_class=True)  # DeiT III

    def resize(x):
        big, new = resized(model, "pos_embed", bicubic, 0, x.shape[2:])
        big.patch_embed.img_size, big.patch_embed.grid_size = tuple(x.shape[2:]), new
        return big(x)

    randomise(model, 12)
    keep("facebook_deit3", model, model, resize, dict)
    names = {"ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}
    state = {}
    for k, v in model.state_dict().items():
        for ours, theirs in names.items():
            k = k.replace(ours, theirs)
        state[k] = v
    torch.save({"model": state}, OUT / "facebook_deit3.pth")

    # PaddleClas: timm's names and numbers, linear weights [in, out]; written as paddle.save writes a state dict
    model = vt.VisionTransformer(**SHAPE)
    randomise(model, 13)
    free = vt.VisionTransformer(**SHAPE, dynamic_img_size=True).double().eval()
    free.load_state_dict(model.state_dict())
    keep("paddleclas", model, model, free, dict)
    linear = {f"{n}.weight" for n, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
    state = {k: np.ascontiguousarray(v.numpy().T if k in linear else v.numpy()) for k, v in model.state_dict().items()}
    state["StructuredToParameterName@@"] = {k: f"param_{i}" for i, k in enumerate(state)}
    with open(OUT / "paddleclas.pdparams", "wb") as file:
        pickle.dump(state, file, protocol=4)


def make_huggingface():
    import transformers as tf

    size = dict(  # noqa: C408
        image_size=SHAPE["img_size"],
        patch_size=SHAPE["patch_size"],
        hidden_size=SHAPE["embed_dim"],
        num_hidden_layers=SHAPE["depth"],
        num_attention_heads=SHAPE["num_heads"],
        intermediate_size=int(SHAPE["embed_dim"] * SHAPE["mlp_ratio"]),
        num_labels=SHAPE["num_classes"],
    )
    labels = {i: f"kind {i}" for i in range(SHAPE["num_classes"])}
    square = {"height": SHAPE["img_size"], "width": SHAPE["img_size"]}

    def save(name, model, processor):
        model.save_pretrained(OUT / name)
        processor.save_pretrained(OUT / name)

    model = tf.ViTForImageClassification(tf.ViTConfig(**size, hidden_act="gelu", id2label=labels))
    randomise(model, 20)
    wide = lambda x, model=model: model(x, interpolate_pos_encoding=True).logits  # noqa: E731
    keep("huggingface_vit", model, lambda x: model(x).logits, wide, huggingface_names("vit."))
    save("huggingface_vit", model, tf.ViTImageProcessor(size=square))
    # the names that version 5 has in memory
    torch.save(model.state_dict(), OUT / "huggingface_vit_v5_names.bin")
    EXPECTED.update(
        {
            k.replace("huggingface_vit:", "huggingface_vit_v5_names:"): v
            for k, v in EXPECTED.items()
            if k.startswith("huggingface_vit:")
        }
    )

    model2 = tf.ViTModel(tf.ViTConfig(**size, hidden_act="gelu_new", qkv_bias=False))
    randomise(model2, 21)
    wide = lambda x: model2(x, interpolate_pos_encoding=True).pooler_output  # noqa: E731
    keep("huggingface_vit_base", model2, lambda x: model2(x).pooler_output, wide, huggingface_names(""))
    save("huggingface_vit_base", model2, tf.ViTImageProcessor(size=square))

    model3 = tf.DeiTForImageClassificationWithTeacher(tf.DeiTConfig(**size))
    randomise(model3, 22)
    wide = lambda x: model3(x, interpolate_pos_encoding=True).logits  # noqa: E731
    keep("huggingface_deit", model3, lambda x: model3(x).logits, wide, huggingface_names("deit."))
    save("huggingface_deit", model3, tf.DeiTImageProcessor(crop_size=square, size={"height": 18, "width": 18}))

    model4 = tf.DeiTForImageClassification(tf.DeiTConfig(**size))
    randomise(model4, 23)
    wide = lambda x: model4(x, interpolate_pos_encoding=True).logits  # noqa: E731

    def rename(state):
        return {k.replace("dist_token", "reg_token"): v for k, v in huggingface_names("deit.")(state).items()}

    keep("huggingface_deit_one_head", model4, lambda x: model4(x).logits, wide, rename)
    save("huggingface_deit_one_head", model4, tf.DeiTImageProcessor(crop_size=square, size={"height": 18, "width": 18}))


def make_torchvision():
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    size = dict(  # noqa: C408
        patch_size=SHAPE["patch_size"],
        num_layers=SHAPE["depth"],
        num_heads=SHAPE["num_heads"],
        hidden_dim=SHAPE["embed_dim"],
        mlp_dim=int(SHAPE["embed_dim"] * SHAPE["mlp_ratio"]),
        num_classes=SHAPE["num_classes"],
    )
    for name, extra in (("torchvision", {}), ("torchvision_pre_logits", {"representation_size": 20})):
        model = VisionTransformer(image_size=16, **size, **extra)
        randomise(model, 30)
        big = VisionTransformer(image_size=24, **size, **extra).double().eval()
        big.load_state_dict(interpolate_embeddings(24, SHAPE["patch_size"], model.state_dict()))
        keep(name, model, model, big, torchvision_names, other=(24, 24))
        state = dict(model.state_dict())
        if not extra:  # as written before 0.13
            table = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}
            old = {}
            for k, v in state.items():
                for new, older in table.items():
                    k = k.replace(new, older)
                old[k] = v
            torch.save(old, OUT / "torchvision_old_names.pth", _use_new_zipfile_serialization=False)
        torch.save(state, OUT / f"{name}.pth")


def google_forward(p, x, names, num_heads):
    """vit_jax and big_vision in NumPy, from their arrays: x [B, H, W, 3] -> logits [B, C]. flax's gelu is tanh's."""
    attention, norm2, mlp, positions = names
    b = len(x)
    kernel = p["embedding/kernel"]
    patch, width = kernel.shape[0], kernel.shape[3]
    h, w = x.shape[1] // patch, x.shape[2] // patch
    patches = x.reshape(b, h, patch, w, patch, 3).transpose(0, 1, 3, 2, 4, 5).reshape(b, h * w, -1)
    t = patches @ kernel.reshape(-1, width) + p["embedding/bias"]
    table = p[positions]
    if "cls" in p and table.shape[1] == h * w:  # big_vision: positions first, then the class token
        t = np.concatenate([np.tile(p["cls"], (b, 1, 1)), t + table], 1)
    elif "cls" in p:
        t = np.concatenate([np.tile(p["cls"], (b, 1, 1)), t], 1) + table
    else:
        t = t + table

    def norm(t, name):
        mean, var = t.mean(-1, keepdims=True), t.var(-1, keepdims=True)
        return (t - mean) / np.sqrt(var + 1e-6) * p[name + "/scale"] + p[name + "/bias"]

    for i in range(SHAPE["depth"]):
        at = f"Transformer/encoderblock_{i}/"
        y = norm(t, at + "LayerNorm_0")
        q, k, v = (
            np.einsum("bnd,dhe->bhne", y, p[f"{at}{attention}/{n}/kernel"]) + p[f"{at}{attention}/{n}/bias"][:, None]
            for n in ("query", "key", "value")
        )
        a = np.einsum("bhne,bhme->bhnm", q, k) / math.sqrt(q.shape[-1])
        a = np.exp(a - a.max(-1, keepdims=True))
        y = np.einsum("bhnm,bhme->bnhe", a / a.sum(-1, keepdims=True), v)
        t = t + np.einsum("bnhe,hed->bnd", y, p[f"{at}{attention}/out/kernel"]) + p[f"{at}{attention}/out/bias"]
        y = norm(t, at + norm2) @ p[f"{at}{mlp}/Dense_0/kernel"] + p[f"{at}{mlp}/Dense_0/bias"]
        y = 0.5 * y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        t = t + y @ p[f"{at}{mlp}/Dense_1/kernel"] + p[f"{at}{mlp}/Dense_1/bias"]
    t = norm(t, "Transformer/encoder_norm")
    pooled = t[:, 0] if "cls" in p else t.mean(1)
    return pooled @ p["head/kernel"] + p["head/bias"]


def make_google():
    import scipy.ndimage

    d, heads, depth, classes = SHAPE["embed_dim"], SHAPE["num_heads"], SHAPE["depth"], SHAPE["num_classes"]
    hidden, patch = int(d * SHAPE["mlp_ratio"]), SHAPE["patch_size"]
    side = SHAPE["img_size"] // patch
    vit = ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3", "Transformer/posembed_input/pos_embedding")
    big = ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0", "pos_embedding")
    for name, names, token in (("google", vit, True), ("big_vision", big, True), ("big_vision_average", big, False)):
        attention, norm2, mlp, positions = names
        rng = np.random.default_rng(40)

        def draw(*shape, scale=0.25, add=0.0, rng=rng):
            return (rng.standard_normal(shape) * scale + add).astype("float32")

        rows = side * side + (names is vit)
        p = {
            "embedding/kernel": draw(patch, patch, 3, d, scale=0.03),
            "embedding/bias": draw(d, scale=0.03),
            positions: draw(1, rows, d, scale=0.03),
        }
        if token:
            p["cls"] = draw(1, 1, d, scale=0.03)
        for i in range(depth):
            at = f"Transformer/encoderblock_{i}/"
            for n in ("LayerNorm_0", norm2):
                p[f"{at}{n}/scale"], p[f"{at}{n}/bias"] = draw(d, add=1.0), draw(d)
            for n in ("query", "key", "value"):
                p[f"{at}{attention}/{n}/kernel"] = draw(d, heads, d // heads)
                p[f"{at}{attention}/{n}/bias"] = draw(heads, d // heads)
            p[f"{at}{attention}/out/kernel"], p[f"{at}{attention}/out/bias"] = draw(heads, d // heads, d), draw(d)
            p[f"{at}{mlp}/Dense_0/kernel"], p[f"{at}{mlp}/Dense_0/bias"] = draw(d, hidden), draw(hidden)
            p[f"{at}{mlp}/Dense_1/kernel"], p[f"{at}{mlp}/Dense_1/bias"] = draw(hidden, d), draw(d)
        p["Transformer/encoder_norm/scale"], p["Transformer/encoder_norm/bias"] = draw(d, add=1.0), draw(d)
        p["head/kernel"], p["head/bias"] = draw(d, classes), draw(classes)

        x = draw(2, 3, *GRID, scale=1.0)
        x2 = draw(2, 3, *OTHER, scale=1.0)
        double = {k: v.astype("float64") for k, v in p.items()}
        # vit_jax's resize: scipy's zoom of order 1, written for square grids, here with a factor a side
        table = double[positions]
        grid = table[:, rows - side * side :].reshape(side, side, d)
        new = tuple(n // patch for n in OTHER)
        zoomed = scipy.ndimage.zoom(grid, (new[0] / side, new[1] / side, 1), order=1).reshape(1, -1, d)
        other = {**double, positions: np.concatenate([table[:, : rows - side * side], zoomed], 1)}
        EXPECTED[f"{name}:x"], EXPECTED[f"{name}:x2"] = x, x2
        EXPECTED[f"{name}:logits"] = google_forward(double, x.transpose(0, 2, 3, 1), names, heads)
        EXPECTED[f"{name}:logits2"] = google_forward(other, x2.transpose(0, 2, 3, 1), names, heads)
        EXPECTED.update({f"{name}:weight:{k}": v for k, v in google_names(p, names, depth).items()})
        if name == "google":
            np.savez(OUT / "google.npz", **{f"opt/target/{k}": v for k, v in p.items()})
        elif name == "big_vision":
            np.savez(OUT / "big_vision.npz", **{f"params/img/{k}": v for k, v in p.items()})
        else:  # scanned: the blocks stacked on axis 0
            stacked = {k: v for k, v in p.items() if "encoderblock_" not in k}
            for k in [k for k in p if "encoderblock_0/" in k]:
                blocks = [p[k.replace("encoderblock_0", f"encoderblock_{i}")] for i in range(depth)]
                stacked[k.replace("encoderblock_0", "encoderblock")] = np.stack(blocks)
            np.savez(OUT / "big_vision_average.npz", **{f"params/{k}": v for k, v in stacked.items()})


def google_names(p, names, depth):
    """The same weights as timm's loader of Google's files lays them out: PyTorch's [out, in]."""
    attention, norm2, mlp, positions = names
    d = p["embedding/kernel"].shape[-1]
    out = {
        "patch_embed.proj.weight": p["embedding/kernel"].transpose(3, 2, 0, 1),
        "patch_embed.proj.bias": p["embedding/bias"],
        "pos_embed": p[positions],
        "norm.weight": p["Transformer/encoder_norm/scale"],
        "norm.bias": p["Transformer/encoder_norm/bias"],
        "head.weight": p["head/kernel"].T,
        "head.bias": p["head/bias"],
    }
    if "cls" in p:
        out["cls_token"] = p["cls"]
    for i in range(depth):
        at, to = f"Transformer/encoderblock_{i}/", f"blocks.{i}."
        for theirs, ours in (("LayerNorm_0", "norm1"), (norm2, "norm2")):
            out[f"{to}{ours}.weight"], out[f"{to}{ours}.bias"] = p[f"{at}{theirs}/scale"], p[f"{at}{theirs}/bias"]
        qkv = [f"{at}{attention}/{n}/" for n in ("query", "key", "value")]
        out[f"{to}attn.qkv.weight"] = np.concatenate([p[n + "kernel"].reshape(d, d).T for n in qkv])
        out[f"{to}attn.qkv.bias"] = np.concatenate([p[n + "bias"].reshape(d) for n in qkv])
        out[f"{to}attn.proj.weight"] = p[f"{at}{attention}/out/kernel"].reshape(d, d).T
        out[f"{to}attn.proj.bias"] = p[f"{at}{attention}/out/bias"]
        for theirs, ours in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            out[f"{to}mlp.{ours}.weight"] = p[f"{at}{mlp}/{theirs}/kernel"].T
            out[f"{to}mlp.{ours}.bias"] = p[f"{at}{mlp}/{theirs}/bias"]
    return out


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    make_timm()
    make_huggingface()
    make_torchvision()
    make_google()
    np.savez_compressed(OUT / "expected.npz", **EXPECTED)
    print(json.dumps({p.name: p.stat().st_size for p in sorted(OUT.rglob("*")) if p.is_file()}, indent=1))
