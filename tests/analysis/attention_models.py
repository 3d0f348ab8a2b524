"""Models whose attention is known, and NumPy from the paper's equations, for the tests of rollout and relevance."""

from math import erf

import numpy as np

import vitlib


def subclass(attention):
    block = type("Block", (vitlib.EncoderBlock,), {"attention_class": attention})
    return type("Net", (vitlib.VisionTransformer,), {"block_class": block})


class Uniform(vitlib.MultiHeadAttention):
    def attend(self, q, k, v, mask=None):
        return v.mean(1, keepdim=True).expand(q.shape)


MODELS = [
    (vitlib.VisionTransformer, {}),
    (vitlib.VisionTransformer, {"fused_attn": False, "reg_tokens": 2, "qk_norm": True}),
    (vitlib.VisionTransformer, {"img_size": (16, 48), "patch_size": (8, 4)}),
    (vitlib.VisionTransformer, {"class_token": False, "global_pool": "avg"}),
    (vitlib.DeiT, {"reg_tokens": 1}),
    (subclass(Uniform), {}),
]


def read_weights(model, tokens):
    """Weights [N] with which the output reads the tokens: class token, class and distillation, or mean of patches."""
    row, prefix = np.zeros(tokens), model.num_prefix_tokens
    if model.config.global_pool == "avg":
        row[prefix:] = 1
    else:
        row[: 2 if isinstance(model, vitlib.DeiT) else 1] = 1
    return row / row.sum()


SMALL = {"img_size": (8, 12), "patch_size": 4, "embed_dim": 8, "num_heads": 2, "depth": 2, "num_classes": 3}


def numpy_model(model):
    """The class logits of one image as a function of additions to the attention weights of each layer [L, H, N, N] and
    of the pooling query [H, 1, N], and the weights themselves; float64, from the parameters alone."""
    p = {name: value.numpy().astype("float64") for name, value in model.state_dict().items()}
    config = model.config
    (rows, columns), heads, depth = model.patch_embed.patch_size, config.num_heads, config.depth

    def norm(t, name):
        t = t - t.mean(-1, keepdims=True)
        return t / np.sqrt((t * t).mean(-1, keepdims=True) + 1e-6) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(t, name):
        return t @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def softmax(t):
        t = np.exp(t - t.max(-1, keepdims=True))
        return t / t.sum(-1, keepdims=True)

    def mlp(t, name):
        hidden = linear(t, f"{name}.fc1")
        return linear(hidden * 0.5 * (1 + np.vectorize(erf)(hidden / np.sqrt(2))), f"{name}.fc2")

    def turned(t, height, width):
        """t [H, N, d]: the pairs (j, j + d/2) of each patch, turned by the place of its row, then of its column."""
        half, prefix = t.shape[-1] // 2, model.num_prefix_tokens
        periods = config.rotary_base ** (2 * np.arange(half // 2) / half)
        places = [2 * (np.arange(n) + 0.5) / n - 1 for n in (height // rows, width // columns)]
        places = np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape(-1, 2)
        angles = 2 * np.pi * (places[:, :, None] / periods).reshape(len(places), half)
        z = t[:, prefix:, :half] + 1j * t[:, prefix:, half:]
        z = z * np.exp(1j * angles)
        return np.concatenate([t[:, :prefix], np.concatenate([z.real, z.imag], -1)], axis=1)

    def pool(tokens, addition):
        tokens = tokens[model.num_prefix_tokens :]
        q = linear(p["attn_pool.latent"][0], "attn_pool.q").reshape(heads, 1, -1)
        k, v = linear(tokens, "attn_pool.kv").reshape(len(tokens), 2, heads, -1).transpose(1, 2, 0, 3)
        weights = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))
        y = linear(((weights + addition) @ v).reshape(-1), "attn_pool.proj")
        return linear(y + mlp(norm(y, "attn_pool.norm"), "attn_pool.mlp"), "head"), weights

    def run(image, additions, pool_addition=0.0):
        channels, height, width = image.shape
        patches = image.reshape(channels, height // rows, rows, width // columns, columns)
        patches = patches.transpose(1, 3, 0, 2, 4).reshape(-1, channels * rows * columns)
        kernel = p["patch_embed.proj.weight"]
        tokens = patches @ kernel.reshape(len(kernel), -1).T + p["patch_embed.proj.bias"]
        tokens = np.concatenate([p[name][0] for name in model.prefix_names] + [tokens])
        tokens = tokens + p["pos_embed"][0] if "pos_embed" in p else tokens
        weights = []
        for layer in range(depth):
            at = f"blocks.{layer}"
            qkv = linear(norm(tokens, f"{at}.norm1"), f"{at}.attn.qkv").reshape(len(tokens), 3, heads, -1)
            q, k, v = qkv.transpose(1, 2, 0, 3)
            if config.pos_embed == "rotary":
                q, k = turned(q, height, width), turned(k, height, width)
            if isinstance(model.blocks[layer].attn, Uniform):
                a = np.full([heads, len(tokens), len(tokens)], 1 / len(tokens))
            else:
                a = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))
            weights.append(a)
            mixed = ((a + additions[layer]) @ v).transpose(1, 0, 2).reshape(tokens.shape)
            tokens = tokens + linear(mixed, f"{at}.attn.proj")
            tokens = tokens + mlp(norm(tokens, f"{at}.norm2"), f"{at}.mlp")
        if config.global_pool == "avg":
            return linear(norm(tokens.mean(0), "fc_norm"), "head"), np.stack(weights), None
        tokens = norm(tokens, "norm")
        if config.global_pool == "map":
            logits, of_pool = pool(tokens, pool_addition)
            return logits, np.stack(weights), of_pool
        names = ["head", "head_dist"] if isinstance(model, vitlib.DeiT) else ["head"]
        return np.mean([linear(tokens[i], name) for i, name in enumerate(names)], axis=0), np.stack(weights), None

    return run
