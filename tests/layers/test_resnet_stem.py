"""The ResNet of hybrids; what the whole computes is compared with timm and vit_jax in tests/weights/test_hybrids.py."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from vitlib.layers import HybridEmbed
from vitlib.layers.resnet_stem import StandardizedConv, StemNorm


def test_scale_and_mean_of_a_weight_do_not_matter_once_it_is_standardised():
    conv = StandardizedConv(3, 8, 3, out_stride=1)
    x = paddle.randn([2, 3, 6, 6])
    before = conv(x).numpy()
    conv.weight.set_value(conv.weight * 300 + 70)
    conv_after = conv(x).numpy()
    np.testing.assert_allclose(conv_after, before, atol=1e-3 * abs(before).max())


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2)])
@pytest.mark.parametrize("side", [8, 9])
def test_padding_is_tensorflow_s_the_odd_zero_at_the_right_and_bottom(kernel, stride, side):
    conv = StandardizedConv(16, 4, kernel, stride, out_stride=stride)
    x = paddle.randn([1, 16, side, side])
    out = -(-side // stride)
    total = max((out - 1) * stride + kernel - side, 0)  # tensorflow.nn.convolution, "SAME"
    padded = F.pad(x, [total // 2, total - total // 2] * 2)
    w = conv.weight.numpy().astype("float64")
    w = (w - w.mean((1, 2, 3), keepdims=True)) / w.std((1, 2, 3), keepdims=True)
    expected = F.conv2d(padded, paddle.to_tensor(w.astype("float32")), stride=stride)
    found = conv(x)
    assert list(found.shape) == [1, 4, out, out]
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


def test_a_group_norm_of_features_has_32_groups_and_the_epsilon_of_its_codebase():
    embed = HybridEmbed(16, 8, 3, 12, stem_blocks=(1,), stem_norms="google")
    norms = [layer for layer in embed.sublayers() if isinstance(layer, StemNorm)]
    assert len(norms) == 5
    assert {(norm._num_groups, norm._epsilon) for norm in norms} == {(32, 1e-6)}
    embed.set_stem_norms("timm")
    assert {norm._epsilon for norm in norms} == {1e-5}


def test_the_embedding_stands_alone_on_images():
    embed = HybridEmbed((16, 32), 8, 1, 12, stem_blocks=(1, 1), bias=False)
    assert embed(paddle.randn([2, 1, 16, 32])).shape == [2, 8, 12]
    as_map = HybridEmbed(16, 8, 3, 12, stem_blocks=(), flatten=False)
    assert as_map(paddle.randn([2, 3, 16, 16])).shape == [2, 12, 2, 2]
    with pytest.raises(TypeError, match="stem_bocks"):
        HybridEmbed(16, 8, 3, 12, stem_blocks=(), stem_bocks=(1,))


@pytest.mark.parametrize("patch", [20, 8, (16, 24)])
def test_a_patch_that_is_not_whole_features_is_refused(patch):
    with pytest.raises(ValueError, match="16 x 16 pixels, which does not divide patch_size"):
        HybridEmbed(240, patch, 3, 8, stem_blocks=(1, 1, 1))
