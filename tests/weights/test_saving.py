"""What vitlib writes, it and others read back bit for bit."""

import errno
import json
import os
import pathlib
import stat
import warnings

import numpy as np
import paddle
import pytest

import vitlib

HERE = pathlib.Path(__file__).parent / "checkpoints"
BODY = {"embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0}
SHAPE = {"img_size": 16, "patch_size": 4, "num_classes": 5, **BODY}
NAMES = {
    "timm": "weights.safetensors",
    "huggingface": "directory",
    "torchvision": "weights.safetensors",
    "google": "weights.npz",
    "paddleclas": "weights.pdparams",
}


def same(a, b):
    one, two = dict(a.named_parameters()), dict(b.named_parameters())
    assert set(one) == set(two)
    for name, parameter in one.items():
        np.testing.assert_array_equal(parameter.numpy(), two[name].numpy(), name)


@pytest.mark.parametrize("format", NAMES)
def test_import_of_an_export_gives_the_same_bits(format, tmp_path):
    paddle.seed(0)
    activation = "gelu_tanh" if format == "google" else "gelu"
    model = vitlib.VisionTransformer(**SHAPE, activation=activation)
    model.eval()
    vitlib.save_weights(model, tmp_path / NAMES[format], format=format)
    again = vitlib.from_pretrained(tmp_path / NAMES[format], num_heads=3)
    again.eval()
    same(model, again)
    x = paddle.randn([2, 3, 16, 16])
    assert float((model(x) - again(x)).abs().max()) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [NAMES[format]]


@pytest.mark.parametrize(
    ("source", "format"),
    [
        ("timm.safetensors", "timm"),
        ("huggingface_vit", "huggingface"),
        ("huggingface_vit_base", "huggingface"),
        ("huggingface_deit", "huggingface"),
        ("huggingface_deit_one_head", "huggingface"),
        ("torchvision.pth", "torchvision"),
        ("torchvision_pre_logits.pth", "torchvision"),
        ("google.npz", "google"),
        ("paddleclas.pdparams", "paddleclas"),
        ("facebook_deit_distilled.pth", "paddleclas"),
        ("facebook_deit3.pth", "timm"),
    ],
)
def test_a_checkpoint_goes_back_to_its_own_codebase_without_a_change(source, format, tmp_path):
    model = vitlib.from_pretrained(HERE / source, num_heads=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its own numerics are no reason to warn
        vitlib.save_weights(model, tmp_path / NAMES[format], format=format)
    again = vitlib.from_pretrained(tmp_path / NAMES[format], num_heads=3)
    same(model, again)
    assert again.config.norm_eps == model.config.norm_eps
    assert again.config.activation == model.config.activation


@pytest.mark.parametrize("format", ["timm", "huggingface", "torchvision", "google", "paddleclas"])
def test_exports_have_the_names_and_shapes_of_the_original_s_own_file(format, tmp_path):
    from vitlib.checkpoint import open_weights

    originals = {
        "timm": "timm.safetensors",
        "huggingface": "huggingface_vit/model.safetensors",
        "torchvision": "torchvision.pth",
        "google": "google.npz",
        "paddleclas": "paddleclas.pdparams",
    }
    model = vitlib.from_pretrained((HERE / originals[format]), num_heads=3)
    vitlib.save_weights(model, tmp_path / NAMES[format], format=format)
    written = tmp_path / NAMES[format]
    written = written / "model.safetensors" if written.is_dir() else written
    with open_weights(HERE / originals[format]) as theirs, open_weights(written) as ours:
        prefix = "opt/target/" if format == "google" else ""
        assert {name.removeprefix(prefix): theirs.spec(name)[0] for name in theirs} == {
            name: ours.spec(name)[0] for name in ours
        }
        for name in theirs:
            np.testing.assert_array_equal(theirs.read(name), ours.read(name.removeprefix(prefix)), name)


def test_paddle_reads_the_paddleclas_file(tmp_path):
    model = vitlib.VisionTransformer(**SHAPE)
    vitlib.save_weights(model, tmp_path / "weights.pdparams", format="paddleclas")
    loaded = paddle.load(str(tmp_path / "weights.pdparams"))
    twin = vitlib.VisionTransformer(**SHAPE)
    missing, unexpected = twin.set_state_dict(loaded)
    assert not missing
    assert not unexpected
    same(model, twin)


def test_what_a_format_cannot_express_is_refused_before_anything_is_written(tmp_path):
    cases = [
        ({"reg_tokens": 2}, "torchvision", "reg_tokens=2"),
        ({"init_values": 1e-4}, "google", "init_values"),
        ({"qk_norm": True}, "huggingface", "qk_norm=True"),
        ({"global_pool": "avg"}, "huggingface", "global_pool='avg'"),
        ({"qkv_bias": False}, "torchvision", "qkv_bias=False"),
        ({"img_size": (8, 32)}, "google", "8 x 32"),
        ({"img_size": (8, 32)}, "paddleclas", "8 x 32"),
        ({"pre_logits": 8}, "huggingface", "pooler"),
    ]
    for options, format, word in cases:
        model = vitlib.VisionTransformer(**{**SHAPE, **options})
        with pytest.raises(vitlib.WeightsError, match="cannot express") as caught:
            vitlib.save_weights(model, tmp_path / "out", format=format)
        assert word in str(caught.value)
    for format in ("torchvision", "google"):
        with pytest.raises(vitlib.WeightsError, match="distillation_token"):
            vitlib.save_weights(vitlib.DeiT(**SHAPE), tmp_path / "out", format=format)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="unknown format 'onnx'"):
        vitlib.save_weights(vitlib.DeiT(**SHAPE), tmp_path / "out", format="onnx")


def test_numerics_that_a_codebase_does_not_share_are_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="gelu_tanh"):
        vitlib.save_weights(vitlib.VisionTransformer(**SHAPE), tmp_path / "weights.npz", format="google")


@pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"img_size": (8, 24), "patch_size": (4, 8)},
        {"reg_tokens": 2, "no_embed_class": True, "init_values": 0.1, "qk_norm": True, "norm_eps": 1e-5},
        {"num_classes": 0, "in_chans": 1, "activation": "quick_gelu"},
        {"pos_embed": "sincos2d", "pre_norm": True, "qkv_bias": False},
    ],
)
def test_save_pretrained_keeps_everything(cls, options, tmp_path):
    model = cls(**{**SHAPE, **options})
    model.labels = [f"name {index}" for index in range(model.config.num_classes)] or None
    model.preprocess = model.config.preprocess.replace(crop_fraction=0.8, interpolation="bilinear")
    model.save_pretrained(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    again = vitlib.from_pretrained(tmp_path / "model")
    assert type(again) is cls
    assert again.config == model.config
    assert (again.labels or None) == (tuple(model.labels) if model.labels else None)
    assert again.preprocess == model.preprocess
    same(model, again)
    model.eval()
    again.eval()
    size = model.patch_embed.img_size
    x = paddle.randn([1, model.config.in_chans, *size])
    assert float((model(x) - again(x)).abs().max()) == 0


def test_a_saved_directory_fills_a_preset(tmp_path):
    vitlib.create_model("deit_tiny_patch16_224", depth=1).save_pretrained(tmp_path)
    model = vitlib.create_model("deit_tiny_patch16_224", pretrained=tmp_path, depth=1)
    assert model.config.depth == 1
    assert model.load_report.loaded


def test_a_config_from_outside_that_cannot_work_is_one_weights_error(tmp_path):
    vitlib.VisionTransformer(**SHAPE).save_pretrained(tmp_path)
    good = json.loads((tmp_path / "config.json").read_text())
    for text in (
        "{",
        "[]",
        "[" * 100_000,
        json.dumps({**good, "config": {**good["config"], "depth": -1}}),
        json.dumps({**good, "config": {**good["config"], "no_such_option": 1}}),
        json.dumps({**good, "labels": "abc"}),
        json.dumps({"model_type": "bert"}),
        json.dumps({"model_type": "vit", "hidden_act": "__import__('os')"}),
        json.dumps({"model_type": "vit", "hidden_size": 0}),
        json.dumps({"model_type": "vit", "hidden_size": 24, "num_hidden_layers": 10**6, "intermediate_size": 48}),
        json.dumps({"model_type": "vit", "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 10**12}),
        json.dumps({**good, "config": {**good["config"], "num_classes": 10**12}}),
        json.dumps({**good, "config": {**good["config"], "depth": 10**9}}),
        json.dumps({**good, "config": {**good["config"], "embed_dim": 3 * 10**9}}),
        json.dumps({**good, "config": {**good["config"], "img_size": 4 * 10**9, "pos_embed": "sincos2d"}}),
        *(
            json.dumps({**good, "config": {**good["config"], name: 10**12}})
            for name in ("in_chans", "patch_size", "pre_logits", "reg_tokens", "num_heads")
        ),
        json.dumps({**good, "config": {**good["config"], "patch_size": "x" * 2000}}),
        json.dumps({**good, "class": "\n\x1b[0m"}),
        json.dumps({"architecture": "resnet50"}),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(vitlib.WeightsError, match=r"safetensors|config"):
            vitlib.from_pretrained(tmp_path)


def test_a_model_without_values_is_not_saved(tmp_path):
    with paddle.LazyGuard():
        model = vitlib.VisionTransformer(**SHAPE)
    with pytest.raises(RuntimeError, match="no values"):
        model.save_pretrained(tmp_path / "model")


def test_a_config_that_wants_a_table_the_file_lacks_is_refused_before_it_is_made(tmp_path):
    vitlib.VisionTransformer(**SHAPE, pos_embed="none").save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["config"] |= {"pos_embed": "sincos2d", "img_size": 900_000}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(vitlib.WeightsError, match="no position table"):
        vitlib.from_pretrained(tmp_path)


def test_a_file_that_is_asked_for_is_read_beside_a_config_of_something_else(tmp_path):
    vitlib.VisionTransformer(**SHAPE).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "swin"}')
    model = vitlib.from_pretrained(tmp_path / "model.safetensors", num_heads=3)
    assert "swin" in str(model.load_report)


def test_a_config_of_other_heads_than_the_weights_were_saved_with_is_refused(tmp_path):
    """As a copy of weights beside another model's config, or a process that ended between the two files."""
    model = vitlib.VisionTransformer(**SHAPE)
    model.save_pretrained(tmp_path / "model")
    vitlib.VisionTransformer(**{**SHAPE, "num_heads": 2}).save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "config.json").replace(tmp_path / "model" / "config.json")
    with pytest.raises(vitlib.WeightsError, match=r"num_heads=3, and a config beside it that says '2'.*saved with"):
        vitlib.from_pretrained(tmp_path / "model")
    same(vitlib.from_pretrained(tmp_path / "model", num_heads=3), model)


def test_a_config_that_is_edited_by_hand_counts(tmp_path):
    model = vitlib.VisionTransformer(**SHAPE)
    model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["config"] |= {"norm_eps": 1e-12, "dynamic_img_size": True}
    (tmp_path / "config.json").write_text(json.dumps({**values, "labels": list("abcde")}))
    again = vitlib.from_pretrained(tmp_path)
    assert (again.config.norm_eps, again.config.dynamic_img_size, again.labels) == (1e-12, True, tuple("abcde"))


def test_a_bare_file_tells_the_heads_of_its_model(tmp_path):
    for heads in (3, 2):
        vitlib.save_weights(vitlib.VisionTransformer(**{**SHAPE, "num_heads": heads}), tmp_path / "bare.safetensors")
        assert vitlib.from_pretrained(tmp_path / "bare.safetensors").config.num_heads == heads
    with pytest.raises(vitlib.WeightsError, match="num_heads is 2 in the source, 3 in the model"):
        vitlib.load_weights(vitlib.VisionTransformer(**SHAPE), tmp_path / "bare.safetensors")


def test_a_disk_that_fills_up_at_the_config_leaves_the_old_directory_whole(tmp_path, monkeypatch):
    """The system may tell only when a file is synchronised."""
    old = vitlib.VisionTransformer(**SHAPE)
    old.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    sync = os.fsync

    def full(descriptor):
        size = os.fstat(descriptor).st_size
        if 0 < size < 4096 and stat.S_ISREG(os.fstat(descriptor).st_mode):  # the config; the weights are larger
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        vitlib.VisionTransformer(**{**SHAPE, "num_heads": 2}).save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_labels_that_do_not_fit_are_not_written(tmp_path):
    model = vitlib.VisionTransformer(**SHAPE)
    for labels in (["a"], [1, 2, 3, 4, 5], dict.fromkeys("abcde")):
        model.labels = labels
        with pytest.raises(ValueError, match=r"model\.labels"):
            model.save_pretrained(tmp_path / "model")
