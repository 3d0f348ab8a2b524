"""Loading is strict, changes only what was allowed, and tells everything."""

import contextlib
import pathlib

import numpy as np
import paddle
import pytest

import vitlib
from vitlib.checkpoint import write_safetensors
from vitlib.weights.patch_kernel import convert_channels, resize_patches

HERE = pathlib.Path(__file__).parent / "checkpoints"
EXPECTED = np.load(HERE / "expected.npz")
BODY = {"embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0}
SHAPE = {"img_size": 16, "patch_size": 4, "num_classes": 5, **BODY}


def state(name="timm"):
    return {key.split(":", 2)[2]: EXPECTED[key] for key in EXPECTED.files if key.startswith(f"{name}:weight:")}


def values(model):
    return {name: p.numpy().copy() for name, p in model.named_parameters()}


def refused(model, source, *words, **options):
    """The error's text; and the model is as it was."""
    before, config = values(model), model.config
    with pytest.raises(vitlib.WeightsError) as caught:
        vitlib.load_weights(model, source, **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    after = values(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert model.config == config
    assert model.load_report is None
    return str(caught.value)


def test_everything_that_is_wrong_is_in_one_error():
    weights = state()
    del weights["blocks.1.norm2.bias"]
    weights["blocks.7.extra.weight"] = np.zeros(3, "float32")
    weights["norm.weight"] = np.zeros(25, "float32")
    weights["blocks.0.mlp.fc1.bias"][3] = np.nan
    weights["head.weight"] = np.zeros((9, 24), "float32")
    model = vitlib.VisionTransformer(**SHAPE)
    refused(
        model,
        weights,
        "missing in the file: blocks.{1}.norm2.bias",
        "unexpected in the file: blocks.{7}.extra.weight",
        "norm.weight: file [25], model [24]",
        "not finite (NaN or infinity): blocks.{0}.mlp.fc1.bias",
        "head has 9 classes in the file, 5 in the model",
        'allow="head"',
    )


def test_the_error_names_the_file(tmp_path):
    weights = state()
    weights["norm.bias"] = np.full(24, np.inf, "float32")
    write_safetensors(tmp_path / "broken.safetensors", weights)
    refused(vitlib.VisionTransformer(**SHAPE), tmp_path / "broken.safetensors", "broken.safetensors", "norm.bias")


def test_sums_that_overflow_are_no_reason_to_refuse():
    weights = state()
    weights["blocks.0.mlp.fc1.weight"] = np.full((48, 24), 3e38, "float32")
    vitlib.load_weights(vitlib.VisionTransformer(**SHAPE), weights)


def test_another_number_of_classes_needs_permission_and_gives_a_new_head():
    refused(vitlib.VisionTransformer(**{**SHAPE, "num_classes": 3}), state(), "not permitted", 'allow="head"')
    model = vitlib.VisionTransformer(**{**SHAPE, "num_classes": 3})
    head = model.head.weight.numpy()
    report = vitlib.load_weights(model, state(), allow="head")
    assert set(report.reset) == {"head.weight", "head.bias"} == set(report.left_out)
    assert np.abs(model.head.weight.numpy() - head).max() > 0  # drawn anew, not left on a new backbone
    assert 0.01 < model.head.weight.numpy().std() < 0.03
    np.testing.assert_array_equal(model.norm.weight.numpy(), state()["norm.weight"])


def test_an_override_is_permission_for_that_change_alone():
    model = vitlib.from_pretrained(state(), num_heads=3, num_classes=3, img_size=(24, 16))
    assert set(model.load_report.reset) == {"head.weight", "head.bias"}
    assert set(model.load_report.resized) == {"pos_embed"}
    options = {**BODY, "img_size": 16, "patch_size": 4}
    with pytest.raises(vitlib.WeightsError, match="head has 5 classes in the file, 1000 in the model") as caught:
        vitlib.create_model("vit_tiny_patch16_224", pretrained=state(), **options)
    assert "position" not in str(caught.value)


def test_the_call_that_people_make_just_works(tmp_path):
    source = vitlib.create_model("deit_tiny_patch16_224", depth=1)
    vitlib.save_weights(source, tmp_path / "deit.safetensors")
    model = vitlib.create_model(
        "deit_tiny_patch16_224", pretrained=tmp_path / "deit.safetensors", num_classes=10, img_size=(384, 256), depth=1
    )
    model.eval()
    assert list(model(paddle.randn([1, 3, 384, 256])).shape) == [1, 10]
    assert "14 x 14 -> 24 x 16" in model.load_report.resized["pos_embed"]
    assert model.preprocess.size == (384, 256)


def test_as_many_rows_as_the_model_has_patches_are_taken_for_its_own_grid_and_the_report_says_so():
    model = vitlib.VisionTransformer(**{**SHAPE, "img_size": (8, 32)})  # 2 x 8 patches
    report = vitlib.load_weights(model, state())  # 16 rows, a table of 4 x 4 or of 2 x 8
    np.testing.assert_array_equal(model.pos_embed.numpy(), state()["pos_embed"])
    assert any("2 x 8" in sentence for sentence in report.assumed)
    assert "pos_embed" not in report.resized


def test_where_resampling_is_permitted_and_two_grids_fit_the_caller_is_asked():
    model = vitlib.VisionTransformer(**{**SHAPE, "img_size": (8, 32)})
    refused(model, state(), "4 x 4", "2 x 8", "source_grid=(rows, columns)", allow="position")
    vitlib.load_weights(model, state(), allow="position", source_grid=(4, 4))
    assert np.abs(model.pos_embed.numpy() - state()["pos_embed"]).max() > 1e-3
    np.testing.assert_array_equal(model.pos_embed.numpy()[:, 0], state()["pos_embed"][:, 0])
    vitlib.load_weights(model, state(), allow="position", source_grid=(2, 8))
    np.testing.assert_array_equal(model.pos_embed.numpy(), state()["pos_embed"])
    with pytest.raises(vitlib.WeightsError, match="source_grid"):
        vitlib.from_pretrained(state(), num_heads=3, img_size=(8, 32))
    wide = vitlib.from_pretrained(state(), num_heads=3, source_grid=(2, 8))
    assert wide.config.img_size == (8, 32)
    np.testing.assert_array_equal(wide.pos_embed.numpy(), state()["pos_embed"])


@pytest.mark.parametrize("grid", [(3, 5), (0, 4), "4x4", (4,), (4.0, 4.0), 4])
def test_a_source_grid_that_cannot_be_is_refused(grid):
    model = vitlib.VisionTransformer(**SHAPE)
    with pytest.raises(ValueError, match=r"source_grid|3 x 5"):
        vitlib.load_weights(model, state(), source_grid=grid)


def test_a_table_that_is_not_square_comes_back_as_it_was(tmp_path):
    model = vitlib.VisionTransformer(**{**SHAPE, "img_size": (8, 32)})
    vitlib.save_weights(model, tmp_path / "wide.safetensors")
    again = vitlib.from_pretrained(tmp_path / "wide.safetensors", num_heads=3)
    assert again.config.img_size == (8, 32)
    np.testing.assert_array_equal(again.pos_embed.numpy(), model.pos_embed.numpy())


def test_patch_kernels_are_resized_by_pseudo_inverse():
    """FlexiViT's promise (arXiv 2212.08013, eq. 4): enlarged patches of an enlarged image give the same tokens."""
    rng = np.random.default_rng(0)
    kernel, image = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((3, 4, 4))
    from vitlib.layers import resize_matrix

    up = resize_matrix(4, 8, "timm").numpy()
    larger = resize_patches(kernel, (8, 8))
    np.testing.assert_allclose(
        (larger * (up @ image @ up.T)).sum((1, 2, 3)), (kernel * image).sum((1, 2, 3)), rtol=1e-9
    )
    model = vitlib.VisionTransformer(**{**SHAPE, "patch_size": 8, "img_size": 32})
    refused(model, state(), 'allow="patch"')
    assert "patch_embed.proj.weight" in vitlib.load_weights(model, state(), allow="patch").resized


def test_channels_are_summed_or_repeated_so_that_grey_images_give_the_same_tokens():
    kernel = np.random.default_rng(0).standard_normal((2, 3, 4, 4))
    grey = np.random.default_rng(1).standard_normal((4, 4))
    want = (kernel * grey).sum((1, 2, 3))
    for channels in (1, 3, 6):
        np.testing.assert_allclose((convert_channels(kernel, channels) * grey).sum((1, 2, 3)), want)
    assert convert_channels(kernel, 4).shape == (2, 4, 4, 4)
    model = vitlib.VisionTransformer(**SHAPE, in_chans=1)
    refused(model, state(), 'allow="channels"')
    assert "channels" in vitlib.load_weights(model, state(), allow=["channels"]).resized["patch_embed.proj.weight"]


@pytest.mark.parametrize("size", [(16, 16), (24, 12)])
def test_a_class_row_folds_into_the_token_and_the_model_computes_the_same(size):
    plain = vitlib.from_pretrained(state(), num_heads=3, img_size=size)
    folded = vitlib.VisionTransformer(**{**SHAPE, "img_size": size}, no_embed_class=True)
    refused(folded, state(), 'allow="class_row"')
    vitlib.load_weights(folded, state(), allow=("class_row", "position"))
    plain.eval()
    folded.eval()
    x = paddle.randn([2, 3, *size])
    assert float((plain(x) - folded(x)).abs().max()) < 1e-5
    back = vitlib.VisionTransformer(**SHAPE)
    unfolded = {**state(), "pos_embed": state()["pos_embed"][:, 1:]}
    vitlib.load_weights(back, unfolded, allow="class_row")
    assert np.abs(back.pos_embed.numpy()[:, 0]).max() == 0


def test_a_distilled_file_fits_a_plain_model_and_the_reverse_when_allowed():
    distilled = state("facebook_deit_distilled")
    plain = vitlib.VisionTransformer(**SHAPE)
    refused(plain, distilled, 'allow="distillation"')
    report = vitlib.load_weights(plain, distilled, allow="distillation")
    assert set(report.left_out) == {"dist_token", "head_dist.weight", "head_dist.bias"}
    np.testing.assert_array_equal(plain.pos_embed.numpy(), distilled["pos_embed"][:, [0, *range(2, 18)]])
    deit = vitlib.DeiT(**SHAPE)
    refused(deit, state(), 'allow="distillation"')
    report = vitlib.load_weights(deit, state(), allow="distillation")
    assert set(report.reset) == {"dist_token", "head_dist.weight", "head_dist.bias"}
    np.testing.assert_array_equal(deit.pos_embed.numpy()[:, [0, *range(2, 18)]], state()["pos_embed"])


def test_square_weights_in_the_wrong_layout_are_refused_by_the_others(tmp_path):
    from vitlib.checkpoint import write_pdparams

    write_pdparams(tmp_path / "torch_layout.pdparams", state())  # [out, in], where Paddle's files hold [in, out]
    refused(vitlib.VisionTransformer(**SHAPE), tmp_path / "torch_layout.pdparams", "transposed", "qkv.weight")


def test_heads_and_pooling_that_no_shape_shows_are_compared_where_the_source_tells_them(tmp_path):
    other_heads = {**SHAPE, "num_heads": 2}
    refused(
        vitlib.VisionTransformer(**other_heads), HERE / "google.npz", "num_heads is 3 in the source, 2 in the model"
    )
    refused(vitlib.VisionTransformer(**other_heads), HERE / "huggingface_vit", "num_heads is 3")
    vitlib.VisionTransformer(**SHAPE, global_pool="avg", fc_norm=False).save_pretrained(tmp_path)
    refused(vitlib.VisionTransformer(**SHAPE), tmp_path, "global_pool is 'avg' in the source, 'token' in the model")
    assert vitlib.from_pretrained(tmp_path, global_pool="token").config.global_pool == "token"


def test_unknown_names_dialects_and_allowances_are_refused_by_name():
    model = vitlib.VisionTransformer(**SHAPE)
    refused(model, {"conv1.weight": np.zeros(3, "float32")}, "conv1.weight", "timm")
    refused(model, state(), "torchvision", dialect="torchvision")
    with pytest.raises(ValueError, match="unknown dialect 'keras'"):
        vitlib.load_weights(model, state(), dialect="keras")
    with pytest.raises(ValueError, match="allow='heads'"):
        vitlib.load_weights(model, state(), allow="heads")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        vitlib.load_weights(model, "nowhere.pth")


def test_no_random_numbers_are_drawn_for_a_model_that_is_loaded():
    paddle.seed(7)
    expected = paddle.rand([1]).item()
    paddle.seed(7)
    vitlib.from_pretrained(state(), num_heads=3)
    assert paddle.rand([1]).item() == expected


def test_loaded_parameters_train():
    model = vitlib.from_pretrained(state(), num_heads=3)
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    before = values(model)
    model(paddle.randn([2, 3, 16, 16])).square().sum().backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.trainable
        assert np.abs(parameter.numpy() - before[name]).max() > 0, name


def test_subclasses_that_keep_the_parameters_take_published_weights(tmp_path):
    class Block(vitlib.EncoderBlock):
        pass

    class Net(vitlib.VisionTransformer):
        block_class = Block

    net = vitlib.from_pretrained(state(), num_heads=3, model_class=Net)
    assert type(net) is Net
    vitlib.save_weights(net, tmp_path / "net.safetensors")
    model = vitlib.create_model("vit_tiny_patch16_224", tmp_path / "net.safetensors", model_class=Net, **SHAPE)
    assert type(model) is Net
    np.testing.assert_array_equal(model.norm.weight.numpy(), state()["norm.weight"])


def test_the_report_is_a_short_table_with_everything_in_it():
    model = vitlib.from_pretrained(state(), num_heads=3, num_classes=2, in_chans=1)
    text = str(model.load_report)
    for word in ("source", "format", "dialect", "timm", "reset", "head.weight", "3 -> 1 channels", "inferred"):
        assert word in text
    assert len(text.splitlines()) < 15


SIDES = (0, 1, 3, 24)
DAMAGES = {
    "a tensor is missing": lambda d, k, rng: d.pop(k),
    "a shape is arbitrary": lambda d, k, rng: d.update({k: np.zeros(rng.choice(SIDES, rng.integers(0, 5)), "f4")}),
    "a name is twice": lambda d, k, rng: d.update({k + ".weight": d[k]}),
    "a block is renumbered": lambda d, k, rng: d.update({k.replace("0", "7", 1): d.pop(k)}),
    "numbers are whole": lambda d, k, rng: d.update({k: d[k].astype("int64")}),
    "numbers are NaN": lambda d, k, rng: d.update({k: d[k] * np.nan}),
    "axes are swapped": lambda d, k, rng: d.update({k: d[k].T}),
    "the end is cut off": lambda d, k, rng: d.update({k: d[k][..., :-1] if d[k].ndim else d[k]}),
    "a kind is another": lambda d, k, rng: d.update({k.replace("weight", "bias").replace("kernel", "bias"): d[k]}),
}
FILES = ("timm.safetensors", "huggingface_deit/model.safetensors", "google.npz", "torchvision.pth")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damaged_state_is_loaded_or_refused_by_a_weights_error_that_leaves_the_model_alone(name, damage):
    from vitlib.checkpoint import open_weights
    from vitlib.weights.match import ALLOWANCES

    with open_weights(HERE / name) as file:
        good = {key: np.array(file.read(key)) for key in file}
    rng = np.random.default_rng(len(damage))
    refusals = 0
    for _ in range(8):
        broken = dict(good)
        for _ in range(rng.integers(1, 4)):
            DAMAGES[damage](broken, str(rng.choice(list(broken))), rng)
        model = (vitlib.DeiT if "deit" in name else vitlib.VisionTransformer)(**SHAPE)
        before = values(model)
        try:  # any other exception fails the test
            vitlib.load_weights(model, broken)
        except vitlib.WeightsError:
            refusals += 1
            assert all(np.array_equal(before[key], array) for key, array in values(model).items())
        with contextlib.suppress(vitlib.WeightsError):
            vitlib.from_pretrained(broken, num_heads=3, allow=ALLOWANCES)
    assert refusals or damage == "numbers are whole"


def test_a_file_without_a_head_for_its_distillation_token_keeps_its_class_head():
    model = vitlib.DeiT(**SHAPE)
    refused(model, HERE / "huggingface_deit_one_head", "no head for its distillation token")
    report = vitlib.load_weights(model, HERE / "huggingface_deit_one_head", allow="distillation")
    assert set(report.reset) == {"head_dist.weight", "head_dist.bias"}
    np.testing.assert_array_equal(model.head.weight.numpy(), state("huggingface_deit_one_head")["head.weight"].T)


@pytest.mark.parametrize("size", [(12, 20), (16, 48)])  # grids of 3 x 5 and 4 x 12: with the class row, squares
def test_a_grid_that_is_a_square_together_with_the_class_row_is_no_square(size, tmp_path):
    model = vitlib.VisionTransformer(**{**SHAPE, "img_size": size})
    paddle.save(model.state_dict(), str(tmp_path / "own.pdparams"))
    twin = vitlib.VisionTransformer(**{**SHAPE, "img_size": size})
    vitlib.load_weights(twin, tmp_path / "own.pdparams")
    np.testing.assert_array_equal(twin.pos_embed.numpy(), model.pos_embed.numpy())
    with pytest.raises(vitlib.WeightsError, match="resize='squash' they can"):
        vitlib.save_weights(model, tmp_path / "hf", format="huggingface")
    model.preprocess = model.preprocess.replace(resize="squash")
    vitlib.save_weights(model, tmp_path / "hf", format="huggingface")
    again = vitlib.from_pretrained(tmp_path / "hf")
    assert again.config.img_size == size
    np.testing.assert_array_equal(again.pos_embed.numpy(), model.pos_embed.numpy())


def test_what_paddle_saves_of_a_model_comes_back_with_the_model_s_own_numerics(tmp_path):
    options = {"activation": "quick_gelu", "norm_eps": 1e-5}
    model = vitlib.VisionTransformer(**SHAPE, **options)
    paddle.save(model.state_dict(), str(tmp_path / "own.pdparams"))
    twin = vitlib.VisionTransformer(**SHAPE, **options)
    vitlib.load_weights(twin, tmp_path / "own.pdparams")
    assert twin.config == model.config
    assert "quick_gelu" in str(twin.load_report)


def test_float64_models_keep_every_bit_and_numbers_too_large_for_float32_are_refused(tmp_path):
    model = vitlib.VisionTransformer(**SHAPE)
    model.to(dtype="float64")
    for parameter in model.parameters():
        parameter.set_value(parameter + 1e-12)
    vitlib.save_weights(model, tmp_path / "double.safetensors")
    twin = vitlib.VisionTransformer(**SHAPE)
    twin.to(dtype="float64")
    vitlib.load_weights(twin, tmp_path / "double.safetensors")
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    huge = {name: array.astype("float64") * 1e300 for name, array in state().items()}
    refused(vitlib.VisionTransformer(**SHAPE), huge, "not finite")


def test_paddle_s_tensors_in_a_dict_have_paddle_s_layout_and_other_things_are_refused_by_name():
    source = vitlib.VisionTransformer(**SHAPE)
    model = vitlib.VisionTransformer(**SHAPE)
    vitlib.load_weights(model, source.state_dict())
    np.testing.assert_array_equal(model.blocks[0].attn.proj.weight.numpy(), source.blocks[0].attn.proj.weight.numpy())
    half = {name: tensor.astype("bfloat16") for name, tensor in source.state_dict().items()}
    model = vitlib.from_pretrained(half, num_heads=3)
    found, exact = model.blocks[0].mlp.fc1.weight.numpy(), source.blocks[0].mlp.fc1.weight.numpy()
    assert 0 < np.abs(found - exact).max() < 2**-8 * np.abs(exact).max()
    for bad in ({1: np.zeros(3)}, {"norm.weight": np.array(["a"])}, {"norm.weight": np.zeros(3, "complex64")}, {}):
        with pytest.raises(vitlib.WeightsError):
            vitlib.from_pretrained(bad)


@pytest.mark.parametrize("wrap", [lambda weights: weights, lambda weights: {"model": weights}])
@pytest.mark.parametrize("make", [np.asarray, paddle.to_tensor])
def test_complex_numbers_in_a_dict_are_refused_rather_than_cut_to_their_real_part(wrap, make):
    weights = {name: make(array) for name, array in state().items()}
    weights["norm.weight"] = make(state()["norm.weight"] + np.complex64(1j))
    text = refused(vitlib.VisionTransformer(**SHAPE), wrap(weights), "'norm.weight' of type", "complex64")
    assert "expected real numbers" in text


def test_labels_stay_when_a_file_says_nothing_of_them_and_go_with_the_head():
    model = vitlib.VisionTransformer(**SHAPE)
    model.labels = list("abcde")
    vitlib.load_weights(model, state())
    assert model.labels == list("abcde")
    model.reset_head(3)
    assert model.labels is None


def test_a_width_of_vit_b_without_class_token_has_two_possible_numbers_of_heads(tmp_path):
    model = vitlib.create_model("vit_base_patch16_gap_224")
    assert model.config.num_heads == 16
    vitlib.save_weights(model, tmp_path / "gap.safetensors")
    with vitlib.checkpoint.open_weights(tmp_path / "gap.safetensors") as file:
        foreign = {name: file.read(name) for name in file}  # without the note of the heads that vitlib's files have
    with pytest.raises(vitlib.WeightsError, match="num_heads"):
        vitlib.from_pretrained(foreign)
    vitlib.create_model("vit_base_patch16_gap_224", pretrained=foreign)
