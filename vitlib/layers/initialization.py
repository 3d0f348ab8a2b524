"""Weight initialisation by name: what each codebase of the field starts its parameters from.

A scheme is a row of `SCHEMES`; a layer asks it for the initialiser of each of its parameters at creation, so that a
model built under `paddle.LazyGuard` allocates nothing. Initialisers are functions of (fan_in, fan_out).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import paddle
from paddle.nn import initializer as I

from .linear import Linear

Rule = Callable[[int, int], I.Initializer]


def truncated_normal(std: float, cut: float = 5.0) -> I.Initializer:
    """N(0, std²) without the values beyond `cut` standard deviations.

    timm and DeiT cut at an absolute ±2, which for their std of 0.02 is no cut at all. Paddle's own default is the same,
    but its inverse-CDF sampling then returns exactly -2.0 now and then: one weight of a hundred standard deviations.
    """
    return I.TruncatedNormal(mean=0.0, std=std, a=-cut * std, b=cut * std)


def _tn02(fan_in: int, fan_out: int) -> I.Initializer:
    return truncated_normal(0.02)


def _tiny_normal(fan_in: int, fan_out: int) -> I.Initializer:
    return I.Normal(0.0, 1e-6)


def _zeros(fan_in: int, fan_out: int) -> I.Initializer:
    return I.Constant(0.0)


def _xavier(fan_in: int, fan_out: int) -> I.Initializer:
    return I.XavierUniform(fan_in=fan_in, fan_out=fan_out)


def _xavier_per_matrix(fan_in: int, fan_out: int) -> I.Initializer:
    """For the fused qkv weight [D, 3·D], as if q, k and v were made one by one."""
    return I.XavierUniform(fan_in=fan_in, fan_out=fan_out // 3)


def _torch_conv(fan_in: int, fan_out: int) -> I.Initializer:
    """PyTorch's default for convolution weight and bias: uniform in ±1/√fan_in."""
    return I.Uniform(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


def _lecun_normal(fan_in: int, fan_out: int) -> I.Initializer:
    """Variance 1/fan_in after cutting at two standard deviations (0.8796 is the deviation that such a cut leaves)."""
    return truncated_normal(1 / math.sqrt(fan_in) / 0.87962566103423978, cut=2.0)


def _normal_by_width(fan_in: int, fan_out: int) -> I.Initializer:
    return I.Normal(0.0, 1 / math.sqrt(fan_out))


def _log_prior(fan_in: int, fan_out: int) -> I.Initializer:
    """-ln(classes), so that a sigmoid head starts at the prior: -6.9 for 1,000 classes, -10.0 for 21,843."""
    return I.Constant(-math.log(max(fan_out, 1)))


_TIMM: dict[str, Rule] = {
    "linear": _tn02,
    "linear_bias": _zeros,
    "qkv": _tn02,
    "mlp_bias": _zeros,
    "patch": _torch_conv,
    "patch_bias": _torch_conv,
    "cls_token": _tiny_normal,
    "dist_token": _tn02,
    "reg_token": _tiny_normal,
    "pos_embed": _tn02,
    "head": _tn02,
    "head_bias": _zeros,
}

SCHEMES: dict[str, dict[str, Rule]] = {
    "timm": _TIMM,  # timm `init_weights_vit_timm`
    "deit": {**_TIMM, "cls_token": _tn02},  # facebook's DeiT
    "jax": {  # timm `init_weights_vit_jax`, after Google's vision_transformer
        **_TIMM,
        "linear": _xavier,
        "qkv": _xavier,
        "mlp_bias": _tiny_normal,
        "patch": _lecun_normal,
        "patch_bias": _zeros,
        "head": _zeros,
    },
    "big_vision": {  # Google's big_vision `models/vit.py`
        "linear": _xavier,
        "linear_bias": _zeros,
        "qkv": _xavier_per_matrix,
        "mlp_bias": _tiny_normal,
        "patch": _lecun_normal,
        "patch_bias": _zeros,
        "cls_token": _zeros,
        "dist_token": _zeros,
        "reg_token": _zeros,
        "pos_embed": _normal_by_width,
        "head": _zeros,
        "head_bias": _log_prior,
    },
}


def attr(scheme: str, kind: str, fan_in: int, fan_out: int) -> paddle.ParamAttr:
    """The attribute that creates a parameter of this kind under this scheme.

    Raises ValueError for an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown weight_init {scheme!r}; there are {', '.join(map(repr, SCHEMES))}")
    return paddle.ParamAttr(initializer=SCHEMES[scheme][kind](fan_in, fan_out))


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
    return Linear(
        in_features,
        out_features,
        weight_attr=attr(scheme, kind, in_features, out_features),
        bias_attr=attr(scheme, bias_kind, in_features, out_features) if bias else False,
    )
