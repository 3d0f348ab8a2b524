"""Initialiser of a model's parameter, by its name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import paddle

from ..images.checks import did_you_mean
from ..layers.initialization import attr, truncated_normal

if TYPE_CHECKING:
    from .vision_transformer import VisionTransformer

# pattern of the whole name -> kind of parameter in `vitlib.layers.initialization.SCHEMES`
_KINDS = {
    r"patch_embed\.proj\.weight": "patch",
    r"patch_embed\.proj\.bias": "patch_bias",
    r"patch_embed\.stem\.\d+\.conv\.weight": "stem",
    r"blocks\.\d+\.attn\.qkv\.weight": "qkv",
    r"(blocks\.\d+\.(attn\.proj|mlp\.fc[12])|pre_logits\.fc|attn_pool\.(q|kv|proj|mlp\.fc[12]))\.weight": "linear",
    r"(blocks\.\d+\.attn\.(qkv|proj)|pre_logits\.fc|attn_pool\.(q|kv|proj))\.bias": "linear_bias",
    r"(blocks\.\d+|attn_pool)\.mlp\.fc[12]\.bias": "mlp_bias",
    r"head(_dist)?\.weight": "head",
    r"head(_dist)?\.bias": "head_bias",
}
_NORM = r"(norm|norm_pre|fc_norm|attn_pool\.norm|blocks\.\d+\.(norm[12]|attn\.[qk]_norm))\.(weight|bias)"
_STEM_NORM = r"patch_embed\.stem\.\d+\.norm\.(weight|bias|_mean|_variance)"
_LAYER_SCALE = r"blocks\.\d+\.ls[12]\.gamma"


def draw(model: VisionTransformer, name: str, parameters: Mapping[str, paddle.Tensor]) -> None:
    """Give a parameter new initial values, those of config.weight_init; the object stays.

    Raises ValueError for a name that a ViT or DeiT does not have.
    """
    if name not in parameters:
        raise ValueError(f"this model has no parameter {name!r}{did_you_mean(name, parameters)}")
    parameter = parameters[name]
    if not parameter._is_initialized():
        parameter.initialize()
        return
    # in full precision: on a CPU there are no random numbers in half
    dtype = "float64" if parameter.dtype == paddle.float64 else "float32"
    if name == "pos_embed":
        fresh = model.make_position_table()
    else:
        fresh = model.create_parameter(parameter.shape, attr=_attribute(model, name, parameters), dtype=dtype)
    with paddle.no_grad():
        parameter.set_value(fresh.astype(parameter.dtype))


def _attribute(model: VisionTransformer, name: str, parameters: Mapping[str, paddle.Tensor]) -> paddle.ParamAttr:
    config = model.config
    if found := re.fullmatch(_NORM, name):
        return paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(1.0 if found[3] == "weight" else 0.0))
    if found := re.fullmatch(_STEM_NORM, name):
        return paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(float(found[1] in ("weight", "_variance"))))
    if re.fullmatch(_LAYER_SCALE, name):
        return paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(config.init_values))
    if re.fullmatch(r"(cls|dist|reg)_token", name):
        return attr(config.weight_init, name, config.embed_dim, config.embed_dim)
    if name == "attn_pool.latent":
        return paddle.ParamAttr(initializer=truncated_normal(1 / math.sqrt(config.embed_dim)))
    kind = next((kind for pattern, kind in _KINDS.items() if re.fullmatch(pattern, name)), None)
    if kind is None:
        raise ValueError(
            f"{name!r} is not a parameter of a plain ViT or DeiT, so its initial values are not known here; the class "
            f"that has it, {type(model).__name__}, can draw them"
        )
    shape = parameters[re.sub("bias$", "weight", name)].shape
    fan_in, fan_out = (math.prod(shape[1:]), shape[0]) if len(shape) == 4 else shape
    return attr(config.weight_init, kind, fan_in, fan_out)
