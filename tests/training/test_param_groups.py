"""Weight decay and learning rates by group: what they spare, and that Paddle's AdamW obeys them."""

import numpy as np
import paddle
import pytest
from conftest import TINY, refused

import vitlib
from vitlib.training import param_groups, weight_decay_filter


def settings(model, groups):
    """{parameter's name: (weight decay, learning rate)}"""
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: (g["weight_decay"], g["learning_rate"]) for g in groups for p in g["params"]}


def test_positions_tokens_biases_and_norms_have_no_decay_and_matrices_have(tiny):
    model = tiny(vitlib.DeiT, reg_tokens=2, init_values=1e-4)
    found = settings(model, param_groups(model, 0.05))
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert {name for name, (decay, _) in found.items() if decay} == {
        "patch_embed.proj.weight",
        "head.weight",
        "head_dist.weight",
        *(f"blocks.{i}.{part}.weight" for i in range(3) for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")),
    }
    assert set(found.values()) == {(0.0, 1.0), (0.05, 1.0)}


def test_adamw_scales_decay_and_rate_of_each_group_as_pytorch_does():
    """One step of AdamW from zero moments is p · (1 - lr · wd) - lr · g / (|g| + eps)."""
    rate, eps = 0.1, 1e-8
    layers = [paddle.nn.Linear(1, 1, bias_attr=False) for _ in range(4)]
    plans = [(0.0, 1.0), (0.5, 1.0), (0.0, 0.25), (0.5, 0.25)]
    groups = [
        {"params": [layer.weight], "weight_decay": decay, "learning_rate": scale}
        for layer, (decay, scale) in zip(layers, plans, strict=True)
    ]
    optimizer = paddle.optimizer.AdamW(rate, parameters=groups, epsilon=eps, weight_decay=0.9)
    for layer in layers:
        layer.weight.set_value(np.full([1, 1], 2.0, "float32"))
        (3.0 * layer.weight.sum()).backward()
    optimizer.step()
    for layer, (decay, scale) in zip(layers, plans, strict=True):
        expected = 2.0 * (1 - rate * scale * decay) - rate * scale
        assert layer.weight.item() == pytest.approx(expected, abs=1e-6)


def test_groups_made_anew_undo_an_earlier_layer_decay(tiny):
    """Paddle keeps a group's factor on the parameter, where the next optimizer would find it."""
    model = tiny()
    paddle.optimizer.AdamW(1e-3, parameters=param_groups(model, layer_decay=0.5))
    assert model.cls_token.optimize_attr["learning_rate"] == 0.5**4
    paddle.optimizer.AdamW(1e-3, parameters=param_groups(model))
    assert {p.optimize_attr["learning_rate"] for p in model.parameters()} == {1.0}


def test_frozen_parameters_are_left_out(tiny):
    model = tiny(pos_embed="sincos2d")  # a table that is not trained
    model.freeze(2)
    found = settings(model, param_groups(model))
    assert set(found) == {name for name, p in model.named_parameters() if not p.stop_gradient}
    assert not any(name.startswith(("blocks.0", "blocks.1", "patch_embed", "pos_embed")) for name in found)
    model.unfreeze()
    assert "pos_embed" not in settings(model, param_groups(model))
    model.freeze()
    assert set(settings(model, param_groups(model))) == {"head.weight", "head.bias"}
    for parameter in model.parameters():
        parameter.stop_gradient = True
    with refused(ValueError, "trainable", "VisionTransformer"):
        param_groups(model)


def test_any_layer_has_groups_and_a_model_around_a_vit_is_seen_through():
    net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    assert {name: decay for name, (decay, _) in settings(net, param_groups(net, 0.1)).items()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }

    class Segmenter(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.backbone = vitlib.VisionTransformer(**TINY)
            self.decoder = paddle.nn.Linear(48, 2)

    model = Segmenter()
    found = settings(model, param_groups(model, 0.1, layer_decay=0.5))
    assert found["backbone.pos_embed"] == (0.0, 0.5**4)
    assert found["backbone.blocks.2.attn.qkv.weight"] == (0.1, 0.5)
    assert found["decoder.weight"] == (0.1, 1.0)


def test_names_in_a_data_parallel_model_are_the_models(tiny):
    model = tiny()
    plain = settings(model, param_groups(model, layer_decay=0.7, no_weight_decay=["head.weight"]))
    parallel = paddle.DataParallel(model)
    assert settings(model, param_groups(parallel, layer_decay=0.7, no_weight_decay=["head.weight"])) == plain


def test_more_names_are_spared_by_name_or_pattern(tiny):
    model = tiny()
    found = settings(model, param_groups(model, no_weight_decay=("head.weight", "blocks.*.mlp.*")))
    assert found["head.weight"][0] == found["blocks.1.mlp.fc1.weight"][0] == 0
    assert found["blocks.1.attn.qkv.weight"][0] == 0.05


def test_what_cannot_work_is_refused(tiny):
    with refused(ValueError, "haed.weight", "named_parameters"):
        param_groups(tiny(), no_weight_decay=["haed.weight"])
    with refused(ValueError, "weight_decay=-0.1"):
        param_groups(tiny(), -0.1)
    with refused(ValueError, "layer_decay=1.5", "(0, 1]"):
        param_groups(tiny(), layer_decay=1.5)
    with refused(ValueError, "blocks", "Linear"):
        param_groups(paddle.nn.Linear(2, 2), layer_decay=0.5)


def test_without_groups_a_filter_makes_the_same_choice(tiny, images):
    x, trained = images(), []
    for grouped in (True, False):
        model = tiny(vitlib.DeiT)
        model.train()
        options = {"parameters": param_groups(model, 0.5, no_weight_decay=["blocks.0.attn.*"])}
        if not grouped:
            kept = weight_decay_filter(paddle.DataParallel(model), no_weight_decay=["blocks.0.attn.*"])
            options = {"parameters": model.parameters(), "weight_decay": 0.5, "apply_decay_param_fun": kept}
        optimizer = paddle.optimizer.AdamW(0.1, **options)
        for _ in range(2):
            sum(head.square().mean() for head in model(x)).backward()
            optimizer.step()
            optimizer.clear_grad()
        trained.append({name: value.numpy() for name, value in model.named_parameters()})
    assert all((value == trained[1][name]).all() for name, value in trained[0].items())


def test_the_filter_works_in_paddles_high_level_fit(tiny):
    model = tiny()
    data = paddle.io.TensorDataset([paddle.randn([4, 3, 32, 32]), paddle.arange(4)])
    high = paddle.Model(model, inputs=[paddle.static.InputSpec([None, 3, 32, 32], "float32", "x")])
    optimizer = paddle.optimizer.AdamW(
        1e-2, parameters=model.parameters(), weight_decay=10.0, apply_decay_param_fun=weight_decay_filter(model)
    )
    high.prepare(optimizer, paddle.nn.CrossEntropyLoss())
    before = {name: float(value.abs().mean()) for name, value in model.named_parameters()}
    high.fit(data, batch_size=4, epochs=10, verbose=0)  # decay alone leaves (1 - 0.1) ** 10 = 0.35 of a weight
    kept = {name: float(value.abs().mean()) / before[name] for name, value in model.named_parameters()}
    assert kept["blocks.0.mlp.fc1.weight"] < 0.6
    assert kept["pos_embed"] > 0.7
    assert kept["blocks.0.norm1.weight"] > 0.7
