"""Whole training steps equal timm's models, losses and groups under PyTorch's AdamW.

references/step_*.npz are written by make_references.py, in float64.
"""

import json
import math
import pathlib

import numpy as np
import paddle
import pytest

import vitlib
from vitlib.training import DistillationLoss, SoftTargetCrossEntropy, TrainingStep, param_groups

REFERENCES = pathlib.Path(__file__).parent / "references"


def build(arrays, cls):
    model = cls(**json.loads(str(arrays["config"])))
    transposed = {f"{name}.weight" for name, layer in model.named_sublayers() if isinstance(layer, paddle.nn.Linear)}

    def ours(key):
        """An array of the file in Paddle's layout: linear weights are [in, out], PyTorch's [out, in]."""
        array = arrays[key]
        return array.T if key.rpartition(":")[2] in transposed else array

    for name, parameter in model.named_parameters():
        parameter.set_value(ours(f"param:0:{name}"))
    model.train()
    return model, ours


def check_steps(arrays, model, ours, groups, loss, targets):
    images = paddle.to_tensor(arrays["images"])
    clip_norm = float(arrays["clip_norm"]) if "clip_norm" in arrays.files else None
    loss(model(images), *targets).backward()
    for name, parameter in model.named_parameters():
        assert np.abs(parameter.grad.numpy() - ours(f"grad:{name}")).max() < 1e-5, name
    optimizer = paddle.optimizer.AdamW(float(arrays["learning_rate"]), parameters=groups)
    optimizer.clear_grad()
    step = TrainingStep(model, loss, optimizer, clip_norm=clip_norm)
    for index in (1, 2, 3):
        assert abs(step(images, *targets) - float(arrays[f"loss:{index}"])) < 1e-5
        if clip_norm:
            assert step.grad_norm == pytest.approx(float(arrays[f"norm:{index}"]), rel=1e-5)
            assert step.grad_norm > clip_norm, "gradients are clipped"
        if index in (1, 3):
            for name, parameter in model.named_parameters():
                difference = np.abs(parameter.numpy() - ours(f"param:{index}:{name}"))
                if name.endswith("qkv.bias"):
                    # softmax does not see a shift of all keys: their bias has gradient 0, and Adam makes steps of the
                    # rounding error that is there instead
                    difference = np.delete(difference.reshape(3, -1), 1, axis=0)
                assert difference.max() < 1e-5, (index, name)


def test_three_steps_of_hard_distillation_with_clipping_equal_timm():
    arrays = np.load(REFERENCES / "step_distilled.npz")
    model, ours = build(arrays, vitlib.DeiT)
    targets = paddle.to_tensor(arrays["labels"]), paddle.to_tensor(arrays["teacher_logits"])
    groups = param_groups(model, float(arrays["weight_decay"]))
    check_steps(arrays, model, ours, groups, DistillationLoss(label_smoothing=0.1), targets)


def test_three_steps_on_soft_targets_with_layer_decay_equal_timm():
    arrays = np.load(REFERENCES / "step_mixup_layer_decay.npz")
    model, ours = build(arrays, vitlib.VisionTransformer)
    groups = param_groups(model, float(arrays["weight_decay"]), layer_decay=float(arrays["layer_decay"]))
    check_steps(arrays, model, ours, groups, SoftTargetCrossEntropy(), [paddle.to_tensor(arrays["targets"])])


@pytest.mark.parametrize(
    ("name", "cls", "options"),
    [
        ("plain", vitlib.VisionTransformer, {}),
        ("distilled", vitlib.DeiT, {}),
        (
            "average",
            vitlib.VisionTransformer,
            {"global_pool": "avg", "reg_tokens": 2, "pre_norm": True, "patch_bias": False},
        ),
    ],
)
@pytest.mark.parametrize("parallel", [False, True])
def test_layer_wise_rates_and_decay_equal_timm_parameter_by_parameter(name, cls, options, parallel):
    table = json.loads(str(np.load(REFERENCES / "layer_scales.npz")[name]))
    model = cls(img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=5, **options)
    names = {id(p): key for key, p in model.named_parameters()}
    groups = param_groups(paddle.DataParallel(model) if parallel else model, 0.05, layer_decay=0.75)
    found = {names[id(p)]: [group["learning_rate"], group["weight_decay"]] for group in groups for p in group["params"]}
    assert set(found) == set(table)
    for key, (rate, decay) in table.items():
        assert math.isclose(found[key][0], rate), key
        assert found[key][1] == decay, key
