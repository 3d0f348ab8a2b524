"""Multi-head attention against its definition (ViT paper, appendix A), fused and explicit, masked, and overridden."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from conftest import difference, refused

import vitlib

BATCH, TOKENS, WIDTH, HEADS = 2, 7, 12, 3


def make(cls=vitlib.MultiHeadAttention, width=WIDTH, heads=HEADS, **options):
    """An attention in eval mode whose every parameter is large enough to matter."""
    paddle.seed(0)
    layer = cls(width, heads, **options)
    rng = np.random.default_rng(0)
    for parameter in layer.parameters():
        parameter.set_value((parameter.numpy() + 0.4 * rng.standard_normal(parameter.shape)).astype("float32"))
    layer.eval()
    return layer


def tokens(n=TOKENS, width=WIDTH, seed=1):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal([BATCH, n, width]).astype("float32"))


def layer_norm(x, norm):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * norm.weight.numpy() + norm.bias.numpy()


def definition(layer, x, mask=None, mix=lambda weights: weights):
    """Equations 5 to 8 in NumPy float64: (weights [B, H, N, N], output [B, N, D])."""
    x = x.numpy().astype("float64")
    b, n, width = x.shape
    qkv = x @ layer.qkv.weight.numpy().astype("float64")
    if layer.qkv.bias is not None:
        qkv = qkv + layer.qkv.bias.numpy()
    q, k, v = qkv.reshape(b, n, 3, layer.num_heads, -1).transpose(2, 0, 3, 1, 4)  # each [B, H, N, d]
    if isinstance(layer.q_norm, paddle.nn.LayerNorm):
        q, k = layer_norm(q, layer.q_norm), layer_norm(k, layer.k_norm)
    logits = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    if mask is not None:
        mask = mask.numpy()
        logits = logits + (np.where(mask, 0, -np.inf) if mask.dtype == bool else mask)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights = mix(weights / weights.sum(-1, keepdims=True))
    merged = (weights @ v).transpose(0, 2, 1, 3).reshape(b, n, width)
    return weights, merged @ layer.proj.weight.numpy() + layer.proj.bias.numpy()


def masks():
    rng = np.random.default_rng(2)
    causal = np.tril(np.ones([TOKENS, TOKENS], bool))
    keys = np.ones([BATCH, 1, 1, TOKENS], bool)
    keys[0, ..., 4:] = keys[1, ..., :2] = False
    return {
        "none": None,
        "boolean [N, N]": causal,
        "boolean [1, 1, N, N]": causal[None, None],
        "boolean [B, 1, 1, N]": keys,
        "boolean [B, 1, N, N]": keys & causal[None, None] | np.eye(TOKENS, dtype=bool),
        "additive [N, N]": rng.standard_normal([TOKENS, TOKENS]).astype("float32"),
        "additive [1, H, N, N]": 3 * rng.standard_normal([1, HEADS, TOKENS, TOKENS]).astype("float32"),
        "additive [B, 1, 1, N]": np.where(keys, 0, -1e9).astype("float32"),
        "additive [B, H, N, N]": rng.standard_normal([BATCH, HEADS, TOKENS, TOKENS]).astype("float32"),
        "additive -inf [N, N]": np.where(causal, 0, -np.inf).astype("float32"),
    }


def as_tensor(mask):
    return None if mask is None else paddle.to_tensor(mask)


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"qkv_bias": False}], ids=str)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
@pytest.mark.parametrize("name", masks())
def test_output_and_weights_are_the_papers(name, fused, options):
    layer, x, mask = make(fused=fused, **options), tokens(), as_tensor(masks()[name])
    weights, output = definition(layer, x, mask)
    assert np.abs(layer(x, mask=mask).numpy() - output).max() / np.abs(output).max() < 1e-5
    assert np.abs(layer.attention_weights(x, mask=mask).numpy() - weights).max() < 1e-5


class PaddlesAttention(vitlib.MultiHeadAttention):
    def attend(self, q, k, v, mask=None):
        if mask is not None and mask.dtype == paddle.bool:  # which Paddle 3.0 refuses on the CPU
            mask = paddle.where(mask, paddle.zeros([]), paddle.full([], -1e30))
        return F.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=mask, training=False)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
@pytest.mark.parametrize("name", masks())
def test_gradients_are_those_of_paddles_attention(name, fused):
    grads = []
    c = tokens(seed=3)
    for cls in (PaddlesAttention, vitlib.MultiHeadAttention):
        layer, x, mask = make(cls, fused=fused, qk_norm=True), tokens(), as_tensor(masks()[name])
        x.stop_gradient = False
        (layer(x, mask=mask) * c).sum().backward()
        grads.append([x.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())])
    largest = max(np.abs(g).max() for g in grads[0])
    for expected, grad in zip(*grads, strict=True):
        assert np.abs(grad - expected).max() < 1e-5 * largest


@pytest.mark.parametrize("name", [name for name in masks() if name != "none"])
def test_rows_of_the_weights_sum_to_one_and_leave_out_what_the_mask_forbids(name):
    layer, mask = make(), as_tensor(masks()[name])
    weights = layer.attention_weights(tokens(), mask=mask).numpy()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    array = mask.numpy()
    forbidden = ~array if array.dtype == bool else array < -1e8
    assert (weights[np.broadcast_to(forbidden, weights.shape)] < 1e-20).all()
    assert (weights >= 0).all()


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_a_mask_of_three_axes_is_refused_with_both_ways_out(dtype, fused):
    """Of as many images as heads, it would be taken for one mask a head."""
    layer, x = make(fused=fused), tokens().tile([2, 1, 1])[:HEADS]
    mask = paddle.ones([HEADS, TOKENS, TOKENS], dtype)
    for call in (layer, layer.attention_weights):
        with refused(ValueError, "[3, 7, 7]", "mask.unsqueeze(1)", "mask.unsqueeze(0)", "[B, 1, N, N]", "[1, H, N, N]"):
            call(x, mask=mask)
    assert layer(x, mask=mask.unsqueeze(1)).shape == layer(x, mask=mask.unsqueeze(0)).shape == x.shape


def test_tokens_that_the_mask_hides_cannot_be_felt():
    layer, x = make(), tokens()
    visible = paddle.to_tensor(np.arange(TOKENS) < 4).reshape([1, 1, 1, TOKENS])
    changed = paddle.concat([x[:, :4], x[:, 4:] * 5 - 1], axis=1)
    assert difference(layer(x, mask=visible)[:, :4], layer(changed, mask=visible)[:, :4]) < 1e-6
    assert difference(layer(x)[:, :4], layer(changed)[:, :4]) > 1e-2


def test_attention_does_not_depend_on_the_order_of_tokens():
    layer, x, order = make(), tokens(), [3, 0, 6, 1, 5, 2, 4]
    shuffled = paddle.to_tensor(x.numpy()[:, order])
    np.testing.assert_allclose(layer(shuffled).numpy(), layer(x).numpy()[:, order], atol=1e-5)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
def test_dropout_acts_in_training_alone(fused):
    x = tokens()
    for option in ("attn_drop", "proj_drop"):
        layer, plain = make(fused=fused, **{option: 0.5}), make(fused=fused)
        assert difference(layer(x), plain(x)) == 0
        assert difference(layer.attention_weights(x), plain.attention_weights(x)) == 0
        layer.train()
        assert difference(layer(x), plain(x)) > 1e-2
        assert difference(layer(x), layer(x)) > 1e-2
        assert difference(layer.attention_weights(x), plain.attention_weights(x)) == 0


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
def test_attention_dropout_keeps_the_expectation(fused):
    layer = make(fused=fused, attn_drop=0.3)
    x = tokens().expand([BATCH, TOKENS, WIDTH])
    expected = layer(x)
    layer.train()
    paddle.seed(0)
    many = paddle.stack([layer(x) for _ in range(400)])
    noise = many.std(axis=0) / 20
    assert float(((many.mean(axis=0) - expected).abs() / (noise + 1e-6)).max()) < 5


class Uniform(vitlib.MultiHeadAttention):
    def attend(self, q, k, v, mask=None):
        return v.mean(1, keepdim=True).expand(q.shape)


class TalkingHeads(vitlib.MultiHeadAttention):
    """arXiv 2003.02436, with a mixing of the heads after the softmax."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.mix = self.create_parameter([self.num_heads, self.num_heads])

    def attend(self, q, k, v, mask=None):
        q, k, v = (t.transpose([0, 2, 1, 3]) for t in (q, k, v))
        weights = F.softmax(q @ k.transpose([0, 1, 3, 2]) / self.head_dim**0.5, axis=-1)
        weights = paddle.einsum("ij,bjnm->binm", self.mix, weights)
        return (F.dropout(weights, self.attn_drop, training=self.training) @ v).transpose([0, 2, 1, 3])


