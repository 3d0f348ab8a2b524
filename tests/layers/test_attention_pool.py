"""Attention pooling and the gated MLP against their equations."""

import numpy as np
import paddle
import pytest

from vitlib.layers import MLP, AttentionPool, GatedMLP, MultiHeadAttention


def test_the_pool_attends_as_multi_head_attention_does_with_one_query():
    """timm's AttentionPoolLatent: y = MSA(latent; tokens), y + MLP(LN(y))."""
    pool, attention = AttentionPool(24, 3, 48), MultiHeadAttention(24, 3)
    for parameter in pool.parameters():
        parameter.set_value(paddle.randn(parameter.shape) * 0.3)
    x = paddle.randn([2, 5, 24])
    q = pool.q(pool.latent).expand([2, 1, 24]).reshape([2, 1, 3, 8])
    k, v = pool.kv(x).reshape([2, 5, 2, 3, 8]).unbind(2)
    y = pool.proj(attention.attend(q, k, v).flatten(1))
    expected = y + pool.mlp(pool.norm(y))
    np.testing.assert_allclose(pool(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_weights_of_the_pool_are_the_softmax_of_the_scaled_products():
    pool, x = AttentionPool(24, 3, 48), paddle.randn([2, 5, 24])
    for parameter in pool.parameters():
        parameter.set_value(paddle.randn(parameter.shape) * 0.3)
    pooled, weights = pool.pooled_with_weights(x)
    q = pool.q(pool.latent).numpy().reshape(3, 8)
    k = pool.kv(x).numpy().reshape(2, 5, 2, 3, 8)[:, :, 0]
    products = np.exp(np.einsum("hd,bnhd->bhn", q, k) / np.sqrt(8))
    np.testing.assert_allclose(weights.numpy()[:, :, 0], products / products.sum(-1, keepdims=True), rtol=1e-4)
    np.testing.assert_array_equal(pooled.numpy(), pool(x).numpy())


def test_the_order_of_the_tokens_does_not_matter_to_the_pool():
    pool = AttentionPool(24, 3, 48)
    x = paddle.randn([2, 5, 24])
    np.testing.assert_allclose(pool(x).numpy(), pool(x[:, ::-1]).numpy(), atol=1e-5)


@pytest.mark.parametrize("heads", [5, 0, -2, 2.0])
def test_heads_that_do_not_divide_the_width_are_refused(heads):
    with pytest.raises(ValueError, match="does not divide"):
        AttentionPool(24, heads, 48)


def test_a_gate_of_any_sign_multiplies_the_hidden_layer():
    """SwiGLU (arXiv 2002.05202, equation 6): (SiLU(x·W) · x·V)·W2, here with biases."""
    mlp = GatedMLP(6, 10, activation="silu")
    assert mlp.fc1.weight.shape == [6, 20]
    assert mlp.fc2.weight.shape == [10, 6]
    x = paddle.randn([2, 3, 6])
    w, b = mlp.fc1.weight.numpy(), mlp.fc1.bias.numpy()
    gate, value = x.numpy() @ w[:, :10] + b[:10], x.numpy() @ w[:, 10:] + b[10:]
    expected = (gate / (1 + np.exp(-gate)) * value) @ mlp.fc2.weight.numpy() + mlp.fc2.bias.numpy()
    np.testing.assert_allclose(mlp(x).numpy(), expected, atol=1e-6)


def test_a_plain_mlp_has_no_gate():
    assert MLP(6, 10).fc1.weight.shape == [6, 10]
