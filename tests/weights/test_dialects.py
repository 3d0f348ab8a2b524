"""Checkpoints of every codebase load bit for bit and compute what the original computes.

The files and the expected numbers are written by make_checkpoints.py with the original libraries.
"""

import collections
import pathlib

import numpy as np
import paddle
import pytest

import vitlib
from vitlib.checkpoint import zip_index
from vitlib.weights.layouts import is_linear

HERE = pathlib.Path(__file__).parent / "checkpoints"
EXPECTED = np.load(HERE / "expected.npz")
# checkpoint: its file, whose names it has
CHECKPOINTS = {
    "timm": ("timm.safetensors", "timm"),
    "facebook_deit_distilled": ("facebook_deit_distilled.pth", "timm"),
    "facebook_deit3": ("facebook_deit3.pth", "facebook"),
    "paddleclas": ("paddleclas.pdparams", "paddleclas"),
    "huggingface_vit": ("huggingface_vit", "huggingface"),
    "huggingface_vit_v5_names": ("huggingface_vit_v5_names.bin", "huggingface"),
    "huggingface_vit_base": ("huggingface_vit_base", "huggingface"),
    "huggingface_deit": ("huggingface_deit", "huggingface"),
    "huggingface_deit_one_head": ("huggingface_deit_one_head", "huggingface"),
    "torchvision": ("torchvision.pth", "torchvision"),
    "torchvision_pre_logits": ("torchvision_pre_logits.pth", "torchvision"),
    "google": ("google.npz", "google"),
    "big_vision": ("big_vision.npz", "big_vision"),
    "big_vision_average": ("big_vision_average.npz", "big_vision"),
}


def load(name, **overrides):
    model = vitlib.from_pretrained(HERE / CHECKPOINTS[name][0], num_heads=3, **overrides)
    model.eval()
    return model


def relative(found, expected):
    return np.abs(found.numpy() - expected).max() / np.abs(expected).max()


def assert_has_the_weights(model, name):
    parameters = dict(model.named_parameters())
    expected = {key.split(":", 2)[2]: EXPECTED[key] for key in EXPECTED.files if key.startswith(f"{name}:weight:")}
    assert set(parameters) == set(expected)
    for key, array in expected.items():
        array = array.T if is_linear(key) else array
        np.testing.assert_array_equal(
            parameters[key].numpy().view("uint32"), np.ascontiguousarray(array).view("uint32"), key
        )


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_weights_are_bit_equal_and_the_report_says_whose_they_were(name):
    model = load(name)
    assert_has_the_weights(model, name)
    assert model.load_report.dialect == CHECKPOINTS[name][1]
    assert set(model.load_report.loaded) == {key for key, _ in model.named_parameters()}
    assert not model.load_report.reset
    assert not model.load_report.left_out


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_logits_equal_the_original_at_its_own_size(name):
    assert relative(load(name)(paddle.to_tensor(EXPECTED[f"{name}:x"])), EXPECTED[f"{name}:logits"]) < 1e-5


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_logits_equal_the_original_at_another_size_after_loading_into_a_model_of_that_size(name):
    x = EXPECTED[f"{name}:x2"]
    model = load(name, img_size=tuple(x.shape[2:]))
    assert "pos_embed" in model.load_report.resized
    assert relative(model(paddle.to_tensor(x)), EXPECTED[f"{name}:logits2"]) < 1e-5


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_dynamic_size_and_set_image_size_resample_as_the_source_does(name):
    x = EXPECTED[f"{name}:x2"]
    free = load(name, dynamic_img_size=True)
    later = load(name)
    later.set_image_size(tuple(x.shape[2:]))
    for model in (free, later):
        assert relative(model(paddle.to_tensor(x)), EXPECTED[f"{name}:logits2"]) < 1e-5


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_an_existing_model_takes_over_weights_and_numerics(name):
    config = load(name).config.replace(norm_eps=1e-6, activation="gelu", position_resize="timm")
    model = (vitlib.DeiT if config.distillation_token else vitlib.VisionTransformer)(config)
    model.eval()
    report = vitlib.load_weights(model, HERE / CHECKPOINTS[name][0])
    assert report is model.load_report
    assert_has_the_weights(model, name)
    assert relative(model(paddle.to_tensor(EXPECTED[f"{name}:x"])), EXPECTED[f"{name}:logits"]) < 1e-5


