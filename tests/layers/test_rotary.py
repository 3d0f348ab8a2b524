"""Rotary positions: DINOv3's angles, products that depend on distance, and prefix tokens that stay."""

import numpy as np
import paddle
import pytest
from conftest import TINY

import vitlib
from vitlib.layers import EncoderBlock, MultiHeadAttention, RotaryAttention, RotaryBlock, RotaryPositions
from vitlib.layers.rotary import rotate


def original(grid, head_dim, base=100.0):
    """DINOv3's `RopePositionEmbedding`, written again in NumPy: angles [N, d]."""
    periods = base ** (2 * np.arange(head_dim // 4) / (head_dim // 2))
    centres = [(np.arange(count) + 0.5) / count for count in grid]
    coords = 2.0 * np.stack(np.meshgrid(*centres, indexing="ij"), -1).reshape(-1, 2) - 1.0
    angles = 2 * np.pi * coords[:, :, None] / periods
    return np.tile(angles.reshape(len(coords), -1), 2)


@pytest.mark.parametrize("grid", [(3, 5), (1, 1), (7, 2)])
def test_the_angles_are_those_of_dinov3_for_any_grid(grid):
    cos, sin = RotaryPositions(16, 100.0)(grid).numpy()
    angles = original(grid, 16)
    np.testing.assert_allclose(cos, np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(sin, np.sin(angles), atol=1e-6)


def test_prefix_tokens_are_not_turned():
    rotary = RotaryPositions(8, num_prefix_tokens=3)((2, 2))
    x = paddle.randn([2, 7, 1, 8])
    turned = rotate(x, rotary)
    np.testing.assert_array_equal(turned[:, :3].numpy(), x[:, :3].numpy())
    assert (turned[:, 3:] - x[:, 3:]).abs().min() > 0


def test_turning_keeps_lengths_and_products_depend_on_the_distance_alone():
    rotary = RotaryPositions(16)((1, 6))
    q, k = (paddle.randn([1, 1, 1, 16]).expand([1, 6, 1, 16]) for _ in "qk")
    turned_q, turned_k = rotate(q, rotary), rotate(k, rotary)
    np.testing.assert_allclose(turned_q.norm(axis=-1).numpy(), q.norm(axis=-1).numpy(), rtol=1e-5)
    products = (turned_q[0, :, 0] @ turned_k[0, :, 0].T).numpy()
    for offset in range(-4, 5):
        diagonal = np.diagonal(products, offset)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-4)


def test_attention_with_angles_of_zero_is_plain_attention():
    plain, rotary = MultiHeadAttention(32, 4), RotaryAttention(32, 4)
    rotary.set_state_dict(plain.state_dict())
    none = paddle.stack([paddle.ones([6, 8]), paddle.zeros([6, 8])])
    x = paddle.randn([2, 6, 32])
    np.testing.assert_allclose(rotary(x, rotary=none).numpy(), plain(x).numpy(), atol=1e-6)
    np.testing.assert_allclose(
        rotary.attention_weights(x, rotary=none).numpy(), plain.attention_weights(x).numpy(), atol=1e-6
    )


def test_the_weights_are_those_that_forward_uses():
    attention, turns = RotaryAttention(32, 4), RotaryPositions(8)((2, 3))
    x = paddle.randn([2, 6, 32])
    _, _, v = attention.project_qkv(x, turns)
    read = attention.attention_weights(x, rotary=turns) @ v.transpose([0, 2, 1, 3])
    expected = attention.merge(read.transpose([0, 2, 1, 3]))
    np.testing.assert_allclose(attention(x, rotary=turns).numpy(), expected.numpy(), atol=1e-6)


def test_heads_whose_width_is_no_multiple_of_four_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        RotaryPositions(6)


def test_a_block_that_takes_no_rotary_positions_is_refused_with_the_class_to_derive_from():
    class Block(EncoderBlock):
        pass

    class Net(vitlib.VisionTransformer):
        block_class = Block

    with pytest.raises(TypeError, match=r"vitlib\.layers\.RotaryBlock"):
        Net(embed_dim=16, depth=1, num_heads=2, pos_embed="rotary")


def test_a_subclass_of_the_rotary_block_is_used():
    class Attention(RotaryAttention):
        def attend(self, q, k, v, mask=None):
            return super().attend(q, k, v, mask) * 2

    class Block(RotaryBlock):
        attention_class = Attention

    class Net(vitlib.VisionTransformer):
        block_class = Block

    model = Net(img_size=8, patch_size=4, embed_dim=16, depth=1, num_heads=2, pos_embed="rotary")
    assert type(model.blocks[0].attn) is Attention
    assert vitlib.attention_maps(model, paddle.randn([1, 3, 8, 8]))[0].shape == [1, 2, 5, 5]


class ReversedValues(RotaryAttention):
    def attend(self, q, k, v, mask=None):
        return vitlib.MultiHeadAttention.attend(self, q, k, v.flip(1), mask)


def test_a_subclass_of_rotary_attention_gives_the_same_when_it_is_traced():
    block = type("Block", (RotaryBlock,), {"attention_class": ReversedValues})
    model = type("Net", (vitlib.VisionTransformer,), {"block_class": block})(**TINY, pos_embed="rotary")
    model.eval()
    x = paddle.randn([2, 3, 32, 32])
    expected = model(x)
    traced = paddle.jit.to_static(model, full_graph=True)
    assert float((traced(x) - expected).abs().max()) < 1e-5
