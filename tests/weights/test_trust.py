"""Nothing loads silently wrong: opened exactly, refused by name, or with a report of what was assumed.

The directories in timm/ were written by timm (timm_models.py): two narrow blocks each.
"""

import json
import pathlib
import shutil

import numpy as np
import paddle
import pytest

import vitlib
from vitlib.checkpoint import write_safetensors
from vitlib.images.resize import resized_size
from vitlib.weights.dialects.huggingface import read_processor
from vitlib.weights.dialects.timm import architectures

HERE = pathlib.Path(__file__).parent
TIMM = HERE / "timm"
EXPECTED = np.load(TIMM / "expected.npz")
CHECKPOINTS = HERE / "checkpoints"
STATE = {
    key.split(":", 2)[2]: value
    for key, value in np.load(CHECKPOINTS / "expected.npz").items()
    if key.startswith("timm:weight:")
}
SHAPE = {
    "img_size": 16,
    "patch_size": 4,
    "num_classes": 5,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 2.0,
}


def bare(name, tmp_path):
    """A file alone, without the config that stood beside it."""
    shutil.copy(TIMM / name / "model.safetensors", tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def error(model, name):
    model.eval()
    found = model(paddle.to_tensor(EXPECTED[f"{name}:x"])).numpy()
    return np.abs(found - EXPECTED[f"{name}:logits"]).max() / np.abs(EXPECTED[f"{name}:logits"]).max()


@pytest.mark.parametrize("name", ["vit_base_patch16_clip_224", "vit_base_patch16_clip_quickgelu_224"])
def test_an_architecture_that_timm_s_config_names_is_built_as_timm_builds_it(name):
    model = vitlib.from_pretrained(TIMM / name)
    assert error(model, name) < 1e-5
    assert model.config.norm_eps == 1e-5
    assert model.load_report.assumed == ()
    assert model.preprocess.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))


def test_dinov3_s_own_hub_directory_computes_what_timm_computes():
    model = vitlib.from_pretrained(TIMM / "vit_small_patch16_dinov3")
    assert error(model, "vit_small_patch16_dinov3") < 1e-5
    assert model.load_report.assumed == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_base_patch16_rope_224", "rotary"),
        ("vit_base_patch16_rope_ape_224", "rotary"),
        ("vit_base_patch16_rpn_224", "norms after each branch"),
    ],
)
def test_an_architecture_of_timm_that_is_not_plain_is_refused_by_name_and_reason(name, reason):
    for open_it in (vitlib.from_pretrained, lambda path: vitlib.load_weights(vitlib.VisionTransformer(**SHAPE), path)):
        with pytest.raises(vitlib.WeightsError, match=reason) as caught:
            open_it(TIMM / name)
        assert name in str(caught.value)


def test_an_architecture_that_timm_added_later_is_refused_unless_the_tensors_may_decide(tmp_path):
    name = "vit_base_patch16_clip_224"
    shutil.copytree(TIMM / name, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"architecture": "vit_base_patch16_2031"}))
    with pytest.raises(vitlib.WeightsError, match="vit_base_patch16_2031") as caught:
        vitlib.from_pretrained(tmp_path / "model", num_heads=3)
    assert 'allow="architecture"' in str(caught.value)
    model = vitlib.from_pretrained(tmp_path / "model", num_heads=3, allow="architecture")
    assert any("architecture" in sentence for sentence in model.load_report.assumed)
    assert any("norm_eps=1e-06" in sentence for sentence in model.load_report.assumed)


def test_the_table_of_architectures_agrees_with_the_presets():
    plain, _ = architectures()
    shared = sorted(set(plain) & set(vitlib.list_models()))
    assert len(shared) > 30
    for name in shared:
        preset = vitlib.get_config(name)
        with paddle.LazyGuard():
            model = vitlib.create_model(name, num_classes=plain[name].get("num_classes", 1000))
        # timm has biases for q and v alone there; here that of k is zero
        more = model.config.depth * model.config.embed_dim if name.endswith("_qkvb") else 0
        assert sum(int(np.prod(p.shape)) for p in model.parameters()) == plain[name]["parameters"] + more, name
        for option, value in plain[name].items():
            if option not in ("parameters", "num_classes", "init_values"):
                expected = tuple(value) if isinstance(value, list) else value
                found = round(preset.mlp_ratio, 3) if option == "mlp_ratio" else getattr(preset, option)
                assert found == (round(expected, 3) if option == "mlp_ratio" else expected), (name, option)


def test_a_file_without_positions_is_refused_unless_there_are_none_or_its_family_is_recognised(tmp_path):
    with pytest.raises(vitlib.WeightsError, match=r"rotary, relative") as caught:
        vitlib.from_pretrained(bare("vit_base_patch16_rope_224", tmp_path), num_heads=3)
    assert 'pos_embed="none"' in str(caught.value)
    report = vitlib.from_pretrained(bare("vit_small_patch16_dinov3", tmp_path), num_heads=3).load_report
    assert any("rotary positions, as in DINOv3" in sentence for sentence in report.assumed)


