"""From a codebase's tensor layouts to vitlib's, one parameter at a time, and back."""

from __future__ import annotations

import re

import numpy as np

_LINEAR = re.compile(r"(^|\.)(qkv|attn\.proj|fc1|fc2|head|head_dist|pre_logits\.fc|attn_pool\.(q|kv|proj))\.weight$")
_CONVOLUTION = re.compile(r"^patch_embed\.(proj|backbone\..*conv[123]?)\.weight$")
_TOKENS = ("cls_token", "reg_token", "pos_embed")
# Of attention, split by heads: projections from the tokens, and back to them
_JAX_HEADS = re.compile(r"(attn\.qkv|attn_pool\.(q|kv))\.(weight|bias)$")
_GROUP_NORM = re.compile(r"^patch_embed\.backbone\..*norm[123]?\.(weight|bias)$")  # [1, 1, 1, C] in older files
_JAX_MERGE = re.compile(r"(attn|attn_pool)\.proj\.weight$")


def is_linear(name: str) -> bool:
    """Whether a parameter of this name is the weight of a linear layer."""
    return bool(_LINEAR.search(name))


def to_vitlib(name: str, layout: str, arrays: list[np.ndarray]) -> np.ndarray:
    """Tensors of a dialect's layout as one parameter of vitlib's: linear weights [in, out], convolutions OIHW, tokens
    and position tables [1, P, D]."""
    if name in _TOKENS:
        arrays = [array.reshape(token_shape(array.shape)) for array in arrays]
    if layout == "jax":
        arrays = [_from_jax(name, array) for array in arrays]
    elif layout == "torch" and is_linear(name):
        arrays = [array.T if array.ndim == 2 else array for array in arrays]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)


def token_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[D] or [P, D] as [1, P, D]."""
    return (*(1,) * (3 - len(shape)), *shape)


def from_vitlib(name: str, layout: str, array: np.ndarray, parts: int, num_heads: int) -> list[np.ndarray]:
    """The inverse of `to_vitlib`, for as many tensors as the dialect spells the parameter with."""
    arrays = np.split(array, parts, axis=-1) if parts > 1 else [array]
    if layout == "jax":
        return [_to_jax(name, piece, num_heads) for piece in arrays]
    if layout == "torch" and is_linear(name):
        return [piece.T for piece in arrays]
    return arrays


def shape_in_vitlib(name: str, layout: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `to_vitlib` gives a single tensor. Raises ValueError for a rank that its layout does not have."""
    if name in _TOKENS and shape:
        return token_shape(shape)
    if layout == "jax":
        rank = _jax_rank(name) or len(shape)
        if len(shape) != rank:
            raise ValueError(f"expected rank {rank}")
        if _CONVOLUTION.match(name):
            return shape[3], shape[2], shape[0], shape[1]
        if _GROUP_NORM.match(name) and shape[:-1] == (1, 1, 1):
            return shape[3:]
        if _JAX_HEADS.search(name):
            return *shape[:-2], shape[-2] * shape[-1]
        if _JAX_MERGE.search(name):
            return shape[0] * shape[1], shape[2]
    elif layout == "torch" and is_linear(name) and len(shape) == 2:
        return shape[::-1]
    return shape


def _jax_rank(name: str) -> int | None:
    if heads := _JAX_HEADS.search(name):
        return 3 if heads[3] == "weight" else 2
    return 3 if _JAX_MERGE.search(name) else 4 if _CONVOLUTION.match(name) else None


def heads_in_shape(name: str, layout: str, shape: tuple[int, ...]) -> int | None:
    """The number of attention heads, where a tensor of this parameter shows it."""
    return shape[-2] if layout == "jax" and "attn.qkv" in name and len(shape) >= 2 else None


def _from_jax(name: str, array: np.ndarray) -> np.ndarray:
    if _CONVOLUTION.match(name):
        return array.transpose(3, 2, 0, 1)
    if _GROUP_NORM.match(name):
        return array.reshape(-1)
    if _JAX_HEADS.search(name):  # [D, heads, d] or [heads, d]
        return array.reshape(*array.shape[:-2], -1)
    if _JAX_MERGE.search(name):  # [heads, d, D]
        return array.reshape(-1, array.shape[-1])
    return array


def _to_jax(name: str, array: np.ndarray, num_heads: int) -> np.ndarray:
    if _CONVOLUTION.match(name):
        return array.transpose(2, 3, 1, 0)
    if _JAX_HEADS.search(name):
        return array.reshape(*array.shape[:-1], num_heads, -1)
    if _JAX_MERGE.search(name):
        return array.reshape(num_heads, -1, array.shape[-1])
    return array
