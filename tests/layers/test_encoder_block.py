"""The encoder block is equations 2 and 3; its parts do what their papers say."""

import math

import numpy as np
import paddle
import pytest
from conftest import difference

import vitlib
from vitlib.layers import DropPath, LayerScale

WIDTH, HEADS = 12, 3


def shake(layer):
    rng = np.random.default_rng(0)
    for parameter in layer.parameters():
        parameter.set_value((parameter.numpy() + 0.4 * rng.standard_normal(parameter.shape)).astype("float32"))
    return layer


def make(cls=vitlib.EncoderBlock, **options):
    paddle.seed(0)
    block = shake(cls(WIDTH, HEADS, **options))
    block.eval()
    return block


def tokens(batch=2, n=5):
    return paddle.to_tensor(np.random.default_rng(1).standard_normal([batch, n, WIDTH]).astype("float32"))


def numpy_norm(x, norm, epsilon):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * norm.weight.numpy() + norm.bias.numpy()


def numpy_linear(x, layer):
    return x @ layer.weight.numpy().astype("float64") + (0 if layer.bias is None else layer.bias.numpy())


def numpy_attention(x, layer):
    b, n, width = x.shape
    q, k, v = numpy_linear(x, layer.qkv).reshape(b, n, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
    weights = np.exp(q @ k.transpose(0, 1, 3, 2) / math.sqrt(width // HEADS))
    weights /= weights.sum(-1, keepdims=True)
    return numpy_linear((weights @ v).transpose(0, 2, 1, 3).reshape(b, n, width), layer.proj)


FORMULAS = {
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("activation", FORMULAS)
def test_the_mlp_is_two_layers_with_the_activation_between(activation):
    paddle.seed(0)
    mlp, x = shake(vitlib.MLP(WIDTH, 30, activation=activation)), 2 * tokens()
    hidden = FORMULAS[activation](numpy_linear(x.numpy(), mlp.fc1))
    np.testing.assert_allclose(mlp(x).numpy(), numpy_linear(hidden, mlp.fc2), rtol=1e-5, atol=2e-5)


def test_the_activations_differ_by_more_than_the_tolerance():
    x = np.linspace(-4, 4, 200)
    values = [f(x) for f in FORMULAS.values()]
    for i, a in enumerate(values):
        for b in values[:i]:
            assert np.abs(a - b).max() > 3e-4


def test_the_mlp_takes_a_function_and_is_four_times_as_wide_by_default():
    mlp = vitlib.MLP(WIDTH, activation=paddle.sin)
    assert list(mlp.fc1.weight.shape) == [WIDTH, 4 * WIDTH]
    hidden = np.sin(numpy_linear(tokens().numpy(), mlp.fc1))
    np.testing.assert_allclose(mlp(tokens()).numpy(), numpy_linear(hidden, mlp.fc2), atol=1e-5)


def test_an_unknown_activation_is_named_beside_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown activation 'gleu'.*'gelu'.*'quick_gelu'"):
        vitlib.MLP(WIDTH, activation="gleu")


def test_dropout_of_the_mlp_acts_after_both_layers_and_in_training_alone():
    mlp = shake(vitlib.MLP(WIDTH, 30, drop=0.5))
    mlp.eval()
    plain = mlp(tokens())
    assert difference(plain, mlp.fc2(mlp.activation(mlp.fc1(tokens())))) == 0
    mlp.train()
    zeros = (mlp(tokens()) == 0).astype("float32").mean()
    assert 0.3 < float(zeros) < 0.7
    mlp.drop2.p = 0.0  # the inner one alone zeroes no output, but changes it
    assert float((mlp(tokens()) == 0).astype("float32").mean()) == 0
    assert difference(mlp(tokens()), plain) > 1e-2


@pytest.mark.parametrize("options", [{}, {"init_values": 0.5, "mlp_ratio": 2.5, "norm_eps": 1e-3}, {"qkv_bias": False}])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_block_is_equations_2_and_3(options, activation):
    block, x = make(activation=activation, **options), tokens()
    epsilon = options.get("norm_eps", 1e-6)
    gamma1, gamma2 = (ls.gamma.numpy() if "init_values" in options else 1.0 for ls in (block.ls1, block.ls2))
    z = x.numpy().astype("float64")
    z = z + gamma1 * numpy_attention(numpy_norm(z, block.norm1, epsilon), block.attn)
    hidden = FORMULAS[activation](numpy_linear(numpy_norm(z, block.norm2, epsilon), block.mlp.fc1))
    z = z + gamma2 * numpy_linear(hidden, block.mlp.fc2)
    assert block.mlp.fc1.weight.shape[1] == int(WIDTH * options.get("mlp_ratio", 4))
    assert np.abs(block(x).numpy() - z).max() / np.abs(z).max() < 1e-5


def test_a_mask_reaches_the_attention():
    block, x = make(), tokens()
    causal = paddle.to_tensor(np.tril(np.ones([5, 5], bool)))
    changed = paddle.concat([x[:, :2], -x[:, 2:]], axis=1)
    assert difference(block(x, mask=causal)[:, :2], block(changed, mask=causal)[:, :2]) < 1e-6
    assert difference(block(x)[:, :2], block(changed)[:, :2]) > 1e-2


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_drop_path_drops_whole_samples_and_rescales_the_survivors(rate):
    drop, x = DropPath(rate), paddle.ones([4000, 3, 2])
    paddle.seed(0)
    y = drop(x).numpy()
    kept = y[:, 0, 0] > 0
    assert (y == y[:, :1, :1]).all(), "a sample is dropped as a whole"
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)
    deviation = math.sqrt(rate * (1 - rate) / 4000)
    assert abs(kept.mean() - (1 - rate)) < 5 * deviation
    assert abs(y.mean() - 1) < 5 * deviation / (1 - rate), "the expectation stays"


def test_the_gradient_passes_survivors_alone():
    x = paddle.ones([64, 3])
    x.stop_gradient = False
    y = DropPath(0.5)(x)
    y.sum().backward()
    assert difference(x.grad, y) == 0
    assert set(np.unique(y.numpy())) == {0.0, 2.0}


def test_drop_path_is_nothing_in_evaluation_and_at_rate_zero():
    x = tokens()
    drop = DropPath(0.9)
    drop.eval()
    assert drop(x) is x
    assert DropPath(0.0)(x) is x


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_rate_that_is_no_probability_is_refused(rate):
    with pytest.raises(ValueError, match=r"drop_prob=.*expected a probability in \[0, 1\)"):
        DropPath(rate)


def test_the_two_branches_of_a_block_are_dropped_independently():
    block = make(drop_path=0.5)
    x = tokens(1).expand([400, 5, WIDTH])
    block.train()
    paddle.seed(0)
    y = block(x).numpy()
    unchanged = np.abs(y - x.numpy()).max((1, 2)) == 0
    kinds = {tuple(row) for row in np.round(y[:, 0], 3).tolist()}
    assert len(kinds) == 4, "none, attention alone, MLP alone, both"
    assert 0.25 - 0.11 < unchanged.mean() < 0.25 + 0.11


def test_layer_scale_multiplies_each_channel_and_starts_where_it_is_told():
    scale = LayerScale(WIDTH, 0.1)
    np.testing.assert_allclose(scale.gamma.numpy(), np.full(WIDTH, 0.1), rtol=1e-6)
    gamma = np.arange(WIDTH, dtype="float32")
    scale.gamma.set_value(gamma)
    np.testing.assert_allclose(scale(tokens()).numpy(), tokens().numpy() * gamma)
    assert not scale.gamma.stop_gradient


def test_a_block_with_layer_scale_zero_is_the_identity():
    block = vitlib.EncoderBlock(WIDTH, HEADS, init_values=0.0)
    assert difference(block(tokens()), tokens()) == 0


def test_parts_are_swapped_by_class_attribute():
    class Attention(vitlib.MultiHeadAttention):
        pass

    class Mlp(vitlib.MLP):
        pass

    class Norm(paddle.nn.LayerNorm):
        pass

    class Block(vitlib.EncoderBlock):
        attention_class, mlp_class, norm_class = Attention, Mlp, Norm

    block = Block(WIDTH, HEADS, qk_norm=True, norm_eps=1e-3)
    assert (type(block.attn), type(block.mlp)) == (Attention, Mlp)
    norms = [block.norm1, block.norm2, block.attn.q_norm, block.attn.k_norm]
    assert [type(norm) for norm in norms] == [Norm] * 4
    assert {getattr(norm, "_epsilon", None) for norm in norms} == {1e-3}
    assert list(block.attn.q_norm.weight.shape) == [WIDTH // HEADS]


def test_a_part_that_knows_no_mask_works_as_long_as_none_is_given():
    class Average(paddle.nn.Layer):
        def __init__(self, embed_dim, num_heads, **options):
            super().__init__()

        def forward(self, x):
            return x.mean(1, keepdim=True).expand(x.shape)

    class Block(vitlib.EncoderBlock):
        attention_class = Average

    block = Block(WIDTH, HEADS)
    assert list(block(tokens()).shape) == [2, 5, WIDTH]


@pytest.mark.parametrize("ratio", [0.0, -1.0, 0.01])
def test_an_mlp_without_hidden_width_is_refused(ratio):
    with pytest.raises(ValueError, match="hidden_dim"):
        vitlib.EncoderBlock(WIDTH, HEADS, ratio)
