"""Hybrids, a ResNet before the tokens: timm's and vit_jax's weights, and what both compute (make_hybrids.py)."""

import json
import pathlib

import numpy as np
import paddle
import pytest
from conftest import refused
from hybrid_weights import CASES, SHAPE, google, weights
from safetensors.numpy import load_file, save_file

import vitlib
from vitlib.weights.layouts import is_linear

EXPECTED = np.load(pathlib.Path(__file__).parent / "families" / "expected_hybrids.npz")
EVERY = pytest.mark.parametrize("case", CASES)
CODEBASES = pytest.mark.parametrize("codebase", ["timm", "google"])


@pytest.fixture
def written(tmp_path):
    """(case, codebase) -> path of its file."""

    def write(case, codebase):
        path = tmp_path / {"timm": "timm.safetensors", "google": "google.npz"}[codebase]
        save_file(weights(case), path) if codebase == "timm" else np.savez(path, **google(case))
        return path

    return write


def assert_computes(model, case, codebase, key=""):
    model.eval()
    expected = EXPECTED[f"{case}:{codebase}{key}"]
    found = model(paddle.to_tensor(EXPECTED[f"{case}:x{key}"])).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def small(case="two_stages", **options):
    blocks, patch, image, _ = CASES[case]
    return vitlib.VisionTransformer(
        **{**SHAPE, "img_size": image, "patch_size": patch, "stem_blocks": blocks, **options}
    )


@EVERY
@CODEBASES
def test_weights_are_bit_equal_and_outputs_are_the_original_s_at_two_sizes(case, codebase, written):
    path = written(case, codebase)
    model = vitlib.from_pretrained(path, num_heads=3)
    blocks, patch, image, other = CASES[case]
    config = model.config
    assert (config.stem_blocks, config.patch_size, config.img_size, config.in_chans) == (blocks, patch, image, 3)
    assert config.stem_norms == codebase
    assert model.load_report.dialect == codebase
    expected, parameters = weights(case), dict(model.named_parameters())
    assert set(parameters) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(parameters[name].numpy(), array.T if is_linear(name) else array, name)
    assert_computes(model, case, codebase)
    assert_computes(vitlib.from_pretrained(path, num_heads=3, img_size=other), case, codebase, "2")
    assert_computes(vitlib.from_pretrained(path, num_heads=3, dynamic_img_size=True), case, codebase, "2")


def test_images_that_the_patch_does_not_divide_are_padded_as_features(written):
    model = vitlib.from_pretrained(
        written("two_stages", "timm"), num_heads=3, dynamic_img_size=True, dynamic_img_pad=True
    )
    assert_computes(model, "two_stages", "timm", "3")
    with refused(TypeError, "dynamic_img_pad"):
        vitlib.deploy.describe(model)


def test_the_first_files_of_google_have_norms_of_four_dimensions():
    model = vitlib.from_pretrained(google("two_stages", old=True), dialect="google", num_heads=3)
    assert_computes(model, "two_stages", "google")


