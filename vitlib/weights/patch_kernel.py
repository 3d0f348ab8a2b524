"""Patch kernels for another number of channels or another patch size."""

from __future__ import annotations

import numpy as np

from ..layers.position import resize_matrix


def convert_channels(kernel: np.ndarray, in_chans: int) -> np.ndarray:
    """A patch kernel [D, C, P, P] for another number of channels, as timm does: one channel gets the sum over the old
    ones, more repeat them in turn, scaled by old/new so that the response stays as large."""
    old = kernel.shape[1]
    if in_chans == 1:
        return kernel.sum(axis=1, keepdims=True)
    repeated = np.concatenate([kernel] * (-(-in_chans // old)), axis=1)[:, :in_chans]
    return repeated * np.asarray(old / in_chans, kernel.dtype)


def resize_patches(kernel: np.ndarray, patch: tuple[int, int]) -> np.ndarray:
    """A patch kernel [D, C, P, P] for another patch size (FlexiViT, arXiv 2212.08013, §3.4): kernel · pinv(B), B the
    matrix that resizes images (bicubic, antialiased, as timm's `resample_patch_embed`)."""
    sides = zip(kernel.shape[2:], patch, strict=True)
    rows, columns = (np.linalg.pinv(resize_matrix(old, new, "timm").numpy().T) for old, new in sides)
    return (rows @ kernel.astype("float64") @ columns.T).astype(kernel.dtype)
