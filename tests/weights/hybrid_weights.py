"""Random weights of small hybrids, the same on every machine, under timm's names and under vit_jax's.

Used by make_hybrids.py, which computes with timm, and by the tests: the weights of a ResNet are too large to be stored.
"""

import re
import zlib

import numpy as np

SHAPE = {"embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0, "num_classes": 5}
D, HEADS, HIDDEN, CLASSES = 24, 3, 48, 5
# name: bottlenecks in each stage, patch and image in pixels, another image size
CASES = {
    "root": ((), 8, 32, (48, 24)),
    "two_stages": ((1, 2), 16, 32, (64, 32)),
    "three_stages": ((1, 1, 1), 16, 48, (32, 64)),
}


def shapes(case):
    """timm's name -> shape in PyTorch's layout."""
    blocks, patch, image, _ = CASES[case]
    stride = 4 << max(len(blocks) - 1, 0)
    at = "patch_embed.backbone.stem" if blocks else "patch_embed.backbone"
    found = {f"{at}.conv.weight": (64, 3, 7, 7), f"{at}.norm": 64}
    channels = 64
    for stage, depth in enumerate(blocks):
        out = 256 << stage
        middle = out // 4
        for unit in range(depth):
            at = f"patch_embed.backbone.stages.{stage}.blocks.{unit}"
            if not unit:
                found |= {f"{at}.downsample.conv.weight": (out, channels, 1, 1), f"{at}.downsample.norm": out}
            found |= {f"{at}.conv1.weight": (middle, channels, 1, 1), f"{at}.norm1": middle}
            found |= {f"{at}.conv2.weight": (middle, middle, 3, 3), f"{at}.norm2": middle}
            found |= {f"{at}.conv3.weight": (out, middle, 1, 1), f"{at}.norm3": out}
            channels = out
    found["patch_embed.proj.weight"] = (D, channels, patch // stride, patch // stride)
    found |= {"patch_embed.proj.bias": (D,), "cls_token": (1, 1, D)}
    found["pos_embed"] = (1, 1 + (image // patch) ** 2, D)
    linear = {"attn.qkv": (3 * D, D), "attn.proj": (D, D), "mlp.fc1": (HIDDEN, D), "mlp.fc2": (D, HIDDEN)}
    for block in range(SHAPE["depth"]):
        found |= {f"blocks.{block}.norm{n}": D for n in (1, 2)}
        for name, shape in linear.items():
            found |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
    found |= {"norm": D, "head.weight": (CLASSES, D), "head.bias": (CLASSES,)}
    both = {}
    for name, shape in found.items():
        both |= {f"{name}.{kind}": (shape,) for kind in ("weight", "bias")} if isinstance(shape, int) else {name: shape}
    return both


def weights(case):
    """timm's name -> float32 in PyTorch's layout. Convolutions are narrow and not centred, so that it shows how their
    weights are standardised; norms are narrow, so that their epsilons show."""
    found = {}
    for name, shape in shapes(case).items():
        values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
        if re.search(r"norm\d?\.weight$", name):
            values = 1 + 0.25 * values
        elif "backbone" in name and len(shape) == 4:
            values = 0.004 * values + 0.001
        else:
            values = values * (0.1 if len(shape) in (3, 4) else 0.25)
        found[name] = values.astype("float32")
    return found


def google(case, *, old=False):
    """The names and layout of vit_jax's .npz files; old: norms of the ResNet as [1, 1, 1, C]."""
    found = {}
    for name, array in weights(case).items():
        kind = {"weight": "kernel", "bias": "bias"}.get(name.rpartition(".")[2])
        name = name.rpartition(".")[0] if kind else name
        if "norm" in name:
            kind = {"kernel": "scale"}.get(kind, kind)
        if unit := re.match(r"patch_embed\.backbone\.stages\.(\d+)\.blocks\.(\d+)\.(.*)", name):
            part = (
                unit[3]
                .replace("norm", "gn")
                .replace("downsample.conv", "conv_proj")
                .replace("downsample.gn", "gn_proj")
            )
            name = f"block{int(unit[1]) + 1}/unit{int(unit[2]) + 1}/{part}"
        elif name.startswith("patch_embed.backbone"):
            name = "conv_root" if name.endswith("conv") else "gn_root"
        elif block := re.match(r"blocks\.(\d+)\.(.*)", name):
            at = f"Transformer/encoderblock_{block[1]}"
            attention = f"{at}/MultiHeadDotProductAttention_1"
            if block[2] == "attn.qkv":
                for part, piece in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                    shaped = piece.T.reshape(D, HEADS, -1) if kind == "kernel" else piece.reshape(HEADS, -1)
                    found[f"{attention}/{part}/{kind}"] = shaped
                continue
            if block[2] == "attn.proj":
                found[f"{attention}/out/{kind}"] = array.T.reshape(HEADS, -1, D) if kind == "kernel" else array
                continue
            names = {"norm1": "LayerNorm_0", "norm2": "LayerNorm_2"}
            names |= {"mlp.fc1": "MlpBlock_3/Dense_0", "mlp.fc2": "MlpBlock_3/Dense_1"}
            name = f"{at}/{names[block[2]]}"
        else:
            names = {"cls_token": "cls", "pos_embed": "Transformer/posembed_input/pos_embedding"}
            names |= {"patch_embed.proj": "embedding", "norm": "Transformer/encoder_norm"}
            name = names.get(name, name)
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif kind == "kernel":
            array = array.T
        elif old and "gn" in name:
            array = array.reshape(1, 1, 1, -1)
        found[f"{name}/{kind}" if kind else name] = np.ascontiguousarray(array)
    return found