def test_a_model_without_positions_comes_back(tmp_path):
    model = vitlib.VisionTransformer(**SHAPE, pos_embed="none")
    vitlib.save_weights(model, tmp_path / "own.safetensors")
    assert vitlib.from_pretrained(tmp_path / "own.safetensors", num_heads=3).config.pos_embed == "none"
    foreign = {name: array for name, array in STATE.items() if name != "pos_embed"}
    assert vitlib.from_pretrained(foreign, num_heads=3, pos_embed="none").config.pos_embed == "none"


def test_a_bare_file_of_another_order_or_with_further_positions_says_what_is_assumed(tmp_path):
    for name in ("vit_base_patch16_rpn_224", "vit_base_patch16_rope_ape_224"):
        report = vitlib.from_pretrained(bare(name, tmp_path), num_heads=3).load_report
        assert any("a norm before each branch, and no positions but" in sentence for sentence in report.assumed)
        assert str(report).startswith("assumed")


@pytest.mark.parametrize(
    "name",
    [
        "timm.safetensors",
        "facebook_deit3.pth",
        "paddleclas.pdparams",
        "torchvision.pth",
        "google.npz",
        "big_vision.npz",
    ],
)
def test_every_bare_file_says_which_numerics_are_assumed(name):
    report = vitlib.from_pretrained(CHECKPOINTS / name, num_heads=3).load_report
    assert any("norm_eps=1e-06, activation='gelu" in sentence for sentence in report.assumed)
    assert any("preprocessing" in sentence for sentence in report.assumed)


def test_hugging_face_s_file_without_its_config_says_so_and_with_it_assumes_nothing(tmp_path):
    shutil.copy(CHECKPOINTS / "huggingface_vit" / "model.safetensors", tmp_path / "alone.safetensors")
    report = vitlib.from_pretrained(tmp_path / "alone.safetensors", num_heads=3).load_report
    assert any("norm_eps=1e-12, activation='gelu'" in sentence for sentence in report.assumed)
    assert vitlib.from_pretrained(CHECKPOINTS / "huggingface_vit").load_report.assumed == ()


def test_whoever_wants_no_assumptions_gets_an_error_instead():
    with pytest.raises(vitlib.WeightsError, match="norm_eps=1e-06"):
        vitlib.from_pretrained(STATE, num_heads=3, assume="refuse")
    model = vitlib.VisionTransformer(**SHAPE)
    before = model.norm.weight.numpy().copy()
    with pytest.raises(vitlib.WeightsError, match="assume='report'"):
        vitlib.load_weights(model, STATE, assume="refuse")
    np.testing.assert_array_equal(model.norm.weight.numpy(), before)
    assert vitlib.from_pretrained(CHECKPOINTS / "huggingface_vit", assume="refuse").load_report.assumed == ()
    with pytest.raises(ValueError, match="assume='maybe'"):
        vitlib.from_pretrained(STATE, num_heads=3, assume="maybe")


def test_gamma_alone_is_not_facebook_s():
    gammas = {f"blocks.{i}.gamma_1": np.ones(24, "float32") for i in range(2)}
    with pytest.raises(vitlib.WeightsError, match="gamma_1"):  # one half of LayerScale is neither timm's nor facebook's
        vitlib.from_pretrained({**STATE, **gammas}, num_heads=3)


class Wide(vitlib.MLP):
    """Computes otherwise with the same parameters."""

    def forward(self, x):
        return 3 * super().forward(x)


class Block(vitlib.EncoderBlock):
    mlp_class = Wide


class Net(vitlib.VisionTransformer):
    block_class = Block


