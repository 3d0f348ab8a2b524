"""Each scheme draws what its codebase draws, also under LazyGuard, and training starts with sane gradients."""

import math

import numpy as np
import paddle
import pytest
from conftest import refused

import vitlib
from vitlib.layers.initialization import SCHEMES, linear, truncated_normal

WIDTH, HIDDEN, PATCH, CLASSES = 192, 768, 8, 1000
OPTIONS = {
    "img_size": 64,
    "patch_size": PATCH,
    "embed_dim": WIDTH,
    "depth": 2,
    "num_heads": 3,
    "num_classes": CLASSES,
    "reg_tokens": 4,
}
FAN_IN = 3 * PATCH * PATCH


def normal(std):
    return ("normal", std)


def uniform(bound):
    return ("uniform", bound)


def constant(value):
    return ("constant", value)


XAVIER_SQUARE = math.sqrt(6 / (WIDTH + WIDTH))
XAVIER_FUSED = math.sqrt(6 / (WIDTH + 3 * WIDTH))
XAVIER_MLP = math.sqrt(6 / (WIDTH + HIDDEN))
TORCH_CONV = 1 / math.sqrt(FAN_IN)
LECUN = 1 / math.sqrt(FAN_IN)

TIMM = {
    "attn.qkv.weight": normal(0.02),
    "attn.qkv.bias": constant(0),
    "attn.proj.weight": normal(0.02),
    "attn.proj.bias": constant(0),
    "mlp.fc1.weight": normal(0.02),
    "mlp.fc1.bias": constant(0),
    "mlp.fc2.weight": normal(0.02),
    "mlp.fc2.bias": constant(0),
    "patch_embed.proj.weight": uniform(TORCH_CONV),
    "patch_embed.proj.bias": uniform(TORCH_CONV),
    "cls_token": normal(1e-6),
    "dist_token": normal(0.02),
    "reg_token": normal(1e-6),
    "pos_embed": normal(0.02),
    "head.weight": normal(0.02),
    "head_dist.weight": normal(0.02),
    "head.bias": constant(0),
    "head_dist.bias": constant(0),
}
EXPECTED = {
    "timm": TIMM,
    "deit": {**TIMM, "cls_token": normal(0.02)},
    "jax": {
        **TIMM,
        "attn.qkv.weight": uniform(XAVIER_FUSED),
        "attn.proj.weight": uniform(XAVIER_SQUARE),
        "mlp.fc1.weight": uniform(XAVIER_MLP),
        "mlp.fc2.weight": uniform(XAVIER_MLP),
        "mlp.fc1.bias": normal(1e-6),
        "mlp.fc2.bias": normal(1e-6),
        "patch_embed.proj.weight": normal(LECUN),
        "patch_embed.proj.bias": constant(0),
        "head.weight": constant(0),
        "head_dist.weight": constant(0),
    },
    "big_vision": {
        **TIMM,
        "attn.qkv.weight": uniform(XAVIER_SQUARE),
        "attn.proj.weight": uniform(XAVIER_SQUARE),
        "mlp.fc1.weight": uniform(XAVIER_MLP),
        "mlp.fc2.weight": uniform(XAVIER_MLP),
        "mlp.fc1.bias": normal(1e-6),
        "mlp.fc2.bias": normal(1e-6),
        "patch_embed.proj.weight": normal(LECUN),
        "patch_embed.proj.bias": constant(0),
        "cls_token": constant(0),
        "dist_token": constant(0),
        "reg_token": constant(0),
        "pos_embed": normal(1 / math.sqrt(WIDTH)),
        "head.weight": constant(0),
        "head_dist.weight": constant(0),
        "head.bias": constant(-math.log(1000)),
        "head_dist.bias": constant(-math.log(1000)),
    },
}


def built(scheme, lazy):
    paddle.seed(0)
    if not lazy:
        return vitlib.DeiT(weight_init=scheme, **OPTIONS)
    with paddle.LazyGuard():
        model = vitlib.DeiT(weight_init=scheme, **OPTIONS)
    for parameter in model.parameters():
        parameter.initialize()
    return model


def check(name, array, kind, size):
    values, n = array.ravel().astype("float64"), array.size
    if kind == "constant":
        assert (np.abs(values - size) < 1e-6 * max(1, abs(size))).all(), name
        return
    deviation = size if kind == "normal" else size / math.sqrt(3)
    # five standard errors: of the mean, and of the standard deviation (σ/√2n, a bound for uniform numbers too)
    assert abs(values.mean()) < 5 * deviation / math.sqrt(n), name
    assert abs(values.std() - deviation) < 5 * deviation / math.sqrt(2 * n), name
    furthest = np.abs(values).max()
    if kind == "uniform":
        assert size * (1 - 20 / n) < furthest <= size * (1 + 1e-6), name
    else:
        assert 1.5 * size < furthest < 6.5 * size, name