def test_bfloat16_files_widen_to_the_model_s_type():
    model = vitlib.from_pretrained(HERE / "timm_bfloat16.safetensors", num_heads=3)
    exact = EXPECTED["timm:weight:blocks.0.mlp.fc1.weight"].T
    found = dict(model.named_parameters())["blocks.0.mlp.fc1.weight"]
    assert found.dtype == paddle.float32
    assert 0 < np.abs(found.numpy() - exact).max() / np.abs(exact).max() < 2**-8


def test_a_compressed_stack_of_blocks_is_unpacked_once_to_be_checked_and_once_to_be_loaded(tmp_path, monkeypatch):
    stored = np.load(HERE / "big_vision_average.npz")
    stacked = {key: np.repeat(stored[key], 3, axis=0) if "encoderblock" in key else stored[key] for key in stored}
    np.savez_compressed(tmp_path / "six_blocks.npz", **stacked)
    unpacked, inflate = collections.Counter(), zip_index.Member._inflate

    def counted(member, *arguments):
        unpacked[member.name] += 1
        return inflate(member, *arguments)

    monkeypatch.setattr(zip_index.Member, "_inflate", counted)
    model = vitlib.from_pretrained(tmp_path / "six_blocks.npz")
    assert set(unpacked) == {f"{key}.npy" for key in stored}
    assert set(unpacked.values()) == {2}
    kernels = stacked["params/Transformer/encoderblock/MlpBlock_0/Dense_0/kernel"]
    assert model.config.depth == 6
    for block, kernel in zip(model.blocks, kernels, strict=True):
        np.testing.assert_array_equal(block.mlp.fc1.weight.numpy(), kernel)


def test_torchvision_s_older_names_are_the_same_weights():
    model = vitlib.from_pretrained(HERE / "torchvision_old_names.pth", num_heads=3)
    assert_has_the_weights(model, "torchvision")


def test_google_s_files_tell_their_heads_and_others_are_asked_for():
    assert vitlib.from_pretrained(HERE / "google.npz").config.num_heads == 3
    with pytest.raises(vitlib.WeightsError, match="num_heads") as caught:
        vitlib.from_pretrained(HERE / "timm.safetensors")
    assert "timm.safetensors" in str(caught.value)


def test_hugging_face_s_config_brings_labels_preprocessing_and_epsilon():
    model = load("huggingface_vit")
    assert model.labels == tuple(f"kind {index}" for index in range(5))
    assert model.config.norm_eps == 1e-12
    assert (model.preprocess.resize, model.preprocess.crop_fraction) == ("squash", 1.0)
    assert model.preprocess.size == 16
    assert load("huggingface_vit_base").config.activation == "gelu_tanh"
    deit = load("huggingface_deit").preprocess
    assert (deit.resize, deit.interpolation, deit.crop_fraction) == ("squash", "bicubic", pytest.approx(16 / 18))


def test_the_distillation_token_without_its_head_computes_as_a_register():
    model = load("huggingface_deit_one_head")
    assert type(model) is vitlib.VisionTransformer
    assert model.config.reg_tokens == 1


def test_names_that_do_not_tell_the_numerics_are_said_to_be_taken_for_timm_s():
    assert "timm's" in str(load("timm").load_report)
    assert "assumed" in str(load("facebook_deit_distilled").load_report)


def test_a_state_dict_in_memory_is_read_as_pytorch_s():
    state = {key.split(":", 2)[2]: EXPECTED[key] for key in EXPECTED.files if key.startswith("timm:weight:")}
    model = vitlib.from_pretrained(state, num_heads=3)
    assert_has_the_weights(model, "timm")
