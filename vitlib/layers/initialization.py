"""Weight initialisation by name, one scheme for each codebase of the field.

Initialisers are given where a parameter is created, so a model built under `paddle.LazyGuard` allocates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import paddle
from paddle.nn import initializer as I

from .linear import Linear


def truncated_normal(std: float, cut: float = 5.0) -> I.Initializer:
    """N(0, std²) without the values beyond `cut` standard deviations.

    timm and DeiT cut at an absolute ±2, which for their std of 0.02 is no cut at all. Paddle's own default is the same,
    but its inverse-CDF sampling then returns exactly -2.0 now and then: one weight of a hundred standard deviations.
    """
    return I.TruncatedNormal(mean=0.0, std=std, a=-cut * std, b=cut * std)


# Initialisers as functions of (fan_in, fan_out)
RULES: dict[str, Callable[[int, int], I.Initializer]] = {
    "zeros": lambda fan_in, fan_out: I.Constant(0.0),
    "truncated_normal": lambda fan_in, fan_out: truncated_normal(0.02),
    "tiny_normal": lambda fan_in, fan_out: I.Normal(0.0, 1e-6),
    "normal_by_width": lambda fan_in, fan_out: I.Normal(0.0, 1 / math.sqrt(fan_out)),
    # variance 1/fan_in after cutting at two standard deviations, which leaves a deviation of 0.8796
    "lecun_normal": lambda fan_in, fan_out: truncated_normal(1 / math.sqrt(fan_in) / 0.87962566103423978, cut=2.0),
    "xavier": lambda fan_in, fan_out: I.XavierUniform(fan_in=fan_in, fan_out=fan_out),
    # for the fused weight [D, 3·D], as if q, k and v were made one by one
    "xavier_qkv": lambda fan_in, fan_out: I.XavierUniform(fan_in=fan_in, fan_out=fan_out // 3),
    # variance 2/fan_in, as the ReLU after it halves it (arXiv 1502.01852)
    "he_normal": lambda fan_in, fan_out: I.Normal(0.0, math.sqrt(2 / fan_in)),
    # PyTorch's default for the weight and bias of a convolution
    "torch_conv": lambda fan_in, fan_out: I.Uniform(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in)),
    # a sigmoid head starts at the prior of its classes: -6.9 for 1,000 of them, -10.0 for 21,843
    "log_prior": lambda fan_in, fan_out: I.Constant(-math.log(max(fan_out, 1))),
}

_TIMM = {
    "linear": "truncated_normal",
    "linear_bias": "zeros",
    "qkv": "truncated_normal",
    "mlp_bias": "zeros",
    "patch": "torch_conv",
    "patch_bias": "torch_conv",
    "stem": "he_normal",
    "cls_token": "tiny_normal",
    "dist_token": "truncated_normal",
    "reg_token": "tiny_normal",
    "pos_embed": "truncated_normal",
    "head": "truncated_normal",
    "head_bias": "zeros",
}

_JAX = {
    **_TIMM,
    "linear": "xavier",
    "qkv": "xavier",
    "mlp_bias": "tiny_normal",
    "patch": "lecun_normal",
    "patch_bias": "zeros",
    "head": "zeros",
}

# scheme -> kind of parameter -> rule
SCHEMES: dict[str, dict[str, str]] = {
    "timm": _TIMM,  # timm `init_weights_vit_timm`
    "deit": {**_TIMM, "cls_token": "truncated_normal"},  # facebook's DeiT
    "jax": _JAX,  # timm `init_weights_vit_jax`, after Google's vision_transformer
    "big_vision": {  # Google's big_vision `models/vit.py`
        **_JAX,
        **dict.fromkeys(("cls_token", "dist_token", "reg_token"), "zeros"),
        "qkv": "xavier_qkv",
        "pos_embed": "normal_by_width",
        "head_bias": "log_prior",
    },
}


def attr(scheme: str, kind: str, fan_in: int, fan_out: int) -> paddle.ParamAttr:
    """The attribute that creates a parameter of this kind under this scheme.

    Raises ValueError for an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown weight_init {scheme!r}; there are {', '.join(map(repr, SCHEMES))}")
    return paddle.ParamAttr(initializer=RULES[SCHEMES[scheme][kind]](fan_in, fan_out))


def linear(
    in_features: int,
    out_features: int,
    scheme: str,
    *,
    kind: str = "linear",
    bias_kind: str = "linear_bias",
    bias: bool = True,
) -> Linear:
    """A `paddle.nn.Linear` (weight [in, out]), quick to train on a CPU, initialised by a scheme."""
    weight = attr(scheme, kind, in_features, out_features)
    return Linear(
        in_features, out_features, weight, attr(scheme, bias_kind, in_features, out_features) if bias else False
    )