class TopTwo(vitlib.MultiHeadAttention):
    def attend(self, q, k, v, mask=None):
        logits = paddle.einsum("bnhd,bmhd->bhnm", q, k) / self.head_dim**0.5
        bound = paddle.topk(logits, 2, axis=-1)[0][..., -1:]
        logits = paddle.where(logits >= bound, logits, paddle.full([], -1e30))
        return paddle.einsum("bhnm,bmhd->bnhd", F.softmax(logits, axis=-1), v)


class Sharper(vitlib.MultiHeadAttention):
    def attend(self, q, k, v, mask=None):
        return super().attend(2 * q, k, v, mask)


def keep_two(weights):
    kept = np.where(weights >= np.sort(weights, -1)[..., -2:-1], weights, 0)
    return kept / kept.sum(-1, keepdims=True)


def squared(weights):
    return weights**2 / (weights**2).sum(-1, keepdims=True)


# d = 4: fewer tokens than a head is wide, as many, more, and no multiple
@pytest.mark.parametrize("n", [1, 3, 4, 7, 8, 9])
@pytest.mark.parametrize("cls", [Uniform, TalkingHeads, TopTwo, Sharper])
def test_weights_of_an_overridden_attend_are_those_that_it_uses(cls, n):
    if cls is TopTwo and n == 1:
        pytest.skip("two of one token")
    layer, x = make(cls), tokens(n)
    mixing = {
        Uniform: lambda weights: np.full_like(weights, 1 / n),
        TalkingHeads: lambda weights: np.einsum("ij,bjnm->binm", layer.mix.numpy(), weights),
        TopTwo: keep_two,
        Sharper: squared,
    }[cls]
    weights, output = definition(layer, x, mix=mixing)
    found = layer.attention_weights(x)
    assert list(found.shape) == [BATCH, HEADS, n, n]
    np.testing.assert_allclose(found.numpy(), weights, atol=1e-5)
    np.testing.assert_allclose(layer(x).numpy(), output, atol=1e-5)


