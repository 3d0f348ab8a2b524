"""A VisionTransformer beside the numbers of the original: sizes, features, heads, freezing, memory."""

import copy
import dataclasses
import subprocess
import sys

import numpy as np
import paddle
import pytest
from conftest import TINY, difference, refused

import vitlib
from vitlib.layers import resample_positions, sincos_positions

BOTH = pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])
AVERAGE = {"class_token": False, "global_pool": "avg"}


def heads(output):
    return list(output) if isinstance(output, tuple) else [output]


def gradients(model, x, seed=0):
    model.clear_gradients()
    paddle.seed(seed)
    sum((head**2).sum() for head in heads(model(x))).backward()
    return {name: None if p.grad is None else p.grad.numpy() for name, p in model.named_parameters()}


def numbers(model):
    return {name: p.numpy() for name, p in model.named_parameters()}


def lazily(cls=vitlib.VisionTransformer, **options):
    with paddle.LazyGuard():
        return cls(**{**TINY, **options})


# Sizes


@BOTH
@pytest.mark.parametrize(
    ("size", "patch", "grid"),
    [(32, 8, (4, 4)), ((16, 48), 8, (2, 6)), ((16, 48), (4, 12), (4, 4)), ((8, 8), 8, (1, 1))],
)
def test_images_of_the_size_given_at_construction_are_taken(tiny, images, cls, size, patch, grid):
    model = tiny(cls, img_size=size, patch_size=patch)
    height, width = size if isinstance(size, tuple) else (size, size)
    assert list(model(images(height, width)).shape) == [2, 7]
    prefix = 2 if cls is vitlib.DeiT else 1
    assert list(model.forward_features(images(height, width)).shape) == [2, prefix + grid[0] * grid[1], 48]
    with refused(ValueError, f"{height} x {width}", f"{height + 8} x {width}", "dynamic_img_size", "set_image_size"):
        model(images(height + 8, width))


@BOTH
@pytest.mark.parametrize(
    "options", [{}, {"no_embed_class": True}, {"reg_tokens": 2}, {"position_resize": "dino"}], ids=str
)
def test_set_image_size_resamples_the_table_in_the_same_parameter(tiny, images, cls, options):
    model = tiny(cls, **options)
    table, before = model.pos_embed, model.pos_embed.clone()
    model.set_image_size((48, 16))
    assert model.pos_embed is table
    expected = resample_positions(before, (4, 4), (6, 2), model.config.position_resize)
    assert difference(model.pos_embed, expected) == 0
    assert (model.config.img_size, model.patch_embed.grid_size, model.preprocess.size) == ((48, 16), (6, 2), (48, 16))
    assert list(model(images(48, 16)).shape) == [2, 7]
    with refused(ValueError, "48 x 16", "32 x 32"):
        model(images(32, 32))


def test_an_optimizer_made_before_set_image_size_still_trains_the_table(tiny, images):
    model = tiny()
    optimizer = paddle.optimizer.AdamW(0.1, parameters=model.parameters())
    model.train()
    model(images()).sum().backward()  # a gradient of the old shape must not stand in the way
    model.set_image_size(64)
    before = model.pos_embed.numpy()
    model(images(64, 64)).sum().backward()
    optimizer.step()
    assert before.shape == (1, 65, 48)
    assert np.abs(model.pos_embed.numpy() - before).min() > 1e-3


def test_setting_the_same_size_changes_no_bit(tiny):
    model = tiny()
    before = numbers(model)
    model.set_image_size(32)
    assert all((array == before[name]).all() for name, array in numbers(model).items())


def test_set_image_size_leaves_the_config_that_a_model_of_that_size_has(tiny):
    model = tiny()
    for size in (64, (16, 48)):
        model.set_image_size(size)
        assert model.config == tiny(img_size=size).config


@pytest.mark.parametrize("size", [30, 4, (32, 33), 0, "32", None, 32.5])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_size_that_cannot_work_is_refused_and_changes_nothing(tiny, size, lazy):
    model = lazily() if lazy else tiny()
    config, shape, grid = model.config, list(model.pos_embed.shape), model.patch_embed.grid_size
    with refused(ValueError):
        model.set_image_size(size)
    assert (model.config, list(model.pos_embed.shape), model.patch_embed.grid_size) == (config, shape, grid)


