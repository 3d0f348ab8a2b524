"""What is quick in eager mode computes what Paddle's own layers compute, and their gradients, however it is called."""

from contextlib import nullcontext

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

import vitlib
from vitlib.layers import MLP, EncoderBlock, LayerNorm, Linear, MultiHeadAttention, single_backward
from vitlib.layers.eager import attention as eager_attention
from vitlib.layers.eager import gelu
from vitlib.layers.recompute import recompute

# What the layers compute must not depend on it: a test with this mark runs without and within the block
BOTH = pytest.mark.parametrize("once", [nullcontext, single_backward], ids=["", "once"])
PAIRS = {"Linear": (Linear, nn.Linear, (6, 5)), "LayerNorm": (LayerNorm, nn.LayerNorm, (6, 2.0**-10))}


def random(*shape, dtype="float64"):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def pair(name, dtype="float64", frozen=()):
    """Our layer and Paddle's with the same values."""
    own_class, paddle_class, arguments = PAIRS[name]
    layers = own_class(*arguments), paddle_class(*arguments)
    for layer in layers:
        layer.to(dtype=dtype)
        layer.weight.set_value(random(*layer.weight.shape, dtype=dtype) + 1)
        layer.bias.set_value(random(*layer.bias.shape, dtype=dtype))
        for parameter in frozen:
            getattr(layer, parameter).stop_gradient = True
    return layers


def run(layer, values, trained=True, once=nullcontext):
    """The output and the gradients for x, weight and bias of a loss that weighs each output differently."""
    x = paddle.to_tensor(values, stop_gradient=not trained)
    with once():
        y = layer(x)
    (y * paddle.to_tensor(random(*y.shape).astype(values.dtype))).sum().backward()
    gradients = [None if t.grad is None else t.grad.numpy() for t in (x, layer.weight, layer.bias)]
    return [y.numpy(), *gradients]


