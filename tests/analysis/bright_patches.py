"""A model whose attention goes to the bright part of an image, by construction."""

import numpy as np
import paddle
from PIL import Image, ImageDraw

import vitlib


def bright_model(**options):
    """One layer of two heads: the class token gives nearly all of its attention to the brightest patch. The value of a
    patch is its brightness, and the logit of class 1, "bright", is what the class token reads of it."""
    preprocess = vitlib.Preprocess(mean=(0, 0, 0), std=(1, 1, 1))
    small = {"img_size": 64, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2, "num_classes": 2}
    model = vitlib.VisionTransformer(**{**small, "preprocess": preprocess, **options})
    model.eval()
    model.labels = ["dark", "bright"]
    for parameter in model.parameters():
        parameter.set_value(paddle.zeros(parameter.shape))
    block = model.blocks[0]
    block.norm1, model.norm = paddle.nn.Identity(), paddle.nn.Identity()
    kernel = np.zeros(model.patch_embed.proj.weight.shape, "float32")
    kernel[0] = 1 / kernel[0].size  # feature 0 of a patch is its mean brightness
    model.patch_embed.proj.weight.set_value(kernel)
    token = np.zeros([1, 1, 8], "float32")
    token[..., 1] = 1  # feature 1 tells the class token from the patches
    model.cls_token.set_value(token)
    qkv = np.zeros([8, 3, 2, 4], "float32")
    qkv[1, 0, :, 0] = 60  # its query
    qkv[0, 1, :, 0] = 1  # the keys of bright patches
    qkv[0, 2, :, 0] = 1
    block.attn.qkv.weight.set_value(qkv.reshape(8, 24))
    proj = np.zeros([8, 8], "float32")
    proj[[0, 4], 2] = 0.5
    block.attn.proj.weight.set_value(proj)
    head = np.zeros([8, 2], "float32")
    head[2, 1] = 4
    model.head.weight.set_value(head)
    return model


def spot(size, at, side=20):
    """A dark image of (width, height) with a bright square around a point."""
    image = Image.new("RGB", size, (20, 20, 20))
    x, y = at
    image.paste((250, 250, 250), (x - side // 2, y - side // 2, x + side // 2, y + side // 2))
    return image


def warmth(picture):
    """How much a picture is coloured [H, W]: red above blue; grey is 0."""
    pixels = np.asarray(picture.convert("RGB"), "float64")
    return (pixels[:, :, 0] - pixels[:, :, 2]).clip(0)


def centre(weights):
    """(x, y) of the middle of weights [H, W]."""
    return tuple((weights * (axis + 0.5)).sum() / weights.sum() for axis in np.indices(weights.shape)[::-1])


def recorded_words(monkeypatch):
    """A list that grows by every text that Pillow draws."""
    drawn, text = [], ImageDraw.ImageDraw.text

    def record(self, at, words, *args, **options):
        drawn.append(words)
        return text(self, at, words, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    return drawn
