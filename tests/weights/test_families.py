"""The newer families out of every codebase: bit-equal weights, and what the original computes, at two sizes.

The files and the expected numbers are written by make_families.py with the original libraries.
"""

import pathlib

import numpy as np
import paddle
import pytest

import vitlib
import vitlib.checkpoint
from vitlib.weights.layouts import is_linear

HERE = pathlib.Path(__file__).parent / "families"
EXPECTED = np.load(HERE / "expected.npz")
# checkpoint: its file, whose names it has, options that only a config could tell
FAMILIES = {
    "dino": ("dino.pth", "dino", {"part": "teacher"}),
    "mae": ("mae.pth", "mae", {}),
    "mae_finetuned": ("mae_finetuned.pth", "timm", {}),
    "dinov2": ("dinov2.pth", "dinov2", {}),
    "dinov2_gated": ("dinov2_gated.pth", "dinov2", {}),
    "dinov2_registers": ("dinov2_registers.pth", "dinov2", {}),
    "dinov3": ("dinov3.pth", "dinov3", {}),
    "dinov3_gated": ("dinov3_gated.pth", "dinov3", {}),
    "open_clip": ("open_clip.pt", "open_clip", {}),
    "openai": ("openai.pt", "openai", {}),
    "big_vision_siglip": ("big_vision_siglip.npz", "big_vision", {}),
    "mmpretrain": ("mmpretrain.pth", "mmpretrain", {}),
    "paddlevit": ("paddlevit.pdparams", "paddlevit", {}),
    "paddlevit_first": ("paddlevit_first.pdparams", "paddlevit", {}),
    "paddlevit_deit": ("paddlevit_deit.pdparams", "paddlevit", {}),
    "passl": ("passl.pdparams", "passl", {}),
    "huggingface_dinov2": ("huggingface_dinov2", "huggingface", {}),
    "huggingface_dinov2_gated": ("huggingface_dinov2_gated", "huggingface", {}),
    "huggingface_dinov2_registers": ("huggingface_dinov2_registers", "huggingface", {}),
    "huggingface_dinov3": ("huggingface_dinov3", "huggingface", {}),
    "huggingface_dinov3_gated": ("huggingface_dinov3_gated", "huggingface", {}),
    "huggingface_mae": ("huggingface_mae", "huggingface", {}),
    "huggingface_clip": ("huggingface_clip", "huggingface", {}),
    "huggingface_clip_vision": ("huggingface_clip_vision", "huggingface", {}),
    "huggingface_clip_projection": ("huggingface_clip_projection", "huggingface", {}),
    "huggingface_siglip": ("huggingface_siglip", "huggingface", {}),
    "huggingface_siglip_vision": ("huggingface_siglip_vision", "huggingface", {}),
    "huggingface_timm_wrapper": ("huggingface_timm_wrapper", "timm", {}),
}
EVERY = pytest.mark.parametrize("name", FAMILIES)


def load(name, **overrides):
    file, _, options = FAMILIES[name]
    model = vitlib.from_pretrained(HERE / file, num_heads=3, **{**options, **overrides})
    model.eval()
    return model


def assert_computes(model, name, key=""):
    expected = EXPECTED[f"{name}:out{key}"]
    found = model(paddle.to_tensor(EXPECTED[f"{name}:x{key}"])).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@EVERY
def test_weights_are_bit_equal_and_outputs_are_the_original_s(name):
    model = load(name)
    parameters = dict(model.named_parameters())
    expected = {key.split(":", 2)[2]: EXPECTED[key] for key in EXPECTED.files if key.startswith(f"{name}:weight:")}
    assert set(parameters) == set(expected)
    for key, array in expected.items():
        array = array.T if is_linear(key) else array
        np.testing.assert_array_equal(parameters[key].numpy(), array, key)
    assert model.load_report.dialect == FAMILIES[name][1]
    assert not model.load_report.reset
    assert_computes(model, name)


@EVERY
def test_outputs_are_the_original_s_at_an_oblong_size(name):
    size = EXPECTED[f"{name}:x2"].shape[2:]
    assert_computes(load(name, img_size=size), name, "2")
    assert_computes(load(name, dynamic_img_size=True), name, "2")