def test_the_size_of_a_frozen_table_can_be_changed_and_it_stays_frozen(tiny):
    model = tiny()
    model.freeze()
    model.set_image_size(64)
    assert not model.pos_embed.trainable
    assert model.pos_embed.stop_gradient


@BOTH
@pytest.mark.parametrize("kind", ["learned", "sincos2d", "none"])
def test_an_unfilled_model_takes_another_size_and_is_then_filled_for_it(images, cls, kind):
    model = lazily(cls, pos_embed=kind)
    model.set_image_size((48, 16))
    assert not any(p._is_initialized() for p in model.parameters())
    for parameter in model.parameters():
        parameter.initialize()
    model.eval()
    assert list(model(images(48, 16)).shape) == [2, 7]
    prefix = model.num_prefix_tokens
    if kind == "learned":
        assert list(model.pos_embed.shape) == [1, prefix + 12, 48]
        assert 0.015 < float(model.pos_embed.std()) < 0.025
    if kind == "sincos2d":
        assert (model.pos_embed.numpy()[0, prefix:] == sincos_positions((6, 2), 48)).all()
        assert (model.pos_embed.numpy()[0, :prefix] == 0).all()
        assert not model.pos_embed.trainable


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"no_embed_class": True},
        {"pos_embed": "sincos2d"},
        {"pos_embed": "none"},
        {"position_resize": "torchvision"},
    ],
    ids=str,
)
def test_a_dynamic_size_gives_what_set_image_size_gives(tiny, images, cls, options):
    model, fixed = tiny(cls, dynamic_img_size=True, **options), tiny(cls, **options)
    for size in ((32, 32), (16, 64), (64, 48), (8, 8)):
        other = tiny(cls, **options)
        other.set_image_size(size)
        assert difference(model(images(*size)), other(images(*size))) < 1e-5, size
    assert difference(model(images()), fixed(images())) < 1e-6


def test_a_grid_with_equal_token_count_does_not_reuse_the_table(tiny, images):
    model = tiny(dynamic_img_size=True)
    wide = images(16, 64)
    resampled = model(wide)
    model.config = model.config.replace(img_size=(16, 64))
    model.patch_embed.set_image_size((16, 64))  # as if the table were the wide one
    assert difference(model(wide), resampled) > 1e-2


@BOTH
def test_padding_equals_zeros_put_there_by_hand(tiny, images, cls):
    model = tiny(cls, dynamic_img_size=True, dynamic_img_pad=True)
    for height, width in ((32, 32), (31, 25), (3, 40), (17, 9)):
        x = images(height, width)
        padded = paddle.to_tensor(np.pad(x.numpy(), [(0, 0), (0, 0), (0, -height % 8), (0, -width % 8)]))
        assert difference(model(x), model(padded)) < 1e-6


@pytest.mark.parametrize("channels", [1, 4, 12])
def test_images_of_other_channel_counts_are_taken(tiny, images, channels):
    model = tiny(in_chans=channels)
    assert list(model(images(channels=channels)).shape) == [2, 7]
    assert model.preprocess.in_chans == channels
    with refused(ValueError, f"in_chans={channels}", "found 3"):
        model(images())


# Features


@BOTH
def test_the_layers_of_intermediates_are_chosen_by_index_count_or_all(tiny, images, cls):
    model, x = tiny(cls), images()
    every = model.intermediates(x)
    assert len(every) == 3
    for layers, indices in [
        ([0], [0]),
        ([2, 0], [2, 0]),
        ([-1], [2]),
        ([-3, 1], [0, 1]),
        (1, [2]),
        (2, [1, 2]),
        ((1, 1), [1, 1]),
    ]:
        found = model.intermediates(x, layers)
        assert [difference(a, every[i]) for a, i in zip(found, indices, strict=True)] == [0] * len(indices)
    assert difference(model.intermediates(x, [np.int64(1)])[0], every[1]) == 0


