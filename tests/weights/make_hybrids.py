"""Writes families/expected_hybrids.npz: what timm's hybrids compute with the weights of hybrid_weights.py.

Runs where torch and timm are installed, never in the tests: python make_hybrids.py. Computed in float64. `NAME:x` and
`NAME:timm` are images and logits, `NAME:x2` and `NAME:timm2` those at another, oblong size. `NAME:google` and
`NAME:google2` are as vit_jax computes (models_resnet.py, models_vit.py): weights divided by their deviation plus 1e-5,
flax's epsilon of 1e-6 in group norms, tanh-approximated GELU, and positions resized by scipy's zoom of order 1. timm's
own converter of .npz files gives the same weights. `two_stages:x3` is of a size that the patch does not divide.
"""

import functools
import pathlib
import sys
import tempfile

import numpy as np
import torch
from hybrid_weights import CASES, SHAPE, google, weights
from timm.layers import HybridEmbed, StdConv2dSame
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import _resnetv2

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
from make_families import resized  # noqa: E402

EXPECTED = {}


def build(case, **options):
    blocks, patch, image, _ = CASES[case]
    stride = 4 << max(len(blocks) - 1, 0)
    embed = functools.partial(HybridEmbed, backbone=_resnetv2(blocks))
    model = VisionTransformer(**SHAPE, img_size=image, patch_size=patch // stride, embed_layer=embed, **options)
    return model.double().eval()


def as_vit_jax(model):
    for layer in model.modules():
        if isinstance(layer, torch.nn.GroupNorm):
            layer.eps = 1e-6
        elif isinstance(layer, torch.nn.GELU):
            layer.approximate = "tanh"
        elif isinstance(layer, StdConv2dSame):
            w = layer.weight.data
            w = w - w.mean((1, 2, 3), keepdim=True)
            standard = w / (w.std((1, 2, 3), keepdim=True, correction=0) + 1e-5)
            layer.forward = functools.partial(convolve, layer, standard)
    return model


def convolve(layer, weight, x):
    from timm.layers.padding import pad_same

    if layer.same_pad:
        x = pad_same(x, layer.kernel_size, layer.stride)
    return torch.nn.functional.conv2d(x, weight, None, layer.stride, layer.padding)


def aligned(grid, size):
    return torch.nn.functional.interpolate(grid, size, mode="bilinear", align_corners=True)


def at_another_size(model, patch):
    """As `resized` of make_families, for patches of another size than 4."""

    def run(x):
        small = torch.zeros(1, 3, *(4 * side // patch for side in x.shape[2:]))
        return resized(_WithImages(model, x), aligned, 1)(small)

    return run


class _WithImages(torch.nn.Module):
    def __init__(self, model, x):
        super().__init__()
        self.model, self.x = model, x
        self.pos_embed, self.patch_embed = model.pos_embed, model.patch_embed

    def forward(self, _):
        return self.model(self.x)


def main():
    for number, (case, (_, patch, image, other)) in enumerate(CASES.items()):
        state = {name: torch.tensor(array).double() for name, array in weights(case).items()}
        model, free = build(case), build(case, dynamic_img_size=True)
        model.load_state_dict(state)
        free.load_state_dict(state)
        for old in (False, True):
            with tempfile.NamedTemporaryFile(suffix=".npz") as file:
                np.savez(file, **google(case, old=old))
                file.flush()
                converted = build(case)
                converted.load_pretrained(file.name)
            for name, value in converted.state_dict().items():
                torch.testing.assert_close(value, state[name], rtol=0, atol=0)
        rng = np.random.default_rng(number)
        for key, size, run in (("", (image, image), model), ("2", other, free)):
            x = rng.standard_normal((2, 3, *size)).astype("float32")
            with torch.no_grad():
                EXPECTED[f"{case}:x{key}"], EXPECTED[f"{case}:timm{key}"] = x, run(torch.tensor(x).double()).numpy()
        if case == "two_stages":  # the features, 5 x 7, are padded to patches of two
            padded = build(case, dynamic_img_size=True)
            padded.patch_embed.dynamic_img_pad = True
            padded.load_state_dict(state)
            x = rng.standard_normal((2, 3, 36, 50)).astype("float32")
            with torch.no_grad():
                EXPECTED[f"{case}:x3"] = x
                EXPECTED[f"{case}:timm3"] = padded(torch.tensor(x).double()).numpy()
        as_vit_jax(model)
        for key, run in (("", model), ("2", at_another_size(model, patch))):
            with torch.no_grad():
                EXPECTED[f"{case}:google{key}"] = run(torch.tensor(EXPECTED[f"{case}:x{key}"]).double()).numpy()
        print(case, {k: np.round(EXPECTED[f"{case}:{k}"][0], 4) for k in ("timm", "google", "timm2", "google2")})
    np.savez_compressed(HERE / "families" / "expected_hybrids.npz", **EXPECTED)


if __name__ == "__main__":
    main()
