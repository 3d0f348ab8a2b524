"""vitlib computes what timm, Hugging Face transformers and torchvision compute: outputs and gradients.

The references are written by make_references.py from the original libraries, in float64.
"""

import json
import pathlib

import numpy as np
import paddle
import pytest

import vitlib

REFERENCES = sorted((pathlib.Path(__file__).parent / "references").glob("*.npz"))
MODELS = [path for path in REFERENCES if path.stem != "position_tables"]


def linear_layers(model):
    return {f"{name}.weight" for name, layer in model.named_sublayers() if isinstance(layer, paddle.nn.Linear)}


def build(arrays, **changes):
    """A model with the reference's weights; PyTorch's linear weights are [out, in], Paddle's [in, out]."""
    config = vitlib.ViTConfig.from_dict(json.loads(str(arrays["config"]))).replace(**changes)
    model = (vitlib.DeiT if config.distillation_token else vitlib.VisionTransformer)(config)
    names = {key.removeprefix("weight:") for key in arrays.files if key.startswith("weight:")}
    assert names == set(model.state_dict())
    transposed = linear_layers(model)
    for name, parameter in model.named_parameters():
        array = arrays[f"weight:{name}"]
        parameter.set_value(array.T if name in transposed else array)
    model.eval()
    return model


def outputs(model, x):
    if isinstance(model, vitlib.DeiT):
        return list(model(x, return_heads=True))
    return [model(x)]


def expected_logits(arrays):
    return [arrays[name] for name in ("logits", "distillation_logits") if name in arrays.files]


def relative(found, expected):
    return np.abs(found.numpy() - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
def test_outputs_and_gradients_equal_the_original(path, fused):
    arrays = np.load(path)
    model = build(arrays, fused_attn=fused)
    x = paddle.to_tensor(arrays["x"])
    if "tokens" in arrays.files:
        assert relative(model.forward_features(x), arrays["tokens"]) < 1e-5
    heads = outputs(model, x)
    for found, expected in zip(heads, expected_logits(arrays), strict=True):
        assert relative(found, expected) < 1e-5

    sum((head * paddle.to_tensor(arrays["c"])).sum() for head in heads).backward()
    largest = max(np.abs(arrays[key]).max() for key in arrays.files if key.startswith("grad:"))
    transposed = linear_layers(model)
    for name, parameter in model.named_parameters():
        expected = arrays[f"grad:{name}"]
        found = parameter.grad.numpy()
        found = found.T if name in transposed else found
        assert np.abs(found - expected).max() < 1e-5 * largest, name


@pytest.mark.parametrize(
    "change",
    [{"norm_eps": 1e-5}, {"activation": "gelu_tanh"}, {"norm_eps": 1e-7}],
    ids=["larger epsilon", "another GELU", "smaller epsilon"],
)
def test_the_references_tell_a_wrong_epsilon_and_activation(change):
    arrays = np.load(REFERENCES[0].parent / "timm_class_token.npz")
    model = build(arrays, **change)
    assert relative(model(paddle.to_tensor(arrays["x"])), arrays["logits"]) > 3e-5


def test_the_references_tell_hugging_faces_epsilon():
    arrays = np.load(REFERENCES[0].parent / "huggingface_vit.npz")
    assert json.loads(str(arrays["config"]))["norm_eps"] == 1e-12
    model = build(arrays, norm_eps=1e-6)
    assert relative(model(paddle.to_tensor(arrays["x"])), arrays["logits"]) > 3e-5


def test_the_distilled_reference_tells_the_token_order():
    arrays = np.load(REFERENCES[0].parent / "timm_distilled.npz")
    model = build(arrays)
    cls, dist = model.cls_token.numpy(), model.dist_token.numpy()
    model.cls_token.set_value(dist)
    model.dist_token.set_value(cls)
    assert relative(outputs(model, paddle.to_tensor(arrays["x"]))[0], arrays["logits"]) > 1e-3