def test_intermediates_are_what_the_blocks_give(tiny, images):
    model, x, seen = tiny(reg_tokens=2), images(), []
    hooks = [
        block.register_forward_post_hook(lambda layer, inputs, output: seen.append(output)) for block in model.blocks
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    for found, output in zip(model.intermediates(x, prefix_tokens=True), seen, strict=True):
        assert difference(found, output) == 0
    for found, output in zip(model.intermediates(x), seen, strict=True):
        assert difference(found, output[:, 3:]) == 0
    for found, output in zip(model.intermediates(x, norm=True, prefix_tokens=True), seen, strict=True):
        assert difference(found, model.norm(output)) == 0
    assert difference(model.intermediates(x, [-1], norm=True, prefix_tokens=True)[0], model.forward_features(x)) == 0


def test_maps_keep_rows_and_columns_and_come_with_the_prefix_on_request(tiny, images):
    model, x = tiny(reg_tokens=2, dynamic_img_size=True), images(48, 16)
    (tokens,) = model.intermediates(x, [1], prefix_tokens=True)
    ((feature_map, prefix),) = model.intermediates(x, [1], reshape=True, prefix_tokens=True)
    assert list(feature_map.shape) == [2, 48, 6, 2]
    assert difference(prefix, tokens[:, :3]) == 0
    for row in range(6):
        for column in range(2):
            assert difference(feature_map[:, :, row, column], tokens[:, 3 + 2 * row + column]) == 0
    assert difference(model.intermediates(x, [1], reshape=True)[0], feature_map) == 0


def test_blocks_after_the_last_one_asked_for_are_not_run(tiny, images):
    model, seen = tiny(), []
    for block in model.blocks:
        block.register_forward_post_hook(lambda layer, inputs, output: seen.append(layer))
    model.intermediates(images(), [1])
    assert len(seen) == 2


@pytest.mark.parametrize("layers", [[3], [-4], [0, 7], 0, 4, -1, [], [1.5], ["0"]])
def test_a_layer_that_is_not_there_is_refused(tiny, images, layers):
    with refused(ValueError, "layer"):
        tiny().intermediates(images(), layers)


def test_maps_of_a_model_that_drops_patches_are_refused_in_training(tiny, images):
    model = tiny(patch_drop_rate=0.5)
    assert len(model.intermediates(images(), reshape=True)) == 3
    model.train()
    with refused(ValueError, "patch_drop_rate", "eval()"):
        model.intermediates(images(), reshape=True)


# Pooling and heads


def test_the_head_sees_the_class_token(tiny, images):
    model, x = tiny(), images()
    assert difference(model(x), model.head(model.forward_features(x)[:, 0])) == 0
    assert difference(model(x), model.forward_head(model.forward_features(x))) == 0


def test_average_pooling_normalises_afterwards_as_timm_or_before_as_google(tiny, images):
    x = images()
    for options in ({}, {"reg_tokens": 2}):
        model = tiny(global_pool="avg", **options)
        patches = model.forward_features(x)[:, model.num_prefix_tokens :]
        assert difference(model(x), model.head(model.fc_norm(patches.mean(1)))) < 1e-5
        assert {name for name in model.state_dict() if "norm" in name and "blocks" not in name} == {
            "fc_norm.weight",
            "fc_norm.bias",
        }
    google = tiny(fc_norm=False, **AVERAGE)
    assert difference(google(x), google.head(google.forward_features(x).mean(1))) < 1e-5
    assert "norm.weight" in google.state_dict()
    last = google.intermediates(x, [-1])[0]
    assert difference(google.forward_features(x), google.norm(last)) == 0
    assert difference(tiny(**AVERAGE).forward_features(x), tiny(**AVERAGE).intermediates(x, [-1])[0]) == 0


def test_without_pooling_every_token_gets_logits(tiny, images):
    model, x = tiny(global_pool="none"), images()
    assert list(model(x).shape) == [2, 17, 7]
    assert difference(model(x)[:, 0], tiny()(x)) < 1e-5


@pytest.mark.parametrize("options", [{}, AVERAGE, {"pre_logits": 20}], ids=str)
def test_without_classes_a_model_gives_what_its_head_would_see(tiny, images, options):
    model, x = tiny(**options), images()
    seen = []
    model.head.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    model(x)
    model.reset_head(0)
    assert difference(model(x), seen[0]) == 0
    assert list(model(x).shape) == [2, 20 if "pre_logits" in options else 48]
    assert not any(name.startswith("head") for name in model.state_dict())
    assert not any(name.startswith("head") for name in tiny(num_classes=0, **options).state_dict())


def test_pre_logits_are_a_tanh_layer_before_the_head(tiny, images):
    model, x = tiny(pre_logits=20), images()
    weight, bias = model.pre_logits.fc.weight, model.pre_logits.fc.bias
    hidden = paddle.tanh(model.forward_features(x)[:, 0] @ weight + bias)
    assert difference(model(x), model.head(hidden)) < 1e-5


def test_a_fresh_head_is_for_the_new_classes_and_leaves_the_rest_alone(tiny, images):
    model = tiny()
    before = numbers(model)
    model.reset_head(5)
    assert (model.config.num_classes, list(model(images()).shape)) == (5, [2, 5])
    assert 0.015 < float(model.head.weight.std()) < 0.025
    assert float(model.head.bias.abs().max()) == 0
    after = numbers(model)
    assert set(after) == set(before)
    assert all((after[name] == before[name]).all() for name in after if not name.startswith("head"))
    for wrong in (-1, 2.5, "5", None):
        with refused(ValueError, f"num_classes={wrong!r}"):
            model.reset_head(wrong)
        assert (model.config.num_classes, list(model.head.weight.shape)) == (5, [48, 5])


def test_a_head_that_is_made_without_values_is_noticed(tiny, images):
    model = tiny()
    model(images())
    with paddle.LazyGuard():
        model.reset_head(5)
    with refused(RuntimeError, "head.weight", "no values yet"):
        model(images())


# Training


@BOTH
def test_freezing_leaves_the_heads_alone_trainable(tiny, images, cls):
    model = tiny(cls)
    model.train()
    model.freeze()
    grads = gradients(model, images())
    for name, grad in grads.items():
        assert (grad is not None) == name.startswith("head"), name
    model.unfreeze()
    assert all(grad is not None for grad in gradients(model, images()).values())


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_freezing_some_blocks_freezes_the_embedding_and_those(tiny, images, blocks):
    model = tiny(vitlib.DeiT, reg_tokens=1, pre_norm=True)
    model.train()
    model.freeze(blocks)
    embedding = ("patch_embed", "cls_token", "dist_token", "reg_token", "pos_embed", "norm_pre")
    frozen = (*embedding, *(f"blocks.{i}." for i in range(blocks)))
    for name, grad in gradients(model, images()).items():
        assert (grad is None) == name.startswith(frozen), name


@pytest.mark.parametrize("blocks", [-1, 4, 1.5, "1", True])
def test_freezing_blocks_that_are_not_there_is_refused_and_freezes_nothing(tiny, blocks):
    model = tiny()
    with refused(ValueError, f"blocks={blocks!r}", "0 to 3"):
        model.freeze(blocks)
    assert all(p.trainable for p in model.parameters())


def test_unfreezing_leaves_a_fixed_table_fixed(tiny):
    model = tiny(pos_embed="sincos2d")
    model.freeze()
    model.unfreeze()
    assert [name for name, p in model.named_parameters() if not p.trainable] == ["pos_embed"]


def test_weight_decay_is_kept_from_positions_and_prefix_tokens(tiny):
    assert tiny().no_weight_decay() == {"pos_embed", "cls_token"}
    assert tiny(vitlib.DeiT, reg_tokens=2).no_weight_decay() == {"pos_embed", "cls_token", "dist_token", "reg_token"}
    assert tiny(pos_embed="none", **AVERAGE).no_weight_decay() == set()


@BOTH
@pytest.mark.parametrize(
    "options",
    [{}, {"proj_drop_rate": 0.3, "attn_drop_rate": 0.2, "drop_path_rate": 0.5, "pos_drop_rate": 0.1, "drop_rate": 0.1}],
    ids=["plain", "with dropout"],
)
def test_recomputing_gives_the_same_gradients(tiny, images, cls, options):
    model = tiny(cls, **options)
    model.train()
    expected = gradients(model, images())
    model.set_recompute()
    found = gradients(model, images())
    model.set_recompute(False)
    again = gradients(model, images())
    largest = max(np.abs(grad).max() for grad in expected.values())
    for name, grad in expected.items():
        assert np.abs(found[name] - grad).max() <= 1e-6 * largest, name
        assert np.abs(again[name] - grad).max() <= 1e-6 * largest, name


def test_recomputing_runs_each_block_twice_in_training_alone(tiny, images):
    model, seen = tiny(), []
    for block in model.blocks:
        block.attn.register_forward_post_hook(lambda layer, inputs, output: seen.append(1))
    model.set_recompute()
    model(images())
    assert len(seen) == 3
    model.train()
    model(images()).sum().backward()
    assert len(seen) == 3 + 6


def test_recomputing_passes_the_mask_on(tiny, images):
    model = tiny()
    model.train()
    mask = paddle.to_tensor(np.tril(np.ones([17, 17], bool)))
    expected = model(images(), mask=mask)
    model.set_recompute()
    assert difference(model(images(), mask=mask), expected) < 1e-6
    assert difference(model(images()), expected) > 1e-3


PEAK = """
import paddle, vitlib
for enabled in (True, False):
    model = vitlib.VisionTransformer(img_size=64, patch_size=4, embed_dim=48, depth=8, num_heads=3, num_classes=7)
    model.set_recompute(enabled)
    model.train()
    model(paddle.randn([8, 3, 64, 64])).sum().backward()
    print(paddle.base.core.host_memory_stat_peak_value("Allocated", 0))
"""


def test_recomputing_needs_less_than_half_of_the_memory():
    output = subprocess.check_output([sys.executable, "-W", "ignore", "-c", PEAK], text=True)
    with_recompute, without = map(int, output.split()[-2:])
    assert with_recompute < without / 2


def test_patch_dropout_keeps_a_share_of_the_patches_and_every_prefix_token(tiny, images):
    model = tiny(vitlib.DeiT, patch_drop_rate=0.75)
    assert list(model.embed(images()).shape) == [2, 18, 48]
    whole = model.embed(images()).numpy()
    model.train()
    paddle.seed(0)
    kept = model.embed(images()).numpy()
    assert kept.shape == (2, 2 + 4, 48)
    assert (kept[:, :2] == whole[:, :2]).all()
    chosen = [[int(np.abs(whole[b] - row).max(1).argmin()) for row in kept[b, 2:]] for b in range(2)]
    for b in range(2):
        assert len(set(chosen[b])) == 4
        assert (whole[b, chosen[b]] == kept[b, 2:]).all(), "patches keep their own positions"
    assert set(chosen[0]) != set(chosen[1]), "each sample draws its own"
    many = np.concatenate(
        [np.abs(whole[0][:, None] - model.embed(images()).numpy()[0, 2:]).max(-1).argmin(0) for _ in range(60)]
    )
    assert set(many) == set(range(2, 18)), "every patch has its turn"


def test_a_mask_is_refused_where_patches_are_dropped(tiny, images):
    model = tiny(patch_drop_rate=0.75)
    mask = paddle.ones([1, 1, 17, 17], "bool")
    assert (model(images(), mask).numpy() == model(images()).numpy()).all(), "evaluation drops none"
    model.train()
    with refused(ValueError, "mask", "patch_drop_rate"):
        model(images(), mask)


@pytest.mark.parametrize(
    "rate", ["drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate", "patch_drop_rate"]
)
def test_a_rate_acts_in_training_alone(tiny, images, rate):
    model, x = tiny(**{rate: 0.5}), images(batch=8)
    assert difference(model(x), tiny()(x)) == 0
    model.train()
    assert difference(model(x), model(x)) > 1e-3


def test_without_rates_training_computes_what_evaluation_computes(tiny, images):
    model = tiny()
    expected = model(images())
    model.train()
    assert difference(model(images()), expected) == 0


def test_a_mask_reaches_every_block(tiny, images):
    model, x = tiny(), images()
    seen = np.ones(17, bool)
    seen[9:] = False  # the lower half of the image
    mask = paddle.to_tensor(seen).reshape([1, 1, 1, 17])
    changed = paddle.concat([x[:, :, :16], -x[:, :, 16:]], axis=2)
    assert difference(model(x, mask=mask), model(changed, mask=mask)) < 1e-5
    assert difference(model(x), model(changed)) > 1e-2
    assert difference(model.forward_features(x, mask)[:, 0], model.forward_features(changed, mask)[:, 0]) < 1e-5


# Building


@BOTH
def test_an_unfilled_model_says_so_when_it_is_called(images, cls):
    model = lazily(cls)
    for call in (model, model.forward_features, model.intermediates, model.embed):
        with refused(
            RuntimeError, "no values yet", "LazyGuard", "initialize()", f"{len(model.parameters())} parameters"
        ):
            call(images())
    for parameter in model.parameters():
        parameter.initialize()
    model(images())


def test_one_empty_parameter_is_named(tiny, images):
    model = lazily()
    for name, parameter in tiny().named_parameters():
        if name != "blocks.1.mlp.fc1.weight":
            dict(model.named_parameters())[name].set_value(parameter)
    with refused(RuntimeError, "1 parameters", "blocks.1.mlp.fc1.weight"):
        model(images())


def test_parts_are_swapped_by_class_attribute():
    class Patches(vitlib.PatchEmbed):
        pass

    class Block(vitlib.EncoderBlock):
        pass

    class Norm(paddle.nn.LayerNorm):
        pass

    class Net(vitlib.VisionTransformer):
        patch_embed_class, block_class, norm_class = Patches, Block, Norm

    class Distilled(vitlib.DeiT):
        patch_embed_class, block_class, norm_class = Patches, Block, Norm

    for cls in (Net, Distilled):
        model = cls(**TINY, pre_norm=True)
        assert type(model.patch_embed) is Patches
        assert {type(block) for block in model.blocks} == {Block}
        assert (type(model.norm), type(model.norm_pre)) == (Norm, Norm)
        assert {type(block.norm1) for block in model.blocks} == {vitlib.layers.LayerNorm}, (
            "the block has its own attribute"
        )
        assert type(cls(**TINY, fc_norm=True).fc_norm) is Norm


def test_a_config_with_a_distillation_token_is_refused_by_the_name_of_deit():
    config = vitlib.get_config("deit_tiny_distilled_patch16_224")
    for call in (
        lambda: vitlib.VisionTransformer(config),
        lambda: vitlib.VisionTransformer(**TINY, distillation_token=True),
    ):
        with refused(ValueError, "DeiT", "create_model", "distillation_token=False"):
            call()


def test_a_model_in_double_precision_stays_there(tiny, images):
    model, x = tiny(dynamic_img_size=True), images()
    expected = model(x)
    model.to(dtype="float64")
    found = model(x.astype("float64"))
    assert str(found.dtype) == "paddle.float64"
    assert difference(found.astype("float32"), expected) < 1e-4
    assert str(model(images(48, 16).astype("float64")).dtype) == "paddle.float64"
    model.set_image_size(48)
    model.reset_head(4)
    assert str(model(images(48, 48).astype("float64")).dtype) == "paddle.float64"


def test_preprocessing_can_be_replaced_and_follows_the_size(tiny):
    model = tiny()
    model.preprocess = vitlib.Preprocess(crop_fraction=1.0)
    assert (model.preprocess.crop_fraction, model.preprocess.size) == (1.0, 32)
    model.preprocess = vitlib.Preprocess(size=24)
    assert model.preprocess.size == 24
    model.set_image_size(64)
    assert model.preprocess.size == 64


def test_patch_dropout_trains_in_traced_models_of_several_widths_and_batches():
    for width in (8, 16):
        model = vitlib.VisionTransformer(
            img_size=16, patch_size=8, embed_dim=width, depth=1, num_heads=2, num_classes=3, patch_drop_rate=0.3
        )
        traced = paddle.jit.to_static(model)
        traced.train()
        for batch in (1, 2):
            traced(paddle.randn([batch, 3, 16, 16])).sum().backward()
        assert model.patch_embed.proj.weight.grad is not None


def test_masks_that_cannot_be_masks_are_refused_by_a_sentence(tiny, images):
    for mask in (paddle.ones([17, 17], "int64"), np.ones((17, 17), bool)):
        with pytest.raises(TypeError, match="boolean"):
            tiny()(images(), mask=mask)
    mask = paddle.zeros([17, 17], "float64")
    assert difference(tiny()(images(), mask=mask), tiny()(images())) < 1e-5


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "uint8", "int64"])
def test_images_of_another_type_are_refused_with_the_way_out(tiny, images, dtype):
    model = tiny()
    for call in (model, model.forward_features, model.intermediates):
        with refused(TypeError, dtype, ".astype('float32')"):
            call(images().astype(dtype))


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_models_of_another_type_refuse_float32_images_with_the_way_out(tiny, images, dtype):
    model = tiny()
    model.to(dtype=dtype)
    with refused(TypeError, "float32", f".astype('{dtype}')", "model.to(dtype=...)"):
        model(images())


