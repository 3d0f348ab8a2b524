"""The inference graph holds what outputs need, in the fewest operations, and is made of known layers alone."""

import textwrap

import numpy as np
import paddle
import pytest
from conftest import TINY, refused
from families import EVERY_ENGINE, close, eager, need
from paddle import nn

import vitlib
from vitlib.deploy import DescriptionError, describe
from vitlib.deploy import graph as graph_module

D, HIDDEN, TOKENS = TINY["embed_dim"], 4 * TINY["embed_dim"], 17


def tokens_of(graph):
    """The number of tokens that each linear layer multiplies, by name; found by the shapes that the ONNX model has."""
    onnx = pytest.importorskip("onnx")
    from vitlib.deploy.onnx_model import onnx_model

    model = onnx.shape_inference.infer_shapes(onnx_model(graph), data_prop=True)
    shapes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in [*model.graph.value_info, *model.graph.output]
    }
    return {node.outputs[0]: shapes[node.outputs[0]][1] for node in graph.nodes if node.op == "linear"}


def test_the_last_block_computes_the_class_token_alone(tiny):
    rows = tokens_of(describe(tiny()))
    last = {name.removeprefix("blocks.2."): count for name, count in rows.items() if name.startswith("blocks.2.")}
    read, kept = (
        {"attn.k": TOKENS, "attn.v": TOKENS},
        ("attn.q", "attn.proj.linear", "mlp.fc1.linear", "mlp.fc2.linear"),
    )
    assert last == {**dict.fromkeys(kept, 1), **read}
    assert {count for name, count in rows.items() if name.startswith("blocks.1.")} == {TOKENS}


def test_the_last_block_of_a_distilled_model_computes_two_tokens(tiny):
    rows = tokens_of(describe(tiny(vitlib.DeiT)))
    assert rows["blocks.2.attn.q"] == rows["blocks.2.mlp.fc2.linear"] == 2


@pytest.mark.parametrize("output", ["tokens", "map_2"])
def test_the_last_block_computes_all_tokens_where_all_are_read(output, tiny):
    rows = tokens_of(describe(tiny(), ["logits", output]))
    assert rows["blocks.2.attn.q"] == rows["blocks.2.mlp.fc2.linear"] == TOKENS


def test_tokens_averaged_after_the_last_block_meet_its_last_layer_once(tiny):
    rows = tokens_of(describe(tiny(global_pool="avg", class_token=False)))
    assert rows["blocks.2.mlp.fc1.linear"] == 16
    assert rows["blocks.2.mlp.fc2.linear"] == 1


def test_blocks_after_the_last_output_are_left_out(tiny):
    graph = describe(tiny(), "map_1")
    assert any(name.startswith("blocks.1.") for name in graph.weights)
    assert not any(name.startswith(("blocks.2.", "head", "norm.")) for name in graph.weights)


def test_scale_layer_scale_and_both_heads_are_in_the_weights(tiny):
    model = tiny(vitlib.DeiT, init_values=0.5)
    graph = describe(model)
    qkv, proj = model.blocks[0].attn.qkv, model.blocks[0].attn.proj
    np.testing.assert_allclose(graph.weights["blocks.0.attn.q.weight"], qkv.weight.numpy()[:, :D] / 4, rtol=1e-6)
    np.testing.assert_allclose(graph.weights["blocks.0.attn.k.bias"], qkv.bias.numpy()[D : 2 * D])
    scaled = proj.weight.numpy() * model.blocks[0].ls1.gamma.numpy()
    np.testing.assert_allclose(graph.weights["blocks.0.attn.proj.linear.weight"], scaled, rtol=1e-6)
    both = np.concatenate([model.head.weight.numpy(), model.head_dist.weight.numpy()]) / 2
    np.testing.assert_allclose(graph.weights["model.heads.weight"], both)
    assert not any(node.op == "multiply" for node in graph.nodes)


def test_attention_pooling_multiplies_no_keys_and_projects_values_once(tiny):
    graph = describe(tiny(class_token=False, global_pool="map"))
    shapes = {name: array.shape for name, array in graph.weights.items() if name.startswith("attn_pool")}
    assert shapes["attn_pool.logits.weight"] == (D, 3)  # one column a head, in place of keys
    assert not any(shape == (D, D) for name, shape in shapes.items() if "proj" not in name)
    values = [node.inputs[0] for node in graph.nodes if "attn_pool.v.weight" in node.inputs]
    (summed,) = [node for node in graph.nodes if node.outputs == tuple(values)]
    assert summed.attrs["shape"] == (0, 3, 1, D)  # one row an image and head


def test_prefix_tokens_have_their_positions(tiny):
    model = tiny(reg_tokens=2)
    prefix = np.concatenate([model.cls_token.numpy(), model.reg_token.numpy()], axis=1)
    assert (describe(model).weights["model.prefix.tokens"] == prefix + model.pos_embed.numpy()[:, :3]).all()
    model = tiny(no_embed_class=True)
    assert (describe(model).weights["model.prefix.tokens"] == model.cls_token.numpy()).all()


