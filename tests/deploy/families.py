"""Small models of every family, for comparing engines with the eager model."""

import paddle
import pytest

import vitlib
from vitlib.deploy.paddle_program import run_graph

# Options beside those of conftest.TINY, and the image sizes to run
FAMILIES = {
    "ViT": ({}, [(32, 32)]),
    "ViT of oblong images and patches": ({"img_size": (16, 48), "patch_size": (8, 16)}, [(16, 48)]),
    "average pooling before the norm": ({"global_pool": "avg", "class_token": False}, [(32, 32)]),
    "average pooling of normed tokens": ({"global_pool": "avg", "fc_norm": False}, [(32, 32)]),
    "average pooling beside a class token": ({"global_pool": "avg"}, [(32, 32)]),
    "DeiT": ({"model_class": vitlib.DeiT}, [(32, 32)]),
    "DeiT III": ({"no_embed_class": True, "init_values": 0.1}, [(32, 32)]),
    "pre-logits": ({"pre_logits": 20}, [(32, 32)]),
    "distilled with pre-logits": ({"model_class": vitlib.DeiT, "pre_logits": 20}, [(32, 32)]),
    "registers": ({"reg_tokens": 3}, [(32, 32)]),
    "DINOv2 giant": ({"gated_mlp": True, "activation": "silu", "init_values": 0.1}, [(32, 32)]),
    "DINOv2 with registers": ({"reg_tokens": 4, "no_embed_class": True, "init_values": 0.1}, [(32, 32)]),
    "DINOv3": ({"pos_embed": "rotary", "reg_tokens": 4, "init_values": 0.1, "qkv_bias": False}, [(32, 32)]),
    "DINOv3 of any size": (
        {"pos_embed": "rotary", "reg_tokens": 4, "global_pool": "avg", "fc_norm": False, "dynamic_img_size": True},
        [(32, 32), (16, 48), (8, 8)],
    ),
    "rotary positions, averaged before the norm, padded": (
        {
            "pos_embed": "rotary",
            "class_token": False,
            "global_pool": "avg",
            "dynamic_img_size": True,
            "dynamic_img_pad": True,
            "rotary_base": 10.0,
        },
        [(32, 32), (33, 17)],
    ),
    "SigLIP": ({"class_token": False, "global_pool": "map", "activation": "gelu_tanh"}, [(32, 32)]),
    "SigLIP without classes or biases": (
        {"global_pool": "map", "num_classes": 0, "qkv_bias": False, "dynamic_img_size": True},
        [(16, 48)],
    ),
    "CLIP": ({"pre_norm": True, "activation": "quick_gelu", "patch_bias": False}, [(32, 32)]),
    "normed queries and keys": ({"qk_norm": True, "qkv_bias": False, "activation": "gelu_tanh"}, [(32, 32)]),
    "no positions": ({"pos_embed": "none", "activation": "silu"}, [(32, 32)]),
    "fixed positions": ({"pos_embed": "sincos2d", "class_token": False, "global_pool": "avg"}, [(32, 32)]),
    "every token classified": ({"global_pool": "none", "activation": "relu"}, [(32, 32)]),
    "no classes": ({"num_classes": 0}, [(32, 32)]),
    "padded": ({"dynamic_img_pad": True, "img_size": (30, 41)}, [(30, 41)]),
    "convolutional stem": ({"conv_stem": (6, 8, 10), "patch_size": 8}, [(32, 32)]),
    "convolutional stem, any size": (
        {"conv_stem": (6, 8, 10), "patch_size": 8, "dynamic_img_size": True, "dynamic_img_pad": True},
        [(32, 32), (33, 17)],
    ),
    "any size": ({"dynamic_img_size": True}, [(32, 32), (16, 48), (64, 40)]),
    "any size, padded": ({"dynamic_img_size": True, "dynamic_img_pad": True}, [(32, 32), (33, 17)]),
    "any size of DINO's positions": ({"dynamic_img_size": True, "position_resize": "dino"}, [(32, 32), (16, 48)]),
    "any size, bilinear positions": ({"dynamic_img_size": True, "position_resize": "bilinear"}, [(48, 24)]),
    "any size of Google's positions": ({"dynamic_img_size": True, "position_resize": "google"}, [(48, 24)]),
    "any size of DeiT's positions": ({"dynamic_img_size": True, "position_resize": "deit"}, [(48, 24)]),
    "any size of DINOv2's positions": (
        {"dynamic_img_size": True, "position_resize": "dinov2_registers"},
        [(48, 24)],
    ),
    "any size of aligned corners": ({"dynamic_img_size": True, "position_resize": "torchvision"}, [(8, 56)]),
    "hybrid": ({"stem_blocks": (1, 2)}, [(32, 32)]),
    "hybrid of any size": ({"stem_blocks": (), "stem_norms": "google", "dynamic_img_size": True}, [(32, 32), (16, 48)]),
}

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
ENGINES = ["paddle", "onnxruntime", "openvino"]
EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES)


def build(tiny, family):
    """The model and the sizes (height, width) to run it at."""
    options, sizes = FAMILIES[family]
    options = dict(options)
    return tiny(options.pop("model_class", vitlib.VisionTransformer), **options), sizes


def need(engine):
    """Skip where an engine is not installed; Paddle's own must be."""
    if engine != "paddle":
        pytest.importorskip("onnx")
        pytest.importorskip(engine)


def eager(model, images):
    with paddle.no_grad():
        return model(images).numpy()


def close(found, expected, tolerance=1e-5):
    """Whether two arrays agree, as a share of the largest expected number."""
    assert found.shape == expected.shape
    assert abs(found - expected).max() <= tolerance * abs(expected).max()


def computed(graph, images):
    """The one output of an inference graph, by Paddle's functions."""
    weights = {name: paddle.to_tensor(array) for name, array in graph.weights.items()}
    with paddle.no_grad():
        (output,) = run_graph(graph, weights, images)
    return output.numpy()