def test_the_size_of_a_half_precision_model_can_be_changed_on_a_cpu(tiny):
    for dtype in ("float16", "bfloat16"):
        full, half = tiny(), tiny()
        half.to(dtype=dtype)
        full.pos_embed.set_value(half.pos_embed.astype("float32"))
        for model in (full, half):
            model.set_image_size((48, 64))
        assert str(half.pos_embed.dtype) == f"paddle.{dtype}"
        assert difference(half.pos_embed.astype("float32"), full.pos_embed.astype(dtype).astype("float32")) == 0


def test_the_width_of_the_heads_input_has_timms_name(tiny, images):
    assert tiny().num_features == 48
    assert tiny(pre_logits=20).num_features == 20
    for options in ({}, {"pre_logits": 20}, AVERAGE):
        model = tiny(**options)
        features = model.forward_head(model.forward_features(images()), pre_logits=True)
        assert features.shape == [2, model.num_features]
        assert difference(model.head(features), model(images())) == 0


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("forward_intermediates", "intermediates"),
        ("get_intermediate_layers", "intermediates"),
        ("reset_classifier", "reset_head"),
        ("set_input_size", "set_image_size"),
        ("set_grad_checkpointing", "set_recompute"),
        ("get_last_selfattention", "attention_maps"),
        ("num_classes", "config.num_classes"),
        ("default_cfg", "preprocess"),
    ],
)
def test_names_of_other_libraries_lead_to_those_here(tiny, name, way):
    model = tiny()
    with refused(AttributeError, repr(name), way):
        getattr(model, name)
    assert not hasattr(model, name)
    with refused(AttributeError, "nonsense"):
        model.nonsense  # noqa: B018