def test_a_saved_subclass_opens_as_that_class_alone(tmp_path):
    Net(**SHAPE).save_pretrained(tmp_path)
    for open_it in (
        vitlib.from_pretrained,
        lambda path: vitlib.load_weights(vitlib.VisionTransformer(**SHAPE), path),
        lambda path: vitlib.create_model("vit_tiny_patch16_224", pretrained=path, **SHAPE),
    ):
        with pytest.raises(vitlib.WeightsError, match="model_class=Net"):
            open_it(tmp_path)
    assert type(vitlib.from_pretrained(tmp_path, model_class=Net)) is Net
    plain = vitlib.from_pretrained(tmp_path, allow="architecture")
    assert type(plain) is vitlib.VisionTransformer
    assert any("Net" in sentence for sentence in plain.load_report.assumed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"act_layer": "quick_gelu"}, None),
        ({"act_layer": "swish"}, "act_layer='swish'"),
        ({"block_fn": "ParallelThingsBlock"}, "block_fn"),
        ({"pos_embed": "factorized"}, "pos_embed='factorized'"),
    ],
)
def test_arguments_of_a_timm_config_are_honoured_or_refused(arguments, words, tmp_path):
    name = "vit_base_patch16_clip_224"
    shutil.copytree(TIMM / name, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["model_args"] |= arguments
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    if words is None:
        assert vitlib.from_pretrained(tmp_path / "model").config.activation == "quick_gelu"
        return
    with pytest.raises(vitlib.WeightsError, match=words):
        vitlib.from_pretrained(tmp_path / "model")


def test_processors_that_rescale_otherwise_give_the_same_numbers_and_others_are_told(tmp_path):
    shutil.copytree(CHECKPOINTS / "huggingface_vit", tmp_path / "model")
    path = tmp_path / "model" / "preprocessor_config.json"
    values = json.loads(path.read_text())
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype="uint8")

    def preprocessed(**changes):
        path.write_text(json.dumps(values | changes))
        return vitlib.from_pretrained(tmp_path / "model")

    model = preprocessed(rescale_factor=1 / 127.5, image_mean=[1.0, 1.0, 1.0], image_std=[1.0, 1.0, 1.0])
    np.testing.assert_allclose(model.preprocess(image).numpy()[0], image.transpose(2, 0, 1) / 127.5 - 1, atol=1e-5)
    model = preprocessed(do_rescale=False, image_mean=[100.0, 100.0, 100.0], image_std=[50.0, 50.0, 50.0])
    np.testing.assert_allclose(model.preprocess(image).numpy()[0], (image.transpose(2, 0, 1) - 100.0) / 50, atol=1e-5)
    assert any("do_resize" in sentence for sentence in preprocessed(do_resize=False).load_report.assumed)


@pytest.mark.parametrize(("size", "crop"), [(400, 224), (450, 384), (256, 224), (500, 16)])
@pytest.mark.parametrize("kind", ["ViTImageProcessor", "CLIPImageProcessor"])
def test_a_processor_s_images_are_resized_to_its_size_to_the_pixel(kind, size, crop):
    values = {"image_processor_type": kind, "size": size, "do_center_crop": True, "crop_size": crop}
    found = read_processor(values)
    record = found.preprocess
    resized = resized_size((900, 900), (crop, crop), record.crop_fraction, record.resize)
    assert (record.size, resized, found.assumed) == ((crop, crop), (size, size), ())


@pytest.mark.parametrize(
    ("size", "crop"),
    [({"height": 32, "width": 48}, 16), ({"height": 16, "width": 16}, 32), ({"shortest_edge": 32}, [16, 24])],
)
def test_a_resize_that_preprocess_cannot_express_is_an_assumption(size, crop):
    values = {"size": size, "do_center_crop": True, "crop_size": crop}
    (sentence,) = read_processor(values).assumed
    assert sentence.startswith("preprocessing: images are resized to")


def test_values_that_the_model_s_type_cannot_hold_are_refused():
    model = vitlib.VisionTransformer(**SHAPE)
    model.to(dtype="float16")
    weights = {name: array.copy() for name, array in STATE.items()}
    vitlib.load_weights(model, weights)
    weights["norm.bias"][0] = 1e6
    with pytest.raises(vitlib.WeightsError, match=r"not finite in float16: norm\.bias"):
        vitlib.load_weights(model, weights)
    model.to(dtype="bfloat16")
    weights["norm.bias"][0] = 3.4e38
    with pytest.raises(vitlib.WeightsError, match="not finite in bfloat16"):
        vitlib.load_weights(model, weights)


@pytest.mark.parametrize("dtype", ["uint16", "int64", "bool"])
def test_integers_are_no_weights(dtype):
    weights = {**STATE, "norm.bias": STATE["norm.bias"].astype(dtype)}
    with pytest.raises(vitlib.WeightsError, match=rf"integers \({dtype}\).*norm\.bias"):
        vitlib.from_pretrained(weights, num_heads=3)


class Soft(vitlib.VisionTransformer):
    """Has an activation of its own."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        for block in self.blocks:
            block.mlp.activation = paddle.nn.functional.softplus


def test_an_activation_that_a_subclass_gave_is_kept_by_every_way_of_loading():
    loaded = Soft(**SHAPE)
    vitlib.load_weights(loaded, CHECKPOINTS / "google.npz", allow="architecture")  # tanh-GELU
    built = vitlib.from_pretrained(CHECKPOINTS / "google.npz", model_class=Soft)
    for model in (loaded, built):
        assert all(block.mlp.activation is paddle.nn.functional.softplus for block in model.blocks)


class Prompted(vitlib.VisionTransformer):
    """Has a parameter that no checkpoint has."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        start = paddle.nn.initializer.Constant(7.0)
        self.prompt = self.create_parameter([3, self.config.embed_dim], default_initializer=start)


