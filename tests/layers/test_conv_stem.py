"""ConvStem is a stack of convolutions, batch norms and ReLUs, and every part of the library knows it."""

import numpy as np
import paddle
import pytest
from conftest import difference, refused

import vitlib
from vitlib.layers import ConvStem, PatchEmbed

STEM = {"img_size": 16, "patch_size": 4, "in_chans": 3, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
STEM |= {"conv_stem": (6, 8)}


@pytest.fixture
def trained():
    """trained(**options): a model whose running statistics are not their initial values, in evaluation."""

    def build(model_class=vitlib.VisionTransformer, **options):
        paddle.seed(3)
        model = model_class(**{**STEM, **options})
        model.train()
        for _ in range(3):
            model(3 * paddle.randn([4, model.config.in_chans, 16, 16]) + 1)
        model.eval()
        return model

    return build


def convolved(x, weight, stride, padding):
    """[B, C, H, W], [D, C, k, k] -> [B, D, H', W'], term by term."""
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    kernel = weight.shape[2]
    rows, columns = ((side - kernel) // stride + 1 for side in x.shape[2:])
    out = np.empty((len(x), len(weight), rows, columns))
    for i in range(rows):
        for j in range(columns):
            part = x[:, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            out[:, :, i, j] = np.einsum("bcij,dcij->bd", part, weight)
    return out


def test_tokens_are_convolutions_batch_norms_and_relus_by_hand(images):
    paddle.seed(1)
    stem = ConvStem(16, 4, 3, 10, conv_stem=(6, 8))
    stem.train()
    stem(2 * images(16, 16) + 1)
    stem.eval()
    x = images(16, 16).numpy().astype("float64")
    for layer in stem.stem:
        weight, bias, mean, variance = (
            p.numpy().astype("float64").reshape(1, -1, 1, 1)
            for p in (layer.norm.weight, layer.norm.bias, layer.norm._mean, layer.norm._variance)
        )
        assert abs(mean).max() > 0
        x = convolved(x, layer.conv.weight.numpy().astype("float64"), stride=2, padding=1)
        x = np.maximum(0, (x - mean) / np.sqrt(variance + 1e-5) * weight + bias)
    x = convolved(x, stem.proj.weight.numpy().astype("float64"), 1, 0) + stem.proj.bias.numpy().reshape(1, -1, 1, 1)
    np.testing.assert_allclose(stem(images(16, 16)).numpy(), x.reshape(2, 10, 16).transpose(0, 2, 1), atol=1e-5)


def test_in_training_channels_are_normalised_over_the_batch(images):
    layer = ConvStem(16, 4, 3, 10, conv_stem=(6, 8)).stem[0]
    layer.train()
    y = layer.norm(layer.conv(images(16, 16))).numpy()
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, atol=1e-3)


@pytest.mark.parametrize("model_class", [vitlib.VisionTransformer, vitlib.DeiT])
def test_a_saved_model_is_opened_with_its_running_statistics(trained, model_class, images, tmp_path):
    model = trained(model_class)
    model.save_pretrained(tmp_path)
    for opened in (
        vitlib.from_pretrained(tmp_path),
        vitlib.from_pretrained(tmp_path / "model.safetensors", num_heads=2),  # without its config
    ):
        opened.eval()
        assert opened.config.conv_stem == (6, 8)
        assert difference(opened(images(16, 16)), model(images(16, 16))) == 0


def test_a_preset_takes_the_option():
    config = vitlib.get_config("deit_tiny_patch16_224").replace(conv_stem=(24, 48, 96, 192))
    assert vitlib.ViTConfig.from_dict(config.to_dict()) == config
    with paddle.LazyGuard():
        model = vitlib.create_model("deit_tiny_patch16_224", conv_stem=(24, 48, 96, 192))
    assert isinstance(model.patch_embed, ConvStem)
    assert isinstance(vitlib.VisionTransformer(**{**STEM, "conv_stem": ()}).patch_embed, PatchEmbed)


def test_weights_of_plain_patches_are_refused(trained, tmp_path):
    vitlib.VisionTransformer(**{**STEM, "conv_stem": ()}).save_pretrained(tmp_path)
    with refused(vitlib.WeightsError, "missing in the file: ", "patch_embed.stem.0.conv.weight"):
        vitlib.load_weights(trained(), tmp_path)


def test_grey_images_are_summed_into_the_first_convolution(trained, images, tmp_path):
    model = trained()
    model.save_pretrained(tmp_path)
    grey = vitlib.from_pretrained(tmp_path, in_chans=1)
    grey.eval()
    x = images(16, 16, channels=1)
    assert difference(grey(x), model(x.expand([-1, 3, -1, -1]))) < 1e-5


def test_images_of_another_size_make_another_grid(trained, images):
    model = trained(dynamic_img_size=True)
    assert list(model.forward_features(images(24, 8)).shape) == [2, 1 + 6 * 2, 16]
    model.set_image_size((8, 20))
    assert model.patch_embed.grid_size == (2, 5)
    assert list(model(images(8, 20)).shape) == [2, 5]


def test_multiply_accumulates_are_those_of_every_output_pixel():
    plain, stem = (vitlib.count(vitlib.VisionTransformer(**{**STEM, "conv_stem": widths})) for widths in ((), (6, 8)))
    outputs = 8 * 8 * 6 * (3 * 9) + 4 * 4 * 8 * (6 * 9) + 4 * 4 * 16 * 8
    assert stem.macs - plain.macs == outputs - 4 * 4 * 16 * (3 * 16)


def test_running_statistics_do_not_train(trained):
    model = trained()
    statistics = [name for name, p in model.named_parameters() if p.stop_gradient]
    assert statistics == [f"patch_embed.stem.{i}.norm.{name}" for i in (0, 1) for name in ("_mean", "_variance")]
    model.freeze()
    model.unfreeze()
    assert [name for name, p in model.named_parameters() if p.stop_gradient] == statistics


@pytest.mark.parametrize("blocks", [None, 1])
def test_a_frozen_stem_stays_as_it_is_and_computes_as_in_evaluation(trained, blocks):
    model, x = trained(), paddle.randn([4, 3, 16, 16])
    before, tokens = {name: value.numpy() for name, value in model.state_dict().items()}, model.patch_embed(x).numpy()
    model.freeze(blocks)
    model.train()
    assert difference(model.patch_embed(x), tokens) < 1e-6
    model(x).sum().backward()
    assert all((value.numpy() == before[name]).all() for name, value in model.state_dict().items())
    model.unfreeze()
    model(x)
    assert any((value.numpy() != before[name]).any() for name, value in model.state_dict().items())


def test_running_statistics_are_not_counted_as_parameters(trained):
    model = trained()
    trainable = sum(parameter.size for parameter in model.parameters() if parameter.trainable)
    assert vitlib.count(model).parameters == trainable < sum(parameter.size for parameter in model.parameters())


def test_every_parameter_can_be_drawn_again(trained):
    model = trained()
    names = [name for name, _ in model.named_parameters() if name.startswith("patch_embed")]
    model.reinitialise(names)
    stem = model.patch_embed.stem[1]
    assert (stem.norm._mean.numpy() == 0).all()
    assert (stem.norm._variance.numpy() == 1).all()
    assert stem.conv.weight.numpy().std() == pytest.approx((2 / (9 * 6)) ** 0.5, rel=0.2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"conv_stem": (6, 8, 10)}, "3 convolutions of stride 2 make patches of 8 x 8, found patch_size=(4, 4)"),
        ({"conv_stem": (6, 0)}, "conv_stem=(6, 0): expected the channels of each convolution, positive ints"),
        ({"patch_size": (4, 2)}, "found patch_size=(4, 2)"),
    ],
)
def test_stems_that_do_not_make_the_patch_are_refused(options, words):
    with refused(ValueError, words):
        vitlib.ViTConfig(**{**STEM, **options})


def test_another_patch_embedding_takes_no_stem():
    class Other(PatchEmbed):
        pass

    class Net(vitlib.VisionTransformer):
        patch_embed_class = Other

    with refused(TypeError, "Other as patch_embed_class takes no conv_stem: derive it from vitlib.layers.ConvStem"):
        Net(**STEM)
