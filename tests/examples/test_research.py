"""examples/research: subclasses that need no copy of a forward."""

import runpy

import numpy as np
import paddle
import pytest
from scripts import EXAMPLES, call
from shapes import draw_folder

import vitlib

OPTIONS = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def small():
    return runpy.run_path(str(EXAMPLES / "research" / "small_datasets.py"))


def test_patches_are_those_of_the_image_and_of_its_four_shifts(small):
    embed = small["ShiftedPatches"](8, 4, 1, 6)
    x = np.arange(64.0, dtype="float32").reshape(1, 1, 8, 8) ** 0.5
    moved = []
    for down, right in ((0, 0), (2, 2), (2, -2), (-2, 2), (-2, -2)):
        plane = np.zeros((8, 8), "float32")
        for i in range(8):
            for j in range(8):
                if 0 <= i - down < 8 and 0 <= j - right < 8:
                    plane[i, j] = x[0, 0, i - down, j - right]
        moved.append(plane)
    patches = np.stack([np.stack(moved)[:, r : r + 4, c : c + 4].ravel() for r in (0, 4) for c in (0, 4)])
    normed = (patches - patches.mean(1, keepdims=True)) / np.sqrt(patches.var(1, keepdims=True) + 1e-5)
    expected = normed @ embed.proj.weight.numpy().reshape(6, -1).T + embed.proj.bias.numpy()
    np.testing.assert_allclose(embed(paddle.to_tensor(x)).numpy()[0], expected, atol=1e-4)


def test_images_of_any_size_are_padded_where_that_was_asked_for(small):
    model = small["small_data_vit"](3, **OPTIONS, dynamic_img_size=True, dynamic_img_pad=True)
    assert list(model(paddle.randn([2, 3, 15, 18])).shape) == [2, 3]


def test_no_token_attends_to_itself_and_the_temperature_is_trained(small):
    model = small["small_data_vit"](3, **OPTIONS)
    images = paddle.randn([2, 3, 16, 16])
    model(images).sum().backward()
    attn = model.blocks[0].attn
    assert float(attn.temperature.grad.abs().sum()) > 0
    weights = vitlib.attention_maps(model, images, layers=[0])[0].numpy()
    assert np.abs(np.diagonal(weights, axis1=2, axis2=3)).max() < 1e-6
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


def test_at_its_first_temperature_it_is_attention_with_a_mask(small):
    paddle.seed(2)
    ours, plain = small["LocalityAttention"](16, 2), vitlib.MultiHeadAttention(16, 2)
    plain.set_state_dict(ours.state_dict())
    x = paddle.randn([2, 5, 16])
    others = paddle.to_tensor(~np.eye(5, dtype=bool))
    np.testing.assert_allclose(ours(x).numpy(), plain(x, mask=others).numpy(), atol=1e-5)


def test_the_training_script_takes_it_by_file_and_name(tmp_path):
    folder = draw_folder(tmp_path / "shapes", train=4, validation=2)
    error, written = call(
        "train_deit.py",
        folder,
        *("--model", "research/small_datasets.py:small_data_vit", "--output", tmp_path / "run", "--batch-size", 6),
        *("--epochs", 1, "--warmup-epochs", 0, "--set", *(f"{name}={value}" for name, value in OPTIONS.items())),
    )
    assert error is None, written
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