def test_parameters_of_a_subclass_keep_their_initial_values_when_that_is_allowed(tmp_path):
    with pytest.raises(vitlib.WeightsError, match='allow="missing"'):
        vitlib.from_pretrained(STATE, num_heads=3, model_class=Prompted)
    model = vitlib.from_pretrained(STATE, num_heads=3, model_class=Prompted, allow="missing")
    assert model.load_report.reset == ("prompt",)
    assert model.prompt.numpy().min() == model.prompt.numpy().max() == 7
    model.prompt.set_value(np.full([3, 24], 2, "float32"))
    vitlib.load_weights(model, STATE, allow="missing")
    assert model.prompt.numpy().max() == 2
    model.save_pretrained(tmp_path)
    assert vitlib.from_pretrained(tmp_path, model_class=Prompted).prompt.numpy().max() == 2


def test_parameters_that_keep_the_values_of_the_model_are_no_new_ones():
    model = vitlib.VisionTransformer(**SHAPE)
    model.norm.bias.set_value(np.full([24], 7, "float32"))
    lacking = {name: array for name, array in STATE.items() if name != "norm.bias"}
    report = vitlib.load_weights(model, lacking, allow="missing")
    assert model.norm.bias.numpy().min() == 7
    assert report.reset == ()
    assert "kept as they were, since the file does not have them: norm.bias" in report.notes


ROTARY = {**SHAPE, "img_size": 32, "embed_dim": 32, "num_heads": 2, "reg_tokens": 1, "pos_embed": "rotary"}


@pytest.mark.parametrize(
    ("saved", "model", "words"),
    [
        ({}, {"pos_embed": "none"}, "pos_embed is 'rotary' in the source, 'none' in the model"),
        ({"pos_embed": "none"}, {}, "pos_embed is 'none' in the source, 'rotary' in the model"),
        ({}, {"rotary_base": 50.0}, "rotary_base is 100.0 in the source, 50.0 in the model"),
    ],
)
def test_positions_that_no_tensor_shows_are_compared_where_the_source_tells_them(saved, model, words, tmp_path):
    vitlib.VisionTransformer(**{**ROTARY, **saved}).save_pretrained(tmp_path)
    other = vitlib.VisionTransformer(**{**ROTARY, **model})
    before = other.norm.weight.numpy()
    with pytest.raises(vitlib.WeightsError, match=words):
        vitlib.load_weights(other, tmp_path)
    assert (other.norm.weight.numpy() == before).all()
    vitlib.load_weights(vitlib.VisionTransformer(**{**ROTARY, **saved}), tmp_path)


def test_a_bare_file_says_which_positions_without_a_table_are_assumed():
    state = {name: array for name, array in STATE.items() if name != "pos_embed"}
    for positions, words in (("none", "no positions"), ("rotary", "rotary positions of base 100")):
        model = vitlib.VisionTransformer(**{**SHAPE, "num_heads": 2, "pos_embed": positions})
        assert f"a norm before each branch, and {words}" in vitlib.load_weights(model, state).assumed


def test_names_of_classes_that_stay_are_an_assumption():
    model = vitlib.VisionTransformer(**SHAPE)
    model.labels = list("abcde")
    assert any("the names of the classes" in text for text in vitlib.load_weights(model, STATE).assumed)
    assert model.labels == list("abcde")


def test_the_size_of_the_preprocessing_follows_another_image_size(tmp_path):
    model = vitlib.VisionTransformer(**SHAPE)
    model.preprocess = model.preprocess.replace(crop_fraction=0.5)
    model.save_pretrained(tmp_path)
    again = vitlib.from_pretrained(tmp_path, img_size=24)
    assert (again.preprocess.size, again.preprocess.crop_fraction) == (24, 0.5)
    assert vitlib.from_pretrained(tmp_path, img_size=24, dynamic_img_size=True).preprocess.size == 24
    assert vitlib.from_pretrained(tmp_path).preprocess.size == 16


@pytest.mark.parametrize("epsilon", [0, None, "1e-6"])
def test_a_config_that_cannot_work_leaves_the_model_as_it_was(epsilon, tmp_path):
    directory = shutil.copytree(CHECKPOINTS / "huggingface_vit", tmp_path / "copy")
    model = vitlib.from_pretrained(directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "layer_norm_eps": epsilon}))
    model.norm.weight.set_value(model.norm.weight + 1)
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    with pytest.raises(vitlib.WeightsError, match="config"):
        vitlib.load_weights(model, directory)
    assert all((value.numpy() == before[name]).all() for name, value in model.state_dict().items())
    assert model.norm._epsilon == model.config.norm_eps == 1e-12