def test_weights_of_an_overridden_attend_respect_the_mask_and_leave_dropout_out():
    layer, x = make(Sharper, attn_drop=0.5), tokens()
    layer.train()
    mask = as_tensor(masks()["boolean [B, 1, 1, N]"])
    weights, _ = definition(layer, x, mask, mix=squared)
    np.testing.assert_allclose(layer.attention_weights(x, mask=mask).numpy(), weights, atol=1e-5)
    assert layer.training


def test_reading_the_weights_of_an_overridden_attend_never_changes_the_mode_that_others_see():
    modes = []

    class Watching(Sharper):
        def attend(self, q, k, v, mask=None):
            modes.append((self.training, layer.training))
            return super().attend(q, k, v, mask)

    layer = make(Watching)
    layer.train()
    layer.attention_weights(tokens())
    assert set(modes) == {(False, True)}


def test_reading_the_weights_leaves_the_random_state_alone():
    for cls in (vitlib.MultiHeadAttention, TalkingHeads):
        layer = make(cls, attn_drop=0.5)
        layer.train()
        paddle.seed(3)
        expected = paddle.rand([4])
        paddle.seed(3)
        layer.attention_weights(tokens())
        assert difference(paddle.rand([4]), expected) == 0


def test_the_steps_can_be_overridden_one_by_one():
    class Swapped(vitlib.MultiHeadAttention):
        def project_qkv(self, x):
            q, k, v = super().project_qkv(x)
            return k, q, v

        def merge(self, heads):
            return super().merge(heads) * 2

    layer, x = make(Swapped), tokens()
    q, k, v = vitlib.MultiHeadAttention.project_qkv(layer, x)
    expected = vitlib.MultiHeadAttention.merge(layer, layer.attend(k, q, v)) * 2
    assert list(q.shape) == [BATCH, TOKENS, HEADS, WIDTH // HEADS]
    assert difference(layer(x), expected) < 1e-6


@pytest.mark.parametrize(("width", "heads"), [(12, 5), (12, 0), (12, -3), (12, 24), (12, 3.0), (0, 3), (12, None)])
def test_heads_that_do_not_divide_the_width_are_refused_with_both_numbers(width, heads):
    with pytest.raises(ValueError, match=f"num_heads={heads} does not divide embed_dim={width}; choose a divisor"):
        vitlib.MultiHeadAttention(width, heads)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("name", ["attn_drop", "proj_drop"])
def test_a_dropout_that_is_no_probability_is_refused(name, rate):
    with pytest.raises(ValueError, match=name):
        vitlib.MultiHeadAttention(12, 3, **{name: rate})


def test_masked_attention_stays_finite_far_from_zero():
    layer = make()
    x = tokens() * 1e3
    mask = as_tensor(masks()["boolean [N, N]"])
    output = layer(x, mask=mask)
    assert bool(paddle.isfinite(output).all())


def test_attention_works_in_double_precision():
    layer = make()
    layer.to(dtype="float64")
    x = tokens().astype("float64")
    mask = as_tensor(masks()["boolean [N, N]"])
    weights, output = definition(layer, x, mask)
    np.testing.assert_allclose(layer(x, mask=mask).numpy(), output, atol=1e-12)
    np.testing.assert_allclose(layer.attention_weights(x, mask=mask).numpy(), weights, atol=1e-12)
