"""The table of layers adds up to the count, and its rows are what the layers give when the model runs."""

import copy
import pickle

import numpy as np
import paddle
import pytest
from conftest import TINY, refused
from paddle import nn

import vitlib

MODELS = [
    (vitlib.VisionTransformer, {}),
    (vitlib.VisionTransformer, {"img_size": (16, 48), "patch_size": (8, 4), "qkv_bias": False, "reg_tokens": 2}),
    (vitlib.VisionTransformer, {"class_token": False, "global_pool": "avg", "pos_embed": "sincos2d"}),
    (vitlib.VisionTransformer, {"global_pool": "none", "pre_norm": True}),
    (vitlib.VisionTransformer, {"num_classes": 0, "pos_embed": "none"}),
    (vitlib.DeiT, {"init_values": 0.1, "qk_norm": True, "pre_logits": 9}),
]


@pytest.mark.parametrize(("cls", "options"), MODELS, ids=str)
def test_the_columns_add_up_to_the_count_and_to_the_parameters(cls, options):
    model = cls(**{**TINY, **options})
    table = vitlib.summary(model)
    assert (table.parameters, table.macs) == vitlib.count(model) == table.count
    assert table.parameters == sum(int(np.prod(p.shape)) for p in model.parameters())
    assert table.activation_memory == 4 * sum(row.activations for row in table.rows)


@pytest.mark.parametrize(("cls", "options"), MODELS, ids=str)
def test_outputs_and_parameters_of_a_row_are_those_of_the_layer_when_it_runs(cls, options, images):
    model = cls(**{**TINY, **options})
    model.eval()
    shapes, order = {}, []

    def record(name):
        def hook(layer, inputs, output):
            shapes[name] = tuple((output[0] if isinstance(output, tuple) else output).shape)
            order.append(name)

        return hook

    for name, layer in model.named_sublayers():
        layer.register_forward_post_hook(record(name))
    height, width = model.patch_embed.img_size
    model(images(height, width, batch=1))
    layers = dict(model.named_sublayers())
    compared = []
    for row in vitlib.summary(model).rows:
        if not row.name or row.kind == "MLP":
            continue
        found = shapes[row.name]
        if row.name == "patch_embed.proj":  # the convolution gives [B, D, h, w]
            found = (1, found[2] * found[3], found[1])
        assert found == (1, *row.output), row.name
        own = layers[row.name]._parameters.values()
        assert row.parameters == sum(int(np.prod(p.shape)) for p in own if p is not None), row.name
        compared.append(row.name)
    parents = {other.rpartition(".")[0] for other in compared}
    leaves = list(dict.fromkeys(name for name in order if name in compared and name not in parents))
    assert [name for name in compared if name not in parents] == leaves, "rows are in the order of the forward pass"


def test_the_rows_of_a_block_by_hand():
    """17 tokens of 48 features, 3 heads, 192 hidden features."""
    rows = {row.name: row for row in vitlib.summary(vitlib.VisionTransformer(**TINY)).rows}
    assert rows["blocks.1.attn.qkv"].macs == 17 * 48 * 144
    assert rows["blocks.1.attn"].macs == 2 * 17 * 17 * 48
    assert rows["blocks.1.attn"].activations == 17 * 48 + 3 * 17 * 17
    assert rows["blocks.1.mlp"].output == (17, 192)
    assert rows["blocks.1.mlp.fc1"].parameters == 48 * 192 + 192
    assert rows["blocks.1"].activations == 2 * 17 * 48
    assert rows["patch_embed.proj"].macs == 16 * 48 * 3 * 8 * 8
    assert rows[""].parameters == 48 + 17 * 48


def test_the_table_shows_blocks_that_are_alike_once_and_the_total_last():
    lines = str(vitlib.summary("ViT-B/16")).splitlines()
    assert lines[0] == "VisionTransformer, one image of 224 x 224"
    assert any("blocks.0 to 11" in line and "12 alike" in line for line in lines)
    assert len(lines) < 25
    assert "86,567,656" in lines[-1]
    assert "17,563,828,224" in lines[-1]  # facts: 17.564 GMACs
    uneven = vitlib.VisionTransformer(**TINY)
    uneven.blocks[2].mlp = vitlib.MLP(48, 96)
    text = str(vitlib.summary(uneven))
    assert "blocks.0 to 1" in text
    assert "blocks.2.mlp.fc1" in text


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [
        ("vit_tiny_patch16_224", 5_717_416, 1.254),
        ("vit_small_patch32_224", 22_878_952, 1.143),
        ("vit_small_patch16_384", 22_196_584, 15.490),
        ("vit_base_patch32_384", 88_297_192, 13.044),
        ("vit_base_patch16_224", 86_567_656, 17.564),
        ("vit_base_patch8_224", 86_576_872, 78.148),
        ("vit_large_patch32_384", 306_632_680, 45.276),
        ("vit_large_patch16_224", 304_326_632, 61.555),
        ("vit_huge_patch14_518", 633_470_440, 1016.717),
        ("deit_tiny_distilled_patch16_224", 5_910_800, 1.261),
        ("deit_small_distilled_patch16_224", 22_436_432, 4.624),
        ("deit_base_distilled_patch16_384", 87_630_032, 55.591),
    ],
)
def test_the_rows_of_published_architectures_add_up_to_the_published_figures(name, parameters, gmacs):
    rows = vitlib.summary(name).rows
    assert sum(row.parameters for row in rows) == parameters
    assert round(sum(row.macs for row in rows) / 1e9, 3) == gmacs