def test_the_graph_is_that_of_evaluation_and_the_model_keeps_its_mode(tiny):
    model = tiny(vitlib.DeiT, drop_path_rate=0.5, proj_drop_rate=0.5)
    expected = [node.op for node in describe(model).nodes]
    model.train()
    assert [node.op for node in describe(model).nodes] == expected
    assert model.training


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ("logit", ["'logit'", "'logits'"]),
        ("map_3", ["map_3", "3 blocks"]),
        ("attention_-4", ["attention_-4"]),
        (["logits", "logits"], ["more than once"]),
        (["map_2", "map_-1"], ["more than once"]),
        ([], ["no output"]),
    ],
)
def test_outputs_that_cannot_be_are_refused(outputs, words, tiny):
    with refused(ValueError, *words):
        describe(tiny(), outputs)


def test_logits_of_a_model_without_classes_are_refused(tiny):
    with refused(ValueError, "num_classes=0", "features"):
        describe(tiny(num_classes=0), "logits")


def test_a_model_without_values_is_refused():
    with paddle.LazyGuard():
        model = vitlib.VisionTransformer(**TINY)
    with refused(RuntimeError, "no values", "LazyGuard"):
        describe(model)


def test_a_size_that_the_model_does_not_take_is_refused(tiny):
    with refused(ValueError, "set_image_size", "dynamic_img_size"):
        describe(tiny(), img_size=64)
    with refused(ValueError, "multiple of 8"):
        describe(tiny(dynamic_img_size=True), img_size=(32, 36))


# Classes of one's own


class MeanAttention(vitlib.MultiHeadAttention):
    """Every token reads the mean of all values."""

    def attend(self, q, k, v, mask=None):
        return v.mean(1, keepdim=True).expand(q.shape)


class DescribedMeanAttention(MeanAttention):
    def to_graph(self, graph, x):
        y = graph.linear(x, self.qkv.weight[:, 2 * self.embed_dim :], self.qkv.bias[2 * self.embed_dim :])
        y = graph.layer(self.proj, graph.mean(y, 1, keepdim=True))
        return graph.add(graph.multiply(x, graph.weight(0.0)), y)  # as many tokens as before


class LaterAttention(DescribedMeanAttention):
    def attend(self, q, k, v, mask=None):
        return v


class TokenSimilarity(vitlib.MultiHeadAttention):
    """Every token reads all tokens by their products with it, without heads."""

    def forward(self, x, mask=None):
        return paddle.nn.functional.softmax(x @ x.transpose([0, 2, 1]), axis=-1) @ x

    def to_graph(self, graph, x):
        return graph.matmul(graph.softmax(graph.matmul(x, graph.transpose(x, (0, 2, 1)))), x)


class ScaledLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 3

    def to_graph(self, graph, x):
        return graph.multiply(graph.linear(x, self.weight, self.bias), graph.weight(3.0))


def test_the_layer_that_the_documentation_shows_is_described(tiny, images):
    example = textwrap.dedent(graph_module.__doc__.partition("::\n")[2])
    scope = {"vitlib": vitlib}
    exec(example, scope)
    block = type("Block", (vitlib.EncoderBlock,), {"mlp_class": scope["ScaledMLP"]})
    model, x = tiny(type("Net", (vitlib.VisionTransformer,), {"block_class": block})), images()
    with vitlib.Predictor(model, "paddle", "float32") as predictor:
        close(predictor.run(x), eager(model, x))


def with_attention(attention):
    block = type("Block", (vitlib.EncoderBlock,), {"attention_class": attention})
    return type("Net", (vitlib.VisionTransformer,), {"block_class": block})


def test_a_layer_of_ones_own_is_described_by_its_to_graph(tiny, images):
    model, x = tiny(with_attention(DescribedMeanAttention)), images()
    with vitlib.Predictor(model, "paddle", "float32", outputs=("logits", "tokens")) as predictor:
        close(predictor.run(x)["logits"], eager(model, x))
    with vitlib.Predictor(model, "paddle", "float32") as predictor:
        close(predictor.run(x), eager(model, x))


@EVERY_ENGINE
def test_products_of_three_axes_are_the_same_in_every_engine(engine, tiny, images):
    need(engine)
    model, x = tiny(with_attention(TokenSimilarity)), images()
    with vitlib.Predictor(model, engine, "float32", verify=False) as predictor:
        close(predictor.run(x), eager(model, x))


@pytest.mark.parametrize("place", ["qkv", "proj", "fc1", "fc2", "head", "q", "kv"])
@pytest.mark.parametrize("gated", [False, True])
def test_a_linear_layer_of_ones_own_can_stand_anywhere(place, gated, tiny, images):
    model, x = tiny(init_values=0.5, gated_mlp=gated, global_pool="map"), images()
    attn, pool = model.blocks[2].attn, model.attn_pool
    holders = {"qkv": attn, "proj": attn, "head": model, "q": pool, "kv": pool}
    holder = holders.get(place, model.blocks[2].mlp)
    old = getattr(holder, place)
    new = ScaledLinear(*old.weight.shape)
    new.set_state_dict(old.state_dict())
    setattr(holder, place, new)
    with vitlib.Predictor(model, "paddle", "float32", verify=False) as predictor:
        close(predictor.run(x), eager(model, x))