@pytest.mark.parametrize("lazy", [False, True], ids=["built", "initialised later"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_parameter_is_drawn_as_its_codebase_draws_it(scheme, lazy):
    checked = set()
    for name, parameter in built(scheme, lazy).named_parameters():
        if "norm" in name:
            expected = constant(1 if name.endswith("weight") else 0)
        else:
            expected = next(rule for ending, rule in EXPECTED[scheme].items() if name.endswith(ending))
            checked.add(next(ending for ending in EXPECTED[scheme] if name.endswith(ending)))
        check(name, parameter.numpy(), *expected)
    assert checked == set(EXPECTED[scheme])


def test_the_lecun_scheme_is_cut_at_two_deviations_of_the_uncut_normal():
    weight = built("jax", False).patch_embed.proj.weight.numpy()
    bound = 2 * LECUN / 0.87962566103423978
    assert 0.99 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize(("classes", "bias"), [(1000, -6.9), (21843, -10.0)])
def test_the_sigmoid_head_of_big_vision_starts_at_the_prior_of_a_class(classes, bias):
    layer = linear(4, classes, "big_vision", kind="head", bias_kind="head_bias")
    np.testing.assert_allclose(layer.bias.numpy(), bias, atol=0.01)
    np.testing.assert_allclose(1 / (1 + np.exp(-layer.bias.numpy().astype("float64"))), 1 / classes, rtol=2e-3)


def test_position_rows_of_big_vision_have_unit_length():
    table = built("big_vision", False).pos_embed.numpy()
    assert abs(np.linalg.norm(table, axis=-1).mean() - 1) < 0.02


def test_no_value_is_far_outside_the_truncated_normal():
    """Paddle's own TruncatedNormal(std=0.02) gives -2.0, a hundred deviations, twice in 10^8 draws."""
    paddle.seed(0)
    layer = paddle.nn.Linear(2000, 2000, weight_attr=paddle.ParamAttr(initializer=truncated_normal(0.02)))
    assert float(layer.weight.abs().max()) <= 0.1 + 1e-6
    values = [v for v in vars(truncated_normal(0.02)).values() if isinstance(v, float)]
    assert sorted(values) == [-0.1, 0.0, 0.02, 0.1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_seed_gives_the_same_model_and_another_seed_another(scheme):
    def weights(seed):
        paddle.seed(seed)
        model = vitlib.VisionTransformer(**{**OPTIONS, "embed_dim": 48, "weight_init": scheme})
        return [p.numpy() for p in model.parameters()]

    first, second, other = weights(7), weights(7), weights(8)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_layer_scale_starts_at_its_value_in_every_block():
    model = vitlib.VisionTransformer(**{**OPTIONS, "init_values": 1e-4})
    for block in model.blocks:
        for scale in (block.ls1, block.ls2):
            np.testing.assert_allclose(scale.gamma.numpy(), 1e-4, rtol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])
def test_the_first_step_gives_every_parameter_a_gradient_of_sane_size(cls, scheme):
    paddle.seed(0)
    model = cls(**{**OPTIONS, "img_size": 32, "embed_dim": 48, "num_classes": 10, "weight_init": scheme})
    outputs = model(paddle.randn([4, 3, 32, 32]))
    labels = paddle.to_tensor([1, 2, 3, 4])
    heads = outputs if cls is vitlib.DeiT else [outputs]
    sum(paddle.nn.functional.cross_entropy(logits, labels) for logits in heads).backward()
    zero_head = scheme in ("jax", "big_vision")  # a head of zeros passes nothing back in the first step
    total = 0.0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        grad = parameter.grad.numpy()
        assert np.isfinite(grad).all(), name
        total += float((grad**2).sum())
        silent = zero_head and not name.startswith("head")
        # softmax does not see a shift of all logits, so that the bias of the keys gets rounding errors alone
        assert (np.abs(grad).max() == 0) == silent, name
    assert 1e-2 < math.sqrt(total) < 1e2


@pytest.mark.parametrize("scheme", ["jax", "big_vision"])
def test_behind_a_head_of_zeros_the_second_step_reaches_every_parameter(scheme):
    paddle.seed(0)
    model = vitlib.VisionTransformer(
        **{**OPTIONS, "img_size": 32, "embed_dim": 48, "num_classes": 10, "weight_init": scheme}
    )
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    for _ in range(2):
        optimizer.clear_grad()
        loss = paddle.nn.functional.cross_entropy(model(paddle.randn([4, 3, 32, 32])), paddle.to_tensor([1, 2, 3, 4]))
        loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert float(parameter.grad.abs().max()) > 0, name


def test_the_sincos_table_is_fixed_also_when_it_is_filled_later():
    options = {**OPTIONS, "pos_embed": "sincos2d", "num_classes": 3}
    with paddle.LazyGuard():
        lazy = vitlib.VisionTransformer(**options)
    lazy.pos_embed.initialize()
    eager = vitlib.VisionTransformer(**options)
    assert (lazy.pos_embed.numpy() == eager.pos_embed.numpy()).all()
    assert not eager.pos_embed.trainable


def test_an_unknown_scheme_is_named_beside_the_known_ones():
    for make in (
        lambda: vitlib.MLP(8, weight_init="xavier"),
        lambda: vitlib.MultiHeadAttention(8, 2, weight_init="xavier"),
        lambda: vitlib.EncoderBlock(8, 2, weight_init="xavier"),
    ):
        with refused(ValueError, "unknown weight_init 'xavier'", *map(repr, SCHEMES)):
            make()
