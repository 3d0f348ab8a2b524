"""Recomputation gives the gradients and random numbers of a plain run, and runs a block twice only where it helps."""

import gc

import numpy as np
import paddle
import pytest
from paddle.distributed.fleet.utils.log_util import logger

import vitlib
from vitlib.layers import EncoderBlock
from vitlib.layers.recompute import recompute


class BorrowingBlock(EncoderBlock):
    """A block that uses a tensor which is not among its parameters."""

    borrowed = None

    def forward(self, x, mask=None):
        return super().forward(x * self.borrowed[0], mask)


def make(block_class=EncoderBlock, frozen=""):
    """A block in training with dropout, in float64; `frozen` is the part of it without gradients."""
    paddle.seed(0)
    block = block_class(8, 2, proj_drop=0.5)
    block.to(dtype="float64")
    block.train()
    block.borrowed = [paddle.to_tensor(1.5, dtype="float64", stop_gradient=False)]
    for parameter in dict(block.named_sublayers(include_self=True)).get(frozen, paddle.nn.Identity()).parameters():
        parameter.stop_gradient = True
    return block


def random_tokens(trained=True):
    values = np.random.default_rng(0).standard_normal((2, 5, 8))
    return paddle.to_tensor(values, stop_gradient=not trained)


def runs(block):
    """Counts the runs of a block's MLP from now on."""
    seen = []
    block.mlp.register_forward_post_hook(lambda layer, inputs, output: seen.append(1))
    return seen


@pytest.mark.parametrize("block_class", [EncoderBlock, BorrowingBlock])
@pytest.mark.parametrize("how", ["backward", "grad"])
@pytest.mark.parametrize("frozen", ["nothing", "input", "attn"])
def test_gradients_and_random_numbers_are_those_of_a_plain_run(block_class, how, frozen):
    block, results = make(block_class, frozen), []
    for run in (block, lambda x: recompute(block, x)):
        paddle.seed(3)
        x = random_tokens(trained=frozen != "input")
        loss = (run(x) ** 2).sum()
        drawn = paddle.rand([3])
        wanted = [t for t in (x, *block.borrowed, *block.parameters()) if not t.stop_gradient]
        if how == "grad":
            gradients = paddle.grad(loss, wanted, allow_unused=True)
        else:
            for tensor in wanted:
                tensor.clear_gradient(False)
            loss.backward()
            gradients = [tensor.grad for tensor in wanted]
        results.append([None if t is None else np.array(t) for t in (drawn, paddle.rand([3]), *gradients)])
    for plain, recomputed in zip(*results, strict=True):
        assert (plain is None) == (recomputed is None)
        if plain is not None:
            np.testing.assert_allclose(recomputed, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("trained_input", "frozen", "expected"),
    [(True, "nothing", 2), (True, "", 2), (False, "nothing", 2), (False, "attn", 2), (False, "", 1)],
)
def test_a_block_runs_twice_only_if_something_in_it_needs_a_gradient(trained_input, frozen, expected):
    block = make(frozen=frozen)
    seen = runs(block)
    y = recompute(block, random_tokens(trained_input))
    if not y.stop_gradient:
        y.sum().backward()
    assert len(seen) == expected


def test_frozen_blocks_are_recomputed_without_a_line_in_the_log(tiny, images, monkeypatch):
    lines = []
    for level in ("info", "warning", "error"):
        monkeypatch.setattr(logger, level, lambda *message: lines.append(message))
    model = tiny()
    model.set_recompute()
    model.train()
    model.freeze(blocks=1)
    seen = [runs(block) for block in model.blocks]
    model(images()).sum().backward()
    assert [len(times) for times in seen] == [1, 2, 2]
    assert lines == []


@pytest.mark.parametrize("options", [{}, {"full_graph": True}], ids=["default", "full graph"])
def test_a_traced_model_with_frozen_blocks_recomputes_to_the_same_gradients(tiny, images, options):
    results = []
    for traced in (False, True):
        model = tiny()
        model.train()
        model.freeze(blocks=1)
        model.set_recompute(traced)
        (paddle.jit.to_static(model, **options) if traced else model)(images()).square().sum().backward()
        results.append({name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None})
    plain, recomputed = results
    assert plain.keys() == recomputed.keys()
    largest = max(np.abs(gradient).max() for gradient in plain.values())
    for name, gradient in plain.items():
        assert np.abs(recomputed[name] - gradient).max() < 1e-5 * largest, name


def test_two_losses_may_share_a_graph_that_is_kept():
    block, x = make(), random_tokens()
    y = recompute(block, x)
    y.sum().backward(retain_graph=True)
    once = x.grad.numpy().copy()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * once, rtol=1e-12)


def test_steps_leave_no_objects_but_those_of_paddles_constructor():
    """Each call of Paddle 3.3's constructor of tensors leaves an empty list."""
    model = vitlib.VisionTransformer(img_size=16, patch_size=8, embed_dim=8, depth=2, num_heads=2, num_classes=3)
    model.set_recompute()
    model.train()
    images = paddle.ones([1, 3, 16, 16])

    def objects_after(steps):
        for _ in range(steps):
            model(images).sum().backward()
            model.clear_gradients()
        gc.collect()
        return sum(not (type(thing) is list and not thing) for thing in gc.get_objects())

    objects_after(3)
    before = objects_after(3)
    assert objects_after(20) - before < 20
