"""Attention maps are the weights that the model computes with, and reading them leaves the model as it was."""

import numpy as np
import paddle
import pytest
from conftest import difference, refused
from PIL import Image

import vitlib


def subclass(attention):
    class Block(vitlib.EncoderBlock):
        attention_class = attention

    class Net(vitlib.VisionTransformer):
        block_class = Block

    return Net


def rebuilt(model, images, maps):
    """The tokens after the last block, with the given maps instead of attention."""
    tokens = model.embed(images)
    for block, weights in zip(model.blocks, maps, strict=True):
        _, _, v = block.attn.project_qkv(block.norm1(tokens))
        mixed = paddle.einsum("bhnm,bmhd->bnhd", weights, v)
        tokens = tokens + block.attn.merge(mixed)
        tokens = tokens + block.mlp(block.norm2(tokens))
    return model.norm(tokens)


class Uniform(vitlib.MultiHeadAttention):
    def attend(self, q, k, v, mask=None):
        return v.mean(1, keepdim=True).expand(q.shape)


class Causal(vitlib.MultiHeadAttention):
    def attend(self, q, k, v, mask=None):
        n = q.shape[1]
        return super().attend(q, k, v, paddle.tril(paddle.ones([n, n], "bool")))


@pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT, subclass(Uniform), subclass(Causal)])
@pytest.mark.parametrize("options", [{}, {"qk_norm": True, "fused_attn": False, "reg_tokens": 2}], ids=str)
def test_the_maps_put_back_into_the_equations_give_the_models_tokens(tiny, images, cls, options):
    model = tiny(cls, **options)
    maps = vitlib.attention_maps(model, images())
    n = model.num_prefix_tokens + 16
    assert [list(m.shape) for m in maps] == [[2, 3, n, n]] * 3
    assert max(float((m.sum(-1) - 1).abs().max()) for m in maps) < 1e-5
    assert difference(rebuilt(model, images(), maps), model.forward_features(images())) < 1e-4


def test_layers_are_chosen_as_for_intermediates(tiny, images):
    model = tiny()
    every = vitlib.attention_maps(model, images())
    for layers, indices in [([2, 0], [2, 0]), (2, [1, 2]), ([-1], [2]), ([1, 1], [1, 1])]:
        found = vitlib.attention_maps(model, images(), layers)
        assert [difference(a, every[i]) for a, i in zip(found, indices, strict=True)] == [0] * len(indices)
    with refused(ValueError, "layer"):
        vitlib.attention_maps(model, images(), [3])


def test_reading_maps_leaves_the_model_as_it_was(tiny, images):
    model = tiny(attn_drop_rate=0.3, drop_path_rate=0.3)
    model.train()
    model.blocks[1].eval()
    modes = [layer.training for layer in model.sublayers(include_self=True)]
    paddle.seed(5)
    expected = paddle.rand([3])
    paddle.seed(5)
    maps = vitlib.attention_maps(model, images())
    assert difference(paddle.rand([3]), expected) == 0
    assert [layer.training for layer in model.sublayers(include_self=True)] == modes
    assert not any(layer._forward_pre_hooks or "forward" in vars(layer) for layer in model.sublayers())
    assert all(p.grad is None for p in model.parameters())
    assert all(m.stop_gradient for m in maps)


def test_maps_in_training_mode_are_those_of_evaluation(tiny, images):
    model = tiny(attn_drop_rate=0.5, drop_path_rate=0.5, proj_drop_rate=0.5, patch_drop_rate=0.5)
    expected = vitlib.attention_maps(model, images())
    model.train()
    for found, wanted in zip(vitlib.attention_maps(model, images()), expected, strict=True):
        assert difference(found, wanted) == 0


def test_a_model_is_left_as_it_was_also_when_an_image_does_not_fit(tiny, images):
    model = tiny()
    model.train()
    with refused(ValueError, "expected images of 32 x 32"):
        vitlib.attention_maps(model, images(48, 48))
    assert model.training
    assert not any(layer._forward_pre_hooks or "forward" in vars(layer) for layer in model.sublayers())


@pytest.mark.parametrize("by_keyword", [True, False])
def test_a_mask_that_a_block_gives_its_attention_is_in_the_map(tiny, images, by_keyword):
    class Block(vitlib.EncoderBlock):
        def forward(self, x, mask=None):
            causal = paddle.tril(paddle.ones([x.shape[1]] * 2, "bool"))
            y = self.norm1(x)
            x = x + (self.attn(y, mask=causal) if by_keyword else self.attn(y, causal))
            return x + self.mlp(self.norm2(x))

    class Net(vitlib.VisionTransformer):
        block_class = Block

    for weights in vitlib.attention_maps(tiny(Net), images()):
        assert float(paddle.triu(weights, 1).abs().max()) < 1e-20