@EVERY
def test_a_hybrid_is_written_as_vit_jax_and_timm_name_it(case, written, tmp_path):
    model = vitlib.from_pretrained(written(case, "google"), num_heads=3)
    vitlib.save_weights(model, tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again:
        expected = google(case)
        assert set(again) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(again[name], array, name)
    with pytest.warns(UserWarning, match="stem_norms='google', this model with 'timm'"):
        vitlib.save_weights(vitlib.VisionTransformer(model.config.replace(stem_norms="timm")), tmp_path / "other.npz")
    with pytest.warns(UserWarning, match="stem_norms='timm', this model with 'google'"):
        vitlib.save_weights(model, tmp_path / "timm.safetensors")
    again, expected = load_file(tmp_path / "timm.safetensors"), weights(case)
    assert set(again) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(again[name], array, name)
    for format in ("huggingface", "torchvision"):
        with refused(vitlib.WeightsError, "stem_blocks"):
            vitlib.save_weights(model, tmp_path / "refused", format=format)


@CODEBASES
def test_a_saved_hybrid_comes_back_with_its_epsilons(codebase, written, tmp_path):
    model = vitlib.from_pretrained(written("two_stages", codebase), num_heads=3)
    model.save_pretrained(tmp_path / "saved")
    back = vitlib.from_pretrained(tmp_path / "saved")
    assert back.config == model.config
    assert_computes(back, "two_stages", codebase)


def test_a_directory_of_timm_s_hub_with_a_hybrid_s_name_is_built():
    values = {"architecture": "vit_small_r26_s32_384", "num_classes": 7, "pretrained_cfg": {}}
    from vitlib.weights.dialects import timm

    options = timm.read_config(values).options
    assert (options["stem_blocks"], options["patch_size"], options["img_size"]) == ((2, 2, 2, 2), 32, 384)
    assert options["num_classes"] == 7
    options = timm.read_config({**values, "model_args": {"patch_size": 2, "img_size": 128}}).options
    assert options["patch_size"] == (64, 64)  # two features of the ResNet
    for name in ("vit_small_resnet26d_224", "vit_base_mci_224"):
        assert "convolutional stem" in timm.read_config({"architecture": name}).refusal


def test_a_config_must_agree_with_the_resnet_beside_it(tmp_path):
    model = small()
    model.save_pretrained(tmp_path)
    for stem_blocks in ([1, 1], None):
        text = json.loads((tmp_path / "config.json").read_text())
        text["config"]["stem_blocks"] = stem_blocks
        (tmp_path / "config.json").write_text(json.dumps(text))
        with refused(vitlib.WeightsError, "stem_blocks=(1, 2)"):
            vitlib.from_pretrained(tmp_path)


def test_other_channels_change_the_first_convolution_and_other_patches_the_last(written):
    path = written("two_stages", "timm")
    gray = vitlib.from_pretrained(path, num_heads=3, in_chans=1)
    name = "patch_embed.backbone.stem.conv.weight"
    expected = weights("two_stages")[name].sum(1, keepdims=True)
    np.testing.assert_allclose(dict(gray.named_parameters())[name].numpy(), expected, rtol=1e-6)
    wide = vitlib.from_pretrained(path, num_heads=3, patch_size=32, img_size=64)
    assert wide.patch_embed.proj.weight.shape == [24, 512, 4, 4]
    assert "patch_embed.proj.weight" in wide.load_report.resized
    with refused(vitlib.WeightsError, "missing in the file: patch_embed.backbone"):
        plain = vitlib.VisionTransformer(**SHAPE, img_size=32, patch_size=16)
        plain.eval()
        vitlib.load_weights(small(), dict(plain.state_dict()), allow=["channels", "patch"])


def test_multiply_adds_are_those_of_the_convolutions_as_they_run():
    model = small()
    plain = vitlib.count(vitlib.VisionTransformer(model.config.replace(stem_blocks=None))).macs - 4 * 24 * 3 * 16 * 16
    ran = []

    def hook(layer, _, output):
        ran.append(output.shape[2] * output.shape[3] * int(np.prod(layer.weight.shape)))

    for layer in model.patch_embed.sublayers():
        if isinstance(layer, paddle.nn.Conv2D):
            layer.register_forward_post_hook(hook)
    model(paddle.randn([1, 3, 32, 32]))
    assert vitlib.count(model).macs == plain + sum(ran)
    summary = vitlib.summary(model)
    assert summary.parameters == sum(p.size for p in model.parameters())
    names = [row.name for row in summary.rows]
    unit = "patch_embed.backbone.stages.0.blocks.0"
    assert names.index(f"{unit}.norm3") < names.index(unit) < names.index("patch_embed.proj") < names.index("")


def test_a_hybrid_trains_freezes_and_decays_by_layer_as_a_plain_model():
    model = small()
    groups = vitlib.param_groups(model, layer_decay=0.5)
    rates = {id(p): group["learning_rate"] for group in groups for p in group["params"]}
    assert {rates[id(p)] for p in model.patch_embed.parameters()} == {0.5 ** (SHAPE["depth"] + 1)}
    model.freeze(1)
    assert not any(p.trainable for p in model.patch_embed.parameters())
    model.unfreeze()
    model.set_recompute()
    model.train()
    model.reinitialise(name for name, _ in model.named_parameters())
    model(paddle.randn([2, 3, 32, 32])).sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize("redrawn", [False, True])
def test_initial_values_are_timm_s(redrawn):
    """Convolutions by the outputs; each residual branch starts at zero."""
    model = small()
    if redrawn:
        for parameter in model.parameters():
            parameter.set_value(paddle.full_like(parameter, 3.0))
        model.reinitialise(name for name, _ in model.named_parameters())
    for name, parameter in model.patch_embed.backbone.named_parameters():
        if parameter.ndim == 4:
            out, _, rows, columns = parameter.shape
            assert abs(float(parameter.std()) / (2 / (out * rows * columns)) ** 0.5 - 1) < 0.05, name
        else:
            expected = name.endswith("weight") and not name.endswith("norm3.weight")
            assert (parameter.numpy() == expected).all(), name


def test_nothing_is_allocated_under_a_guard_and_the_guard_still_holds_after_the_stem():
    with paddle.LazyGuard():
        model = small()
    assert not any(p._is_initialized() for p in model.parameters())


def test_attention_maps_and_intermediates_are_on_the_grid_of_the_tokens():
    model = small()
    model.eval()
    x = paddle.randn([2, 3, 32, 32])
    assert [m.shape for m in vitlib.attention_maps(model, x)] == [[2, 3, 5, 5]] * 2
    assert model.intermediates(x, reshape=True)[-1].shape == [2, 24, 2, 2]


@pytest.mark.parametrize("size", [(32, 32), (64, 32)])
def test_a_hybrid_is_traced_with_open_sizes(size, written, tmp_path):
    model = vitlib.from_pretrained(written("two_stages", "timm"), num_heads=3, dynamic_img_size=True)
    model.eval()
    spec = paddle.static.InputSpec([None, 3, None, None], "float32")
    paddle.jit.save(model, str(tmp_path / "model"), input_spec=[spec])
    assert_computes(paddle.jit.load(str(tmp_path / "model")), "two_stages", "timm", "2" if size[0] == 64 else "")


def test_stems_that_cannot_be_are_refused():
    with refused(ValueError, "stride of 2 stages is 8", "patch_size=4"):
        small(patch_size=4)
    with refused(ValueError, "up to 4 numbers"):
        small(stem_blocks=(1, 1, 1, 1, 1), patch_size=64, img_size=64)
    with refused(ValueError, "stem_blocks"):
        small(stem_blocks=(1, 0))
    with refused(ValueError, "stem_blocks"):
        small(stem_blocks=(1, "2"))
    with refused(ValueError, "stem_norms"):
        small(stem_norms="torch")

    class Own(paddle.nn.Layer):
        pass

    class Net(vitlib.VisionTransformer):
        patch_embed_class = Own

    with refused(TypeError, "Own", "HybridEmbed"):
        Net(small().config)