def test_preprocessing_that_no_file_tells_is_an_assumption_and_one_beside_bare_weights_is_taken(tmp_path):
    directory = shutil.copytree(CHECKPOINTS / "huggingface_vit", tmp_path / "copy")
    processor = directory / "preprocessor_config.json"
    told = processor.read_text() if processor.exists() else json.dumps({"size": 16, "image_mean": [0.1, 0.2, 0.3]})
    processor.unlink(missing_ok=True)
    with pytest.raises(vitlib.WeightsError, match="preprocessing, usual in huggingface"):
        vitlib.from_pretrained(directory, assume="refuse")
    processor.write_text(json.dumps({**json.loads(told), "image_mean": [0.1, 0.2, 0.3]}))
    (directory / "config.json").unlink()
    model = vitlib.from_pretrained(directory, num_heads=3)
    assert model.preprocess.mean == (0.1, 0.2, 0.3)
    assert not any("preprocessing" in text for text in model.load_report.assumed)


def test_tensors_beside_the_model_are_named_and_left_out_when_that_is_allowed():
    weights = {**STATE, "criterion.weight": np.ones(3, "float32")}
    with pytest.raises(vitlib.WeightsError, match=r"criterion\.weight") as caught:
        vitlib.from_pretrained(weights, num_heads=3)
    assert 'allow="extra"' in str(caught.value)
    report = vitlib.from_pretrained(weights, num_heads=3, allow="extra").load_report
    assert report.left_out == ("criterion.weight",)


def test_of_raw_and_averaged_weights_one_is_taken_aloud_and_part_takes_the_other():
    averaged = {name: array + 1 for name, array in STATE.items()}
    source = {"state_dict": STATE, "state_dict_ema": averaged}
    model = vitlib.from_pretrained(source, num_heads=3)
    np.testing.assert_array_equal(model.norm.weight.numpy(), STATE["norm.weight"])
    assert any("state_dict_ema" in sentence for sentence in model.load_report.assumed)
    model = vitlib.from_pretrained(source, num_heads=3, part="state_dict_ema")
    np.testing.assert_array_equal(model.norm.weight.numpy(), averaged["norm.weight"])
    model = vitlib.create_model("vit_tiny_patch16_224", pretrained=source, part="state_dict_ema", **SHAPE)
    np.testing.assert_array_equal(model.norm.weight.numpy(), averaged["norm.weight"])
    with pytest.raises(vitlib.WeightsError, match="teacher"):
        vitlib.from_pretrained(source, num_heads=3, part="teacher")


def test_a_table_with_both_tables_of_two_grids_is_ambiguous():
    """9 rows and a token of five registers: 2 x 2 patches with rows for all tokens, or 3 x 3 without."""
    weights = {**STATE, "reg_token": np.zeros((1, 4, 24), "float32")}
    weights["pos_embed"] = np.zeros((1, 9, 24), "float32")
    with pytest.raises(vitlib.WeightsError, match="2 x 2 or of 3 x 3") as caught:
        vitlib.from_pretrained(weights, num_heads=3)
    assert "source_grid" in str(caught.value)
    assert vitlib.from_pretrained(weights, num_heads=3, source_grid=(3, 3)).config.img_size == 12


def test_an_average_pooled_model_and_a_class_token_s_file_meet_by_fc_norm():
    model = vitlib.VisionTransformer(**SHAPE, global_pool="avg")
    with pytest.raises(vitlib.WeightsError, match="fc_norm=False"):
        vitlib.load_weights(model, STATE)
    vitlib.load_weights(vitlib.VisionTransformer(**SHAPE, global_pool="avg", fc_norm=False), STATE)


# What is written is what the model is


def test_saving_checks_everything_before_it_writes(tmp_path):
    model = vitlib.VisionTransformer(**SHAPE)
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = vitlib.VisionTransformer(**{**SHAPE, "num_classes": 7})
    other.labels = ["one"]
    with pytest.raises(ValueError, match="1 names for 7 classes"):
        other.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("format", ["timm", "huggingface", "torchvision", "google", "paddleclas"])
@pytest.mark.parametrize(
    ("change", "way_out"),
    [
        (lambda model: setattr(model, "head", paddle.nn.Linear(24, 7)), "reset_head"),
        (lambda model: setattr(model, "head", paddle.nn.Linear(24, 5, bias_attr=False)), "reset_head"),
        (lambda model: setattr(model, "head", paddle.nn.Identity()), "reset_head"),
        (
            lambda model: setattr(model, "head", paddle.nn.Sequential(paddle.nn.Linear(24, 9), paddle.nn.Linear(9, 5))),
            "reset_head",
        ),
        (lambda model: setattr(model, "blocks", model.blocks[:1]), "prune_blocks"),
    ],
)
def test_a_model_changed_by_hand_is_refused_before_anything_is_written(change, way_out, format, tmp_path):
    model = vitlib.VisionTransformer(**SHAPE)
    change(model)
    with pytest.raises(vitlib.WeightsError, match=way_out):
        vitlib.save_weights(model, tmp_path / "out", format=format)
    with pytest.raises(vitlib.WeightsError, match=way_out):
        model.save_pretrained(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_quick_gelu_in_a_file_for_timm_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="quick_gelu"):
        vitlib.save_weights(vitlib.VisionTransformer(**SHAPE, activation="quick_gelu"), tmp_path / "a.safetensors")