def test_other_images_go_through_the_models_own_preprocessing(tiny):
    model = tiny()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, [50, 70, 3], np.uint8))
    for found, expected in zip(
        vitlib.attention_maps(model, [image, image]),
        vitlib.attention_maps(model, model.preprocess([image, image])),
        strict=True,
    ):
        assert difference(found, expected) == 0


def test_maps_follow_the_size_of_the_image(tiny, images):
    model = tiny(dynamic_img_size=True)
    assert [list(m.shape) for m in vitlib.attention_maps(model, images(16, 24))] == [[2, 3, 7, 7]] * 3


def test_an_attention_without_weights_is_refused_by_name(tiny, images):
    class Average(paddle.nn.Layer):
        def __init__(self, embed_dim, num_heads, **options):
            super().__init__()

        def forward(self, x):
            return x.mean(1, keepdim=True).expand_as(x)

    with refused(TypeError, "block 0", "Average", "attention_weights", "MultiHeadAttention"):
        vitlib.attention_maps(tiny(subclass(Average)), images())


def test_an_attend_replaced_on_one_object_is_seen(tiny, images):
    model = tiny()
    model.blocks[1].attn.attend = lambda q, k, v, mask=None: v.mean(1, keepdim=True).expand(q.shape)
    (weights,) = vitlib.attention_maps(model, images(), [1])
    np.testing.assert_allclose(weights.numpy(), 1 / 17, rtol=1e-5)


def test_blocks_that_share_their_weights_have_maps_of_their_own(tiny, images):
    model = tiny()
    model.blocks[2] = model.blocks[0]
    maps = vitlib.attention_maps(model, images())
    assert difference(maps[0], maps[2]) > 1e-3
    assert difference(rebuilt(model, images(), maps), model.forward_features(images())) < 1e-4
    assert difference(vitlib.attention_maps(model, images(), [2])[0], maps[2]) == 0
    assert not any("forward" in vars(layer) for layer in model.sublayers())


def test_an_attention_with_a_forward_of_its_own_has_to_tell_its_weights(tiny, images):
    class Sharpened(vitlib.MultiHeadAttention):
        def forward(self, x, mask=None):
            q, k, v = self.project_qkv(x)
            return self.merge(self.attend(3 * q, k, v, mask=mask))

    class Block(vitlib.EncoderBlock):
        attention_class = Sharpened

    class Net(vitlib.VisionTransformer):
        block_class = Block

    with pytest.raises(TypeError, match="Sharpened"):
        vitlib.attention_maps(tiny(Net), images())

    class Told(Sharpened):
        def attention_weights(self, x, mask=None):
            q, k, _ = self.project_qkv(x)
            return self.weights_of(3 * q, k, mask)

    class Other(Told):  # whose weights are not those of the class that it derives from
        def forward(self, x, mask=None):
            q, k, v = self.project_qkv(x)
            return self.merge(self.attend(5 * q, k, v, mask=mask))

    Block.attention_class = Told
    vitlib.attention_maps(tiny(Net), images())
    Block.attention_class = Other
    with pytest.raises(TypeError, match="Other"):
        vitlib.attention_maps(tiny(Net), images())


def test_a_model_with_forward_features_of_its_own_shows_what_they_compute(tiny, images):
    class Hidden(vitlib.VisionTransformer):
        def forward_features(self, x, mask=None):
            seen = paddle.to_tensor(np.r_[[True], np.arange(16) >= 8]).unsqueeze(0).expand([17, 17])
            return super().forward_features(x, seen)

    model = tiny(Hidden)
    assert all(float(layer[..., 1:9].max()) < 1e-12 for layer in vitlib.attention_maps(model, images()))


def test_a_model_that_reads_its_tokens_in_a_way_of_its_own_has_no_rollout(tiny, images):
    class Mean(vitlib.VisionTransformer):
        def pool(self, tokens):
            return tokens.mean(axis=1)

    for method in (vitlib.attention_rollout, vitlib.relevance):
        with pytest.raises(TypeError, match=r"Mean has a pool of its own.*set global_pool"):
            method(tiny(Mean), images())


def test_a_block_that_does_not_use_its_attention_is_named(tiny, images):
    class Block(vitlib.EncoderBlock):
        def forward(self, x, mask=None):
            return x + self.mlp(self.norm2(x))

    class Net(vitlib.VisionTransformer):
        block_class = Block

    with pytest.raises(ValueError, match="block 0 did not call its attn"):
        vitlib.attention_maps(tiny(Net), images())