def test_parts_made_of_paddles_common_layers_are_described(tiny, images):
    model, x = tiny(), images()
    model.head = nn.Sequential(nn.Linear(D, 9), nn.GELU(), nn.Dropout(0.5), nn.LayerNorm(9), nn.Linear(9, 7), nn.Tanh())
    model.blocks[1] = nn.Identity()
    model.eval()
    with vitlib.Predictor(model, "paddle", "float32", verify=False) as predictor:
        close(predictor.run(x), eager(model, x))


def test_the_attention_of_a_block_is_declared_with_the_heads_that_the_block_has(tiny):
    model = tiny()
    model.blocks[1].attn = vitlib.MultiHeadAttention(D, 6)
    graph = describe(model, ("attention_0", "attention_1"))
    assert [output.shape[1] for output in graph.outputs.values()] == [3, 6]


class PlainRotary(vitlib.layers.RotaryPositions):
    def forward(self, grid):
        return super().forward(grid) * 2


def test_overridden_rotary_positions_and_pooling_are_refused(tiny):
    model = tiny(pos_embed="rotary")
    model.rotary = PlainRotary(16, num_prefix_tokens=1)
    with refused(DescriptionError, "PlainRotary", "forward"):
        describe(model)
    model = tiny(global_pool="map")
    model.attn_pool.mlp = nn.BatchNorm1D(D)
    with refused(DescriptionError, "BatchNorm1D"):
        describe(model)


@pytest.mark.parametrize(("attention", "method"), [(MeanAttention, "attend"), (LaterAttention, "attend")])
def test_an_overridden_part_is_refused_with_the_ways_out(attention, method, tiny):
    model = tiny(with_attention(attention))
    with refused(DescriptionError, attention.__name__, method, "to_graph", "engine='paddle'", "jit.save"):
        describe(model)


def test_an_overridden_model_an_unknown_layer_and_an_unknown_activation_are_refused(tiny):
    class Net(vitlib.VisionTransformer):
        def forward_features(self, x, mask=None):
            return super().forward_features(x, mask) * 2

    with refused(DescriptionError, "Net", "forward_features"):
        describe(tiny(Net))
    model = tiny()
    model.norm = nn.BatchNorm1D(D)
    with refused(DescriptionError, "BatchNorm1D"):
        describe(model)
    model = tiny()
    model.blocks[0].mlp.activation = paddle.nn.functional.mish
    with refused(DescriptionError, "mish"):
        describe(model)


def test_hooks_and_replaced_forwards_are_refused(tiny):
    model = tiny()
    hook = model.blocks[1].register_forward_post_hook(lambda layer, inputs, output: output * 2)
    with refused(DescriptionError, "EncoderBlock", "hooks"):
        describe(model)
    hook.remove()
    describe(model)
    model.blocks[1].mlp.forward = lambda x: x
    with refused(DescriptionError, "MLP", "forward"):
        describe(model)


def test_a_subclass_that_changes_no_answer_is_described(tiny):
    class Net(vitlib.VisionTransformer):
        """One with methods of its own."""

        def __init__(self, config=None, **options):
            super().__init__(config, **options)
            self.note = "mine"

        def no_weight_decay(self):
            return set()

        def count(self):
            return len(self.blocks)

    assert len(describe(tiny(Net)).nodes) == len(describe(tiny()).nodes)


@pytest.mark.parametrize("engine", ["paddle"])
def test_the_paddle_engine_traces_what_cannot_be_described(engine, tiny, images):
    model, x = tiny(with_attention(MeanAttention)), images()
    with vitlib.Predictor(model, engine, "float32") as predictor:
        close(predictor.run(x), eager(model, x))
        with refused(ValueError, "no features"):
            predictor.embed("anything")
    with refused(ValueError, "traced", "'logits' alone"):
        vitlib.Predictor(model, engine, outputs="tokens")


def test_weights_in_bfloat16_are_taken_as_the_numbers_that_they_are(tiny):
    graph = describe(tiny())
    name = graph.weight(paddle.to_tensor([1.5, -2.0]).astype("bfloat16"))
    np.testing.assert_array_equal(graph.weights[name], np.float32([1.5, -2.0]))


def test_the_resnet_of_a_hybrid_takes_pixels_and_its_weights_are_standardised_once(tiny):
    from vitlib.deploy.paddle_program import run_graph

    model = tiny(stem_blocks=(1,))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    mean, std = (np.array(getattr(model.preprocess, name)) for name in ("mean", "std"))
    images = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).astype("float32")
    graph = describe(model, pixels=True)
    weights = {name: paddle.to_tensor(array) for name, array in graph.weights.items()}
    (found,) = run_graph(graph, weights, paddle.to_tensor(pixels))
    close(found.numpy(), eager(model, paddle.to_tensor(images)))
    standard = graph.weights["patch_embed.backbone.stem.conv.conv.weight"]
    np.testing.assert_allclose(standard.mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std((1, 2, 3)), 1, atol=1e-5)