def test_the_format_follows_the_ending_and_a_contradiction_is_refused(tmp_path):
    model = vitlib.VisionTransformer(**SHAPE)
    vitlib.save_weights(model, tmp_path / "a.pdparams")
    assert set(paddle.load(str(tmp_path / "a.pdparams"))) >= set(model.state_dict())
    with pytest.warns(UserWarning, match="gelu_tanh"):
        vitlib.save_weights(model, tmp_path / "a.npz")
    assert "cls" in np.load(tmp_path / "a.npz")
    for path, format in (("b.pdparams", "timm"), ("b.safetensors", "google"), ("b.npz", "paddleclas")):
        with pytest.raises(ValueError, match=format):
            vitlib.save_weights(model, tmp_path / path, format=format)
    assert not list(tmp_path.glob("b.*"))


@pytest.mark.parametrize(
    ("format", "path"),
    [
        ("timm", "w.safetensors"),
        ("huggingface", "w"),
        ("torchvision", "w.safetensors"),
        ("google", "w.npz"),
        ("paddleclas", "w.pdparams"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*computes with")
def test_bfloat16_models_are_written_as_numbers_that_everybody_reads(format, path, tmp_path):
    import safetensors

    model = vitlib.VisionTransformer(**SHAPE)
    model.to(dtype="bfloat16")
    model.norm.bias.set_value(paddle.to_tensor(np.tile([1.0, -2.0, 0.5], 8), dtype="bfloat16"))
    vitlib.save_weights(model, tmp_path / path, format=format)
    again = vitlib.from_pretrained(tmp_path / path, num_heads=3)
    np.testing.assert_array_equal(again.norm.bias.numpy(), np.tile([1.0, -2.0, 0.5], 8))
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(
            dict(again.named_parameters())[name].numpy(), parameter.astype("float32").numpy(), name
        )
    written = tmp_path / path / "model.safetensors" if format == "huggingface" else tmp_path / path
    if written.suffix == ".safetensors":
        with safetensors.safe_open(str(written), "numpy") as file:
            assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118
    if format == "google":
        assert {array.dtype for array in np.load(written).values()} == {np.dtype("float32")}


# Names of files and models


def test_sources_that_are_none_get_a_sentence(tmp_path):
    assert vitlib.create_model("vit_tiny_patch16_224", pretrained=None, depth=1).load_report is None
    for source in ("", None, 3):
        with pytest.raises(TypeError, match="expected a path"):
            vitlib.from_pretrained(source)
    vitlib.save_weights(vitlib.VisionTransformer(**SHAPE), tmp_path / "x.pdparams")
    with pytest.raises(FileNotFoundError, match=r"x\.pdparams"):
        vitlib.from_pretrained(tmp_path / "x")


@pytest.mark.parametrize("name", ["last.ckpt", "last.pth.tar", "last.pyth", "model_state.pdparams"])
def test_a_directory_with_one_file_of_any_usual_name_opens(name, tmp_path):
    if name == "model_state.pdparams":
        vitlib.save_weights(vitlib.VisionTransformer(**SHAPE), tmp_path / name)
    else:
        shutil.copy(CHECKPOINTS / "facebook_deit_distilled.pth", tmp_path / name)
    assert vitlib.from_pretrained(tmp_path, num_heads=3).load_report.loaded


def test_the_network_inside_a_wrapper_is_loaded_and_saved(tmp_path):
    network = vitlib.VisionTransformer(**SHAPE)
    vitlib.load_weights(paddle.Model(network), STATE)
    np.testing.assert_array_equal(network.norm.weight.numpy(), STATE["norm.weight"])
    vitlib.save_weights(paddle.Model(network), tmp_path / "weights.safetensors")
    with pytest.raises(TypeError, match="expected a VisionTransformer or DeiT, found Linear"):
        vitlib.load_weights(paddle.nn.Linear(2, 2), STATE)


# Hostile names and shapes, through the public door


@pytest.mark.parametrize("count", [2_000, 20_000])
def test_empty_tensors_that_pretend_to_be_stacked_blocks_cost_nothing(count, tmp_path):
    names = {f"Transformer/encoderblock/{i}": np.zeros((1000, 0), "float32") for i in range(count)}
    write_safetensors(tmp_path / "hostile.safetensors", names)
    refused_quickly(tmp_path / "hostile.safetensors")
    names["Transformer/encoderblock/MultiHeadDotProductAttention_0/query/kernel"] = np.zeros((1000, 0), "float32")
    write_safetensors(tmp_path / "hostile.safetensors", names)
    refused_quickly(tmp_path / "hostile.safetensors")


@pytest.mark.parametrize("number", ["2999", "9" * 5000])
def test_a_block_far_away_is_refused_before_a_model_is_built(number, tmp_path):
    write_safetensors(
        tmp_path / "hostile.safetensors", {**STATE, f"blocks.{number}.norm1.weight": np.ones(24, "float32")}
    )
    refused_quickly(tmp_path / "hostile.safetensors", num_heads=3)


def test_a_config_of_many_blocks_is_refused_before_a_model_is_built(tmp_path):
    vitlib.VisionTransformer(**SHAPE).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["config"]["depth"] = 3000
    (tmp_path / "config.json").write_text(json.dumps(values))
    refused_quickly(tmp_path)


def test_strange_names_are_quoted_and_few_of_them_are_shown(tmp_path):
    strange = {f"\x1b[31m{i}\n" * 20: np.zeros(1, "float32") for i in range(300)}
    write_safetensors(tmp_path / "hostile.safetensors", {**STATE, **strange})
    text = refused_quickly(tmp_path / "hostile.safetensors", num_heads=3)
    assert len(text) < 5000
    assert "\x1b" not in text


def refused_quickly(path, **options):
    import resource
    import time

    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(vitlib.WeightsError) as caught:
        vitlib.from_pretrained(path, **options)
    assert time.process_time() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000, "KiB"
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("blocks.0.attn.qkv.weight", "the weights of 16000 models"), ("mask_token", "of no Vision Transformer")],
)
def test_thousands_of_prefixes_are_told_apart_in_time_that_grows_with_their_number(name, said):
    assert said in refused_quickly({f"p{i}.{name}": np.zeros(0, "float32") for i in range(16_000)})


# Several models, and models inside others


def inside(prefix, state=STATE):
    return {prefix + name: array for name, array in state.items()}


@pytest.mark.parametrize("prefix", ["encoder.", "net.", "vit.", "feature_extractor.", "1."])
def test_a_model_under_any_one_prefix_is_found_and_the_report_says_where(prefix):
    model = vitlib.from_pretrained(inside(prefix), num_heads=3)
    np.testing.assert_array_equal(model.norm.weight.numpy(), STATE["norm.weight"])
    assert prefix in model.load_report.wrapper


def test_open_clip_s_prefix_before_timm_s_names_is_taken_off():
    model = vitlib.from_pretrained(inside("visual.trunk."), num_heads=3)
    np.testing.assert_array_equal(model.norm.weight.numpy(), STATE["norm.weight"])


def test_names_beside_a_model_under_a_prefix_are_named():
    weights = {**inside("net."), "criterion.weight": np.ones(3, "float32"), "metric.total": np.ones(1, "float32")}
    with pytest.raises(vitlib.WeightsError, match=r"criterion\.weight, metric\.total") as caught:
        vitlib.from_pretrained(weights, num_heads=3)
    assert 'allow="extra"' in str(caught.value)
    report = vitlib.from_pretrained(weights, num_heads=3, allow="extra").load_report
    assert set(report.left_out) == {"criterion.weight", "metric.total"}


def test_of_several_models_in_one_table_the_caller_chooses():
    shifted = {name: array + 1 for name, array in STATE.items()}
    weights = {**inside("encoder."), **inside("momentum_encoder.", shifted)}
    with pytest.raises(vitlib.WeightsError, match=r"encoder'.*'momentum_encoder'.*part='encoder'"):
        vitlib.from_pretrained(weights, num_heads=3)
    model = vitlib.from_pretrained(weights, num_heads=3, part="momentum_encoder")
    np.testing.assert_array_equal(model.norm.weight.numpy(), shifted["norm.weight"])


def test_lora_pairs_are_refused_with_the_way_to_merge_them():
    weights = {**STATE, "blocks.0.attn.qkv.lora_A.default.weight": np.ones((4, 24), "float32")}
    with pytest.raises(vitlib.WeightsError, match=r"LoRA.*merge_and_unload"):
        vitlib.from_pretrained(weights, num_heads=3)


def test_inspect_says_what_a_checkpoint_is_and_would_load_as():
    found = vitlib.inspect(CHECKPOINTS / "facebook_deit3.pth")
    assert (found.format, found.dialect, found.wrapper) == ("torch", "facebook", "model")
    assert found.parameters == sum(
        value.size for key, value in np.load(CHECKPOINTS / "expected.npz").items() if "facebook_deit3:weight" in key
    )
    assert "num_heads" in found.problem  # 24 wide: no published model
    found = vitlib.inspect(CHECKPOINTS / "huggingface_vit")
    assert (found.problem, found.dialect) == ("", "huggingface")
    assert found.options["embed_dim"] == 24
    assert "embed_dim=24" in str(found)
    assert vitlib.inspect({"state_dict": STATE, "state_dict_ema": STATE}).others == ("state_dict_ema",)
    assert "rotary" in vitlib.inspect(TIMM / "vit_base_patch16_rope_224").problem
    stranger = vitlib.inspect({"conv1.weight": np.ones((3, 3), "float32")})
    assert (stranger.dialect, stranger.tensors) == ("", 1)
    assert "no Vision Transformer" in stranger.problem
    with pytest.raises(vitlib.WeightsError):
        vitlib.inspect(CHECKPOINTS / "huggingface_vit" / "config.json")


def test_inspecting_names_what_would_be_left_out_and_what_loading_would_refuse(tmp_path):
    wide = {"embed_dim": 192, "depth": 12, "num_heads": 3, "img_size": 32, "num_classes": 5}
    path = tmp_path / "model.safetensors"
    vitlib.save_weights(vitlib.VisionTransformer(**wide), path)
    with vitlib.checkpoint.open_weights(path) as file:
        weights = {name: np.array(file.read(name)) for name in file}
    foreign = vitlib.inspect({**weights, "mask_token": np.ones((1, 1, 192), "float32")})
    assert (foreign.left_out, foreign.problem) == (("mask_token",), "")
    assert vitlib.from_pretrained({**weights, "mask_token": np.ones((1, 1, 192), "float32")})
    beside = {**weights, "criterion.weight": np.ones(3, "float32")}
    found = vitlib.inspect(beside)
    assert found.left_out == ("criterion.weight",)
    assert "unexpected in the file: criterion.weight" in found.problem
    assert 'allow="extra"' in found.problem
    short = {**weights, "blocks.1.norm1.weight": np.ones(100, "float32")}
    assert "of another shape: blocks.{1}.norm1.weight: file [100], model [192]" in vitlib.inspect(short).problem
    del weights["norm.bias"]
    assert "missing in the file: norm.bias" in vitlib.inspect(weights).problem


def broken(kind, tmp_path):
    """A directory with a model of which one tensor is not finite, or is of integers."""
    vitlib.VisionTransformer(**SHAPE).save_pretrained(tmp_path)
    with vitlib.checkpoint.open_weights(tmp_path / "model.safetensors") as file:
        arrays = {name: np.array(file.read(name)) for name in file}
    if kind == "int8":
        arrays["blocks.1.mlp.fc1.weight"] = arrays["blocks.1.mlp.fc1.weight"].astype("int8")
    else:
        arrays["blocks.1.mlp.fc1.weight"][3, 4] = float(kind)
    write_safetensors(tmp_path / "model.safetensors", arrays)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("nan", "not finite (NaN or infinity): blocks.{1}.mlp.fc1.weight"),
        ("-inf", "not finite (NaN or infinity): blocks.{1}.mlp.fc1.weight"),
        ("int8", "integers (int8) in place of floating-point values: blocks.{1}.mlp.fc1.weight"),
    ],
)
def test_inspecting_finds_the_values_that_loading_refuses(kind, sentence, tmp_path):
    source = broken(kind, tmp_path)
    assert vitlib.inspect(source).problem == sentence
    with pytest.raises(vitlib.WeightsError) as caught:
        vitlib.from_pretrained(source)
    assert sentence in str(caught.value)