@EVERY
def test_a_model_of_a_family_is_saved_and_comes_back(name, tmp_path):
    model = load(name)
    model.save_pretrained(tmp_path)
    back = vitlib.from_pretrained(tmp_path)
    back.eval()
    assert back.config == model.config
    x = paddle.to_tensor(EXPECTED[f"{name}:x"])
    np.testing.assert_array_equal(back(x).numpy(), model(x).numpy())
    assert not back.load_report.left_out


@pytest.mark.parametrize("name", ["huggingface_dinov3_gated", "dinov3", "dinov3_gated"])
def test_rotary_models_are_written_under_the_names_of_timm_s_class_for_them(name, tmp_path):
    model = load(name)
    vitlib.save_weights(model, tmp_path / "model.safetensors", format="timm")
    report = vitlib.load_weights(vitlib.VisionTransformer(model.config), tmp_path / "model.safetensors")
    assert report.dialect == "timm"
    assert not report.left_out
    names = set(vitlib.checkpoint.open_weights(tmp_path / "model.safetensors"))
    assert "blocks.0.gamma_1" in names
    assert ("blocks.0.attn.q_bias" in names) == model.config.qkv_bias
    assert ("blocks.0.mlp.fc1_g.weight" in names) == model.config.gated_mlp
    if model.config.qkv_bias:
        model.blocks[0].attn.qkv.bias.set_value(paddle.ones([72]))
        with pytest.raises(vitlib.WeightsError, match="no bias of the keys"):
            vitlib.save_weights(model, tmp_path / "other.safetensors", format="timm")


LEFT_OUT = {
    "dino": ["head.mlp.0.weight", "head.last_layer.weight_v"],
    "mae": ["mask_token", "decoder_pos_embed", "decoder_pred.weight"],
    "dinov2": ["mask_token"],
    "dinov3": ["mask_token", "rope_embed.periods", "blocks.0.attn.qkv.bias_mask"],
    "open_clip": ["logit_scale", "text_projection", "positional_embedding", "transformer.resblocks.0.ln_1.weight"],
    "openai": ["input_resolution", "token_embedding.weight"],
    "big_vision_siglip": ["params/t", "params/txt/head/bias"],
    "huggingface_mae": ["decoder.mask_token"],
    "huggingface_clip": ["logit_scale", "text_projection.weight"],
    "huggingface_siglip": ["logit_bias"],
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_other_parts_of_the_model_are_left_out_and_reported(name):
    assert set(LEFT_OUT[name]) <= set(load(name).load_report.left_out)


@pytest.mark.parametrize("name", ["open_clip", "dinov2", "huggingface_clip"])
def test_a_tensor_that_belongs_to_no_known_part_still_raises(name):
    from safetensors.numpy import load_file

    if name == "huggingface_clip":
        state = load_file(HERE / name / "model.safetensors")
    else:
        file = vitlib.checkpoint.open_weights(HERE / FAMILIES[name][0])
        state = {key: np.array(file.read(key)) for key in file}
    with pytest.raises(vitlib.WeightsError, match="unexpected in the file: adapter"):
        vitlib.from_pretrained({**state, "adapter.weight": np.ones(3, "float32")}, num_heads=3)


def test_the_names_that_transformers_5_has_in_memory_are_the_same_weights():
    model = vitlib.from_pretrained(HERE / "huggingface_dinov2_v5_names.bin", num_heads=3)
    for (key, one), (_, other) in zip(
        model.named_parameters(), load("huggingface_dinov2_registers").named_parameters(), strict=True
    ):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), key)


def test_blocks_in_chunks_are_counted_through():
    model = vitlib.from_pretrained(HERE / "dinov2_chunked.pth", num_heads=3, dialect="dinov2")
    expected = load("dinov2_registers")
    for (key, one), (_, other) in zip(model.named_parameters(), expected.named_parameters(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), key)


def test_activations_that_the_file_does_not_tell_are_reported_and_a_preset_keeps_its_own():
    model = load("open_clip")
    assert model.config.activation == "quick_gelu"
    assert any("quick_gelu" in sentence for sentence in model.load_report.assumed)
    exact = vitlib.VisionTransformer(model.config.replace(activation="gelu"))
    vitlib.load_weights(exact, HERE / "open_clip.pt")
    assert exact.config.activation == "gelu"
    assert not any(sentence.startswith("activation=") for sentence in load("openai").load_report.assumed)