def assert_same(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (2, 3, 2, 6)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("name", PAIRS)
@BOTH
def test_output_and_gradients_are_paddles(name, dtype, tolerance, shape, once):
    ours, theirs = pair(name, dtype)
    values = random(*shape, dtype=dtype)
    assert_same(run(ours, values, once=once), run(theirs, values), tolerance)


@pytest.mark.parametrize("frozen", [("weight",), ("bias",), ("weight", "bias")])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("name", PAIRS)
@BOTH
def test_what_is_frozen_gets_no_gradient_and_the_rest_the_same(name, frozen, trained, once):
    if len(frozen) == 2 and not trained:
        pytest.skip("nothing is left to differentiate")
    values = random(2, 3, 6)
    # Beside Paddle's layer with nothing frozen: on a CPU its LayerNorm's gradient leaves out a weight that is frozen
    y, *gradients = run(pair(name)[1], values)
    kept = [trained, "weight" not in frozen, "bias" not in frozen]
    expected = [g if keep else None for g, keep in zip(gradients, kept, strict=True)]
    assert_same(run(pair(name, frozen=frozen)[0], values, trained, once), [y, *expected], 1e-12)


@pytest.mark.parametrize(
    ("name", "once"), [("Linear", nullcontext), ("Linear", single_backward), ("LayerNorm", single_backward)]
)
def test_gradients_of_gradients_are_those_of_finite_differences(name, once):
    ours, _ = pair(name)
    weights, direction = paddle.to_tensor(random(2, 3, 6)[..., : ours.bias.shape[0]]), random(3, 6)

    def gradient(values, create_graph=False):
        x = paddle.to_tensor(values, stop_gradient=False)
        with once():
            y = ours(x)
        return x, paddle.grad((y**2 * weights).sum(), x, create_graph=create_graph)[0]

    values = random(2, 3, 6)
    x, first = gradient(values, create_graph=True)
    second = paddle.grad((first * paddle.to_tensor(direction)).sum(), x)[0].numpy()
    step = 1e-6
    plus, minus = (gradient(values + sign * step * direction)[1].numpy() for sign in (1, -1))
    # the Hessian is symmetric: its product with the direction is the change of the gradient along it
    np.testing.assert_allclose(second, (plus - minus) / (2 * step), rtol=1e-6, atol=1e-6)


def test_layer_norm_keeps_its_digits_when_the_mean_is_large():
    ours = pair("LayerNorm", "float32")[0]
    exact = pair("LayerNorm")[0]
    values = (random(1, 4, 6) + 1000).astype("float32")
    gradient = run(ours, values, once=single_backward)[1]
    np.testing.assert_allclose(gradient, run(exact, values.astype("float64"))[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", PAIRS)
def test_an_empty_batch_is_passed_through(name):
    ours, theirs = pair(name)
    x = paddle.zeros([0, 3, 6], "float64")
    assert ours(x).shape == theirs(x).shape


def test_layers_without_bias_or_weight_are_paddles():
    x = random(2, 3, 6)
    ours, theirs = Linear(6, 5, bias_attr=False), nn.Linear(6, 5, bias_attr=False)
    theirs.set_state_dict(ours.state_dict())
    x32 = paddle.to_tensor(x.astype("float32"))
    assert (ours(x32) == theirs(x32)).all()
    ours, theirs = (cls(6, weight_attr=False, bias_attr=False) for cls in (LayerNorm, nn.LayerNorm))
    assert (ours(x32) == theirs(x32)).all()


@pytest.mark.parametrize("name", PAIRS)
def test_a_traced_layer_trains_as_an_eager_one(name):
    ours, _ = pair(name)
    values = random(2, 3, 6)
    eager = run(ours, values)
    ours.clear_gradients()
    traced = run(paddle.jit.to_static(ours, full_graph=True), values)
    assert_same(traced, eager, 1e-12)


def attention(q, k, v):
    return MultiHeadAttention(8, 2).attend(q, k, v)


def plain_attention(q, k, v):
    q, k, v = (x.transpose([0, 2, 1, 3]) for x in (q, k, v))
    return (F.softmax(q @ k.transpose([0, 1, 3, 2]) / q.shape[-1] ** 0.5) @ v).transpose([0, 2, 1, 3])


def once(function):
    """The function in a block of single_backward."""

    def called(*inputs):
        with single_backward():
            return function(*inputs)

    return called


# ours, Paddle's, the shapes of the inputs
FUNCTIONS = {
    "gelu": (once(gelu), F.gelu, [(3, 5, 7)]),
    "gelu of several pieces": (once(gelu), F.gelu, [(3, 3, 1 << 16)]),
    "attention": (once(attention), plain_attention, [(2, 5, 2, 4)] * 3),
    "attention to fewer": (once(attention), plain_attention, [(2, 5, 2, 4), (2, 3, 2, 4), (2, 3, 2, 4)]),
    "attention of many tokens": (once(attention), plain_attention, [(3, 300, 2, 4)] * 3),  # more than a piece each
}


def leaves(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [paddle.to_tensor(2 * rng.standard_normal(shape), stop_gradient=False) for shape in shapes]


def test_a_block_changed_in_place_after_it_was_recomputed_is_told():
    block, x = EncoderBlock(8, 2), leaves([(2, 5, 8)])[0].astype("float32") * 1
    block.train()
    y = once(recompute)(block, x)
    x.scale_(3.0)
    with pytest.raises(Exception, match=r"(?s)a tensor of shape \[2, 5, 8\].*changed in place"):
        y.sum().backward()


def test_saved_tensors_may_be_replaced_by_hooks():
    linear = pair("Linear")[0]
    with paddle.no_grad():
        linear.weight.scale_(0.5)
    x = leaves([(2, 3, 6)])[0]
    expected = run(linear, x.numpy())[1]
    with paddle.autograd.saved_tensors_hooks(lambda t: t.numpy(), paddle.to_tensor), single_backward():
        y = linear(x)
    (y * paddle.to_tensor(random(*y.shape))).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_gradients_are_paddles(name):
    ours, theirs, shapes = FUNCTIONS[name]
    results = []
    for function in (ours, theirs):
        inputs = leaves(shapes)
        y = function(*inputs)
        (y * leaves([y.shape], 1)[0].detach()).sum().backward()
        results.append([y.numpy(), *(x.grad.numpy() for x in inputs)])
    assert_same(*results, 1e-12)


def test_gelu_has_its_limits_far_from_zero_and_half_of_them_at_zero():
    x = paddle.to_tensor([[[-30.0, -1e-30, 0.0, 1e-30, 30.0]]], stop_gradient=False)
    once(gelu)(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[[0, 0.5, 0.5, 0.5, 1]]], atol=1e-7)


@pytest.mark.parametrize("name", ["gelu", "attention"])
def test_functions_have_gradients_of_gradients(name):
    ours, shapes = {"gelu": (once(gelu), [(3, 5, 7)]), "attention": (eager_attention, [(2, 2, 5, 4)] * 3)}[name]
    directions = [x.detach() for x in leaves(shapes, 1)]

    def gradients(step, create_graph=False):
        inputs = [(x + step * d).detach() for x, d in zip(leaves(shapes), directions, strict=True)]
        for x in inputs:
            x.stop_gradient = False
        return inputs, paddle.grad((ours(*inputs) ** 2).sum(), inputs, create_graph=create_graph)

    inputs, first = gradients(0, create_graph=True)
    second = paddle.grad(sum((g * d).sum() for g, d in zip(first, directions, strict=True)), inputs)
    for found, plus, minus in zip(second, gradients(1e-6)[1], gradients(-1e-6)[1], strict=True):
        np.testing.assert_allclose(found.numpy(), ((plus - minus) / 2e-6).numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["gelu", "LayerNorm"])
@pytest.mark.parametrize("change", [lambda x: x, lambda x: x * 2, lambda x: x.add_(paddle.ones([], x.dtype))])
def test_what_a_linear_computes_again_is_what_it_was_given(kind, change):
    """The weight's gradient is the input's, whether that came as it was, by way of another operation, or changed."""
    norm, linear = pair("LayerNorm")[0], pair("Linear")[0]
    x = paddle.to_tensor(random(2, 3, 6), stop_gradient=False)
    with single_backward():
        given = change((gelu if kind == "gelu" else norm)(x * 1))
        expected = given.numpy()
        y = linear(given)
    norm.bias.set_value(norm.bias + 1)  # as an optimizer does, past autograd
    dy = random(2, 3, 5)
    (y * paddle.to_tensor(dy)).sum().backward()
    np.testing.assert_allclose(linear.weight.grad.numpy(), np.einsum("bni,bno->io", expected, dy), rtol=1e-12)


def test_gradients_of_gradients_pass_through_what_is_computed_again():
    mlp = MLP(4, 6)
    mlp.to(dtype="float64")
    x, direction = leaves([(2, 3, 4)])[0], leaves([(2, 3, 4)], 1)[0].detach()

    def penalty(x):  # through the gradient for fc2's weight, which is made of gelu(fc1(x))
        return sum((g**2).sum() for g in paddle.grad((once(mlp)(x) ** 2).sum(), mlp.parameters(), create_graph=True))

    found = float((paddle.grad(penalty(x), x)[0] * direction).sum())
    difference = float(penalty(x + 1e-6 * direction) - penalty(x - 1e-6 * direction)) / 2e-6
    assert abs(found - difference) < 1e-6 * abs(difference)


def allocated():
    return paddle.base.core.host_memory_stat_current_value("Allocated", 0)


def test_an_mlp_keeps_its_input_and_what_goes_into_the_activation():
    mlp, x = MLP(8, 4096), paddle.ones([1, 64, 8])
    mlp.train()
    before = allocated()
    y = once(mlp)(x)
    hidden = 64 * 4096 * 4
    assert hidden < allocated() - before < 1.1 * hidden
    del y


def test_attention_does_not_keep_its_weights():
    layer, x = MultiHeadAttention(16, 2), paddle.ones([1, 512, 16])
    layer.train()
    before = allocated()
    y = once(layer)(x)
    assert allocated() - before < 512 * 512 * 4  # half of the two heads' weights
    del y


@pytest.mark.parametrize("kind", ["Linear", "LayerNorm", "gelu"])
def test_a_change_in_place_of_what_a_gradient_needs_is_told(kind):
    function = gelu if kind == "gelu" else pair(kind)[0]
    x = paddle.to_tensor(random(2, 3, 6), stop_gradient=False) * 1
    y = once(function)(x)
    x.add_(paddle.ones([], x.dtype))
    with pytest.raises(Exception, match=r"(?s)a tensor of shape \[2, 3, 6\].*changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("trained", [("q", "k", "v"), ("q",), ("k", "v"), ("v",)])
def test_attention_gives_the_gradients_that_are_asked_for(trained):
    layer = MultiHeadAttention(8, 2)
    shapes, results = [(2, 3, 2, 4)] * 3, []
    for fused in (True, False):
        layer.fused = fused
        inputs = dict(zip("qkv", leaves(shapes), strict=True))
        for name, tensor in inputs.items():
            tensor.stop_gradient = name not in trained
        (once(layer.attend)(*inputs.values()) ** 2).sum().backward()
        results.append([None if x.grad is None else x.grad.numpy() for x in inputs.values()])
    assert_same(*results, 1e-12)


class ForeignBlock(EncoderBlock):
    """A block with a tensor that it does not own."""

    def forward(self, x, mask=None):
        return super().forward(x * self.foreign[0], mask)


@pytest.mark.parametrize("block_class", [EncoderBlock, ForeignBlock])
@pytest.mark.parametrize("how", ["backward", "grad"])
@pytest.mark.parametrize("frozen", ["nothing", "input", "attention"])
def test_a_recomputed_block_gives_its_gradients_in_every_way(block_class, how, frozen):
    block = block_class(8, 2, proj_drop=0.5)
    block.to(dtype="float64")
    block.train()
    block.foreign = [paddle.to_tensor(1.5, dtype="float64", stop_gradient=False)]
    for parameter in block.attn.parameters() if frozen == "attention" else ():
        parameter.stop_gradient = True
    results = []
    for run in (block, lambda x: recompute(block, x), once(lambda x: recompute(block, x))):
        paddle.seed(3)
        x = leaves([(2, 5, 8)])[0]
        x.stop_gradient = frozen == "input"
        loss = (run(x) ** 2).sum()
        drawn = paddle.rand([3]).numpy()  # recomputing leaves the random numbers as they were
        wanted = [t for t in (x, *block.foreign, *block.parameters()) if not t.stop_gradient]
        if how == "grad":
            gradients = paddle.grad(loss, wanted, allow_unused=True)
        else:
            for tensor in wanted:
                tensor.clear_gradient(False)
            loss.backward()
            gradients = [tensor.grad for tensor in wanted]
        results.append([drawn, paddle.rand([3]).numpy(), *(None if g is None else g.numpy() for g in gradients)])
    assert_same(results[0], results[1], 1e-12)
    assert_same(results[0], results[2], 1e-12)


def test_gradients_of_gradients_of_a_recomputed_block_are_refused():
    block, x = EncoderBlock(8, 2), paddle.ones([1, 5, 8])
    block.train()
    x.stop_gradient = False
    with pytest.raises(Exception, match=r"gradients of gradients.*set_recompute\(False\)"):
        paddle.grad((once(recompute)(block, x) ** 2).sum(), x, create_graph=True)


def small(**options):
    model = vitlib.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=7, **options
    )
    model.train()
    return model


def test_two_losses_may_share_a_graph_that_is_kept():
    images, results = paddle.ones([2, 3, 32, 32]), []
    model = small()
    for kept in (True, False):
        model.clear_gradients()
        logits = model(images)
        if kept:
            logits[:, 0].sum().backward(retain_graph=True)
            logits[:, 1].sum().backward()
        else:
            logits[:, :2].sum().backward()
        results.append([p.grad.numpy() for p in model.parameters()])
    assert_same(*results, 1e-4)


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("part", ["norm1", "attn", "mlp", "mlp.fc1", ""])
def test_hooks_on_what_layers_give_change_the_gradient(part, recomputes):
    """A gradient that a hook sets to 0 at the last block's part changes what comes before it."""
    images, results = paddle.ones([2, 3, 32, 32]), []
    for context in (nullcontext, single_backward):
        paddle.seed(0)
        model = small()
        layer = dict(model.blocks[1].named_sublayers(include_self=True))[part]
        layer.register_forward_post_hook(lambda layer, inputs, y: y.register_hook(lambda g: g * 0) and None)
        model.set_recompute(recomputes)
        with context():
            y = model(images)
        y.sum().backward()
        results.append([p.grad.numpy() for p in model.parameters()])
    assert_same(*results, 1e-5)
    names = [name for name, _ in model.named_parameters()]
    if not part:
        assert not results[0][names.index("cls_token")].any()


def test_pieces_are_not_written_where_slices_are_copies():
    paddle.set_flags({"FLAGS_use_stride_kernel": False})
    try:
        x = leaves([(3, 3, 1 << 16)])[0]
        with single_backward():
            y = gelu(x)
        assert "PyLayer" not in str(y.grad_fn.name())
    finally:
        paddle.set_flags({"FLAGS_use_stride_kernel": True})


def test_queries_share_keys_of_one_head():
    layer = MultiHeadAttention(8, 2)
    q, k, v = leaves([(2, 5, 2, 4), (2, 5, 1, 4), (2, 5, 1, 4)])
    y = once(layer.attend)(q, k, v)
    y.sum().backward()
    assert k.grad.shape == k.shape