def test_another_size_and_precision():
    model = vitlib.VisionTransformer(**TINY)
    table = vitlib.summary(model, img_size=(64, 32))
    assert (table.parameters, table.macs) == vitlib.count(model, img_size=(64, 32))
    assert "64 x 32" in str(table)
    assert {row.name: row.output for row in table.rows}["norm"] == (33, 48)
    single = vitlib.summary(model).activation_memory
    model.to(dtype="float64")
    assert vitlib.summary(model).activation_memory == 2 * single
    model.to(dtype="float16")
    assert vitlib.summary(model).activation_memory == single // 2
    with refused(ValueError, "30 x 30", "multiple of 8"):
        vitlib.summary(model, img_size=30)
    with refused(TypeError, "VisionTransformer", "int"):
        vitlib.summary(3)


def test_an_unfilled_model_is_summarised_without_being_filled():
    with paddle.LazyGuard():
        model = vitlib.VisionTransformer(**TINY)
    assert vitlib.summary(model).macs == vitlib.summary(vitlib.VisionTransformer(**TINY)).macs
    assert not any(p._is_initialized() for p in model.parameters())


def test_a_shared_block_has_its_parameters_once_and_its_work_twice():
    model = vitlib.VisionTransformer(**TINY)
    before = vitlib.count(model)
    model.blocks[2] = model.blocks[1]
    after = vitlib.count(model)
    assert after.macs == before.macs
    assert after.parameters == sum(p.size for p in model.parameters()) < before.parameters
    assert vitlib.summary(model).count == after


class Depthwise(nn.Layer):
    """A convolution over the tokens, and a scale."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1D(48, 48, 3, padding=1, groups=48)
        self.scale = self.create_parameter([48])

    def forward(self, x):
        return self.conv(x.transpose([0, 2, 1])).transpose([0, 2, 1]) * self.scale


class Told(Depthwise):
    def macs(self, num_tokens):
        return num_tokens * 48 * 3


class TalkingHeads(vitlib.MultiHeadAttention):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.mix = self.create_parameter([3, 3])


class Average(nn.Layer):
    def __init__(self, embed_dim, num_heads, **options):
        super().__init__()

    def forward(self, x, mask=None):
        return x.mean(1, keepdim=True).expand_as(x)


def test_kinds_of_layers_that_are_not_known_are_named():
    plain = vitlib.count(vitlib.VisionTransformer(**TINY))
    model = vitlib.VisionTransformer(**TINY)
    model.blocks[1].local = Depthwise()
    with pytest.warns(UserWarning, match=r"blocks\.1\.local \(Depthwise\), blocks\.1\.local\.conv \(Conv1D\).*macs\("):
        found = vitlib.count(model)
    assert found.macs == plain.macs
    assert found.parameters == plain.parameters + 48 + 48 * 3 + 48
    assert found.uncounted == ("blocks.1.local (Depthwise)", "blocks.1.local.conv (Conv1D)")
    assert "without those of blocks.1.local (Depthwise)" in str(found)
    assert "not known" in str(vitlib.summary(model))
    parameters, macs = found
    assert (parameters, macs) == (found.parameters, found.macs)
    for duplicate in (copy.copy(found), pickle.loads(pickle.dumps(found))):
        assert (duplicate, duplicate.uncounted) == (found, found.uncounted)

    for attention in (TalkingHeads, Average):
        block = type("Block", (vitlib.EncoderBlock,), {"attention_class": attention})
        net = type("Net", (vitlib.VisionTransformer,), {"block_class": block})
        with pytest.warns(UserWarning, match=attention.__name__):
            vitlib.count(net(**TINY))


def test_a_layer_can_tell_its_own_multiply_accumulates(recwarn):
    plain = vitlib.count(vitlib.VisionTransformer(**TINY))
    model = vitlib.VisionTransformer(**TINY)
    model.blocks[1].local = Told()
    assert vitlib.count(model).macs == plain.macs + 17 * 48 * 3
    model.head = nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 5), nn.ReLU(), nn.Dropout(0.1), nn.BatchNorm1D(5))
    assert vitlib.count(model).macs == plain.macs + 17 * 48 * 3 - 48 * 7 + 48 * 5
    assert not [warning for warning in recwarn if "multiply" in str(warning.message)]