def test_the_projected_embedding_of_a_clip_tower_is_not_normalised():
    out = load("openai")(paddle.to_tensor(EXPECTED["openai:x"]))
    assert out.shape == [2, 20]
    assert (out.norm(axis=-1) - 1).abs().min() > 0.1


@pytest.mark.parametrize("name", ["dinov3", "big_vision_siglip", "openai", "dinov2_gated"])
def test_what_plain_models_have_works_for_the_families(name):
    model = load(name)
    x = paddle.to_tensor(EXPECTED[f"{name}:x"])
    maps = vitlib.attention_maps(model, x)
    tokens = 16 + model.num_prefix_tokens
    assert [m.shape for m in maps] == [[2, 3, tokens, tokens]] * 2
    np.testing.assert_allclose(maps[0].sum(-1).numpy(), 1, atol=1e-5)
    features = model.intermediates(x, reshape=True)
    assert features[-1].shape == [2, 24, 4, 4]
    last = model.intermediates(x, 1, norm=True, prefix_tokens=True)[0]
    np.testing.assert_allclose(model.forward_head(last).numpy(), model(x).numpy(), atol=1e-5)

    sizes = [int(np.prod(p.shape)) for p in model.parameters()]
    assert vitlib.count(model).parameters == sum(sizes)
    groups = vitlib.param_groups(model, layer_decay=0.5)
    assert sum(len(group["params"]) for group in groups) == len(sizes)
    model.freeze()
    model.unfreeze()

    model.set_recompute()
    model.train()
    model(x).sum().backward()
    unused = {"attn_pool"} if name != "big_vision_siglip" else set()
    assert not [n for n, p in model.named_parameters() if p.grad is None and n.partition(".")[0] not in unused]
    model.reinitialise(n for n, _ in model.named_parameters())


@pytest.mark.parametrize("name", ["dinov3", "big_vision_siglip"])
def test_a_family_is_traced_with_open_sizes(name, tmp_path):
    model = load(name, dynamic_img_size=True)
    spec = paddle.static.InputSpec([None, 3, None, None], "float32")
    paddle.jit.save(model, str(tmp_path / "model"), input_spec=[spec])
    traced = paddle.jit.load(str(tmp_path / "model"))
    for key in ("", "2"):
        assert_computes(traced, name, key)


def test_multiply_adds_of_the_attention_pooling_are_counted():
    """For one query: k and v of every patch, q, the two products, the projection and the MLP."""
    model = load("big_vision_siglip")
    d, n, hidden = 24, 16, 48
    pooling = n * 2 * d * d + d * d + 2 * n * d + d * d + 2 * d * hidden
    plain = model.config.replace(global_pool="avg", fc_norm=False)
    assert vitlib.count(model).macs - vitlib.count(vitlib.VisionTransformer(plain)).macs == pooling


SPELLINGS = {
    "huggingface_clip_vision": ("vision_model.", ""),
    "huggingface_siglip_vision": ("vision_model.", ""),
    "huggingface_dinov3": ("model.layer.", "layer."),
    "huggingface_dinov2": ("dinov2.", ""),
    "huggingface_timm_wrapper": ("timm_model.", ""),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_names_are_known_with_and_without_the_prefix_that_versions_of_transformers_write(name):
    from safetensors.numpy import load_file

    long, short = SPELLINGS[name]
    state = load_file(HERE / name / "model.safetensors")
    bare = {key.replace(long, short, 1) if key.startswith(long) else key: array for key, array in state.items()}
    with_prefix = {long + key.removeprefix(short) if key.startswith(short) else key: a for key, a in bare.items()}
    expected = load(name)
    for names in (bare, with_prefix):
        model = vitlib.VisionTransformer(expected.config)
        report = vitlib.load_weights(model, names)
        assert report.dialect == FAMILIES[name][1]
        for key, parameter in model.named_parameters():
            np.testing.assert_array_equal(parameter.numpy(), dict(expected.named_parameters())[key].numpy(), key)