def test_inspecting_very_many_values_leaves_them_unread_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("vitlib.weights.inspection.MOST_VALUES", 100)
    found = vitlib.inspect(broken("nan", tmp_path))
    assert found.problem == ""
    assert f"{found.parameters:,} values" in found.unchecked
    assert "unchecked" in str(found)
    assert "integers (int8)" in vitlib.inspect(broken("int8", tmp_path)).problem  # the header tells


@pytest.mark.parametrize("name", ["huggingface_vit", "google.npz"])
def test_inspecting_names_the_assumptions_of_loading(name):
    found = vitlib.inspect(CHECKPOINTS / name)
    assert found.problem == found.unchecked == ""
    assert found.assumed == vitlib.from_pretrained(CHECKPOINTS / name).load_report.assumed


def test_a_projection_head_of_several_layers_is_left_out_when_the_head_may_differ():
    """MoCo v3's, in the place of the classifier."""
    layers = {"head.0.weight": np.ones((8, 24), "float32"), "head.1.running_mean": np.ones(8, "float32")}
    encoder = {**{name: array for name, array in STATE.items() if not name.startswith("head")}, **layers}
    with pytest.raises(vitlib.WeightsError, match=r"several layers \(head\.0\.weight, head\.1\.running_mean\)"):
        vitlib.from_pretrained(encoder, num_heads=3)
    model = vitlib.from_pretrained(encoder, num_heads=3, allow="head")
    assert set(model.load_report.left_out) == set(layers)
    assert vitlib.from_pretrained(encoder, num_heads=3, num_classes=2).head.weight.shape == [24, 2]