@dataclasses.dataclass(frozen=True)
class ScaleConfig(vitlib.ViTConfig):
    scale: float = 2.0


class Scaled(vitlib.VisionTransformer):
    config_class = ScaleConfig

    def forward_head(self, tokens, pre_logits=False):
        return self.config.scale * super().forward_head(tokens, pre_logits)


class ScaledDeiT(vitlib.DeiT):
    config_class = ScaleConfig


def test_a_model_takes_a_config_of_its_own_class(images):
    plain, model = vitlib.VisionTransformer(**TINY), Scaled(**TINY, scale=3.0)
    model.set_state_dict(plain.state_dict())
    assert difference(model(images()), 3 * plain(images())) < 1e-5
    from_preset = Scaled(vitlib.ViTConfig(**TINY), depth=2)
    assert type(from_preset.config) is ScaleConfig
    assert (from_preset.config.depth, from_preset.config.scale) == (2, 2.0)
    assert Scaled(model.config, depth=1).config == model.config.replace(depth=1)
    assert ScaledDeiT(scale=4.0, **TINY).config == ScaleConfig(scale=4.0, distillation_token=True, **TINY)
    assert copy.deepcopy(model).config == model.config
    with refused(TypeError, "ScaleConfig", "'scal'", "did you mean 'scale'"):
        Scaled(**TINY, scal=3.0)
    with refused(TypeError, "ViTConfig", "'scale'"):
        vitlib.VisionTransformer(**TINY, scale=3.0)


def test_a_config_of_a_class_of_its_own_travels_with_the_weights(images, tmp_path):
    model = vitlib.create_model("vit_tiny_patch16_224", model_class=Scaled, **TINY, scale=3.0)
    assert (model.config.scale, model.config.num_classes) == (3.0, 7)
    model.eval()
    model.save_pretrained(tmp_path)
    again = vitlib.from_pretrained(tmp_path, model_class=Scaled)
    again.eval()
    assert again.config == model.config
    assert difference(again(images()), model(images())) == 0
    assert vitlib.from_pretrained(tmp_path, model_class=Scaled, scale=4.0).config.scale == 4.0
    other = Scaled(**TINY)
    vitlib.load_weights(other, tmp_path)
    assert difference(other.head.weight, model.head.weight) == 0
    for model_class in (None, vitlib.VisionTransformer):
        with refused(vitlib.WeightsError, "Scaled", "model_class"):
            vitlib.from_pretrained(tmp_path, model_class=model_class)
