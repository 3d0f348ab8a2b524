"""Writes references/*.npz: losses and whole training steps of timm and PyTorch, computed in float64.

Runs in an environment of its own (Python 3.11: `pip install torch timm`), never in the tests.

losses.npz: logits, distillation logits, teacher logits, labels and soft targets, then for every loss `loss:NAME`,
`grad:NAME` (with respect to the logits) and, for distillation, `grad_dist:NAME` (the distillation logits).

Each step_*.npz: `config` (JSON: vitlib's options), what was trained with, `param:0:NAME` (under timm's names in
PyTorch's layout), `grad:NAME` of the first step, `loss:1`, `loss:2`, `loss:3`, and `param:1:NAME`, `param:3:NAME`.
"""

import json
import pathlib
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_layer_decay, param_groups_weight_decay

OUT = pathlib.Path(__file__).parent / "references"
SHAPE = {"img_size": 16, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2, "num_classes": 5}
BATCH = 4


def original_distillation_loss(base, kind, alpha, tau, outputs, labels, teacher_outputs):
    """The algorithm of DistillationLoss.forward in losses.py of facebookresearch/deit (2021)."""
    outputs, outputs_kd = outputs
    base_loss = base(outputs, labels)
    if kind == "none":
        return base_loss
    if kind == "soft":
        distillation = F.kl_div(
            F.log_softmax(outputs_kd / tau, dim=1),
            F.log_softmax(teacher_outputs / tau, dim=1),
            reduction="sum",
            log_target=True,
        )
        distillation = distillation * (tau * tau) / outputs_kd.numel()
    else:
        distillation = F.cross_entropy(outputs_kd, teacher_outputs.argmax(dim=1))
    return base_loss * (1 - alpha) + distillation * alpha


def save(name, arrays):
    OUT.mkdir(exist_ok=True)
    np.savez_compressed(OUT / f"{name}.npz", **arrays)
    print(name, round((OUT / f"{name}.npz").stat().st_size / 1024), "KiB")


def losses():
    rng = np.random.default_rng(0)
    arrays = {
        "logits": 3 * rng.standard_normal((6, 5)),
        "distillation_logits": 3 * rng.standard_normal((6, 5)),
        "teacher_logits": 3 * rng.standard_normal((6, 5)),
        "labels": rng.integers(0, 5, 6),
        # as of Mixup: most targets are zero, two are not
        "soft": 0.3 * np.eye(5)[rng.integers(0, 5, 6)] + 0.7 * np.eye(5)[rng.integers(0, 5, 6)],
    }
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    labels, soft, teacher = tensors["labels"], tensors["soft"], tensors["teacher_logits"]

    def keep(name, loss):
        heads = [tensors[head].clone().requires_grad_() for head in ("logits", "distillation_logits")]
        value = loss(*heads)
        value.backward()
        arrays[f"loss:{name}"] = value.detach().numpy()
        for key, head in zip(("grad", "grad_dist"), heads, strict=True):
            if head.grad is not None:
                arrays[f"{key}:{name}"] = head.grad.numpy()

    keep("soft_target", lambda x, _: SoftTargetCrossEntropy()(x, soft))
    keep("label_smoothing", lambda x, _: LabelSmoothingCrossEntropy(0.1)(x, labels))
    keep("soft_and_smoothing", lambda x, _: F.cross_entropy(x, soft, label_smoothing=0.1))
    keep("bce", lambda x, _: BinaryCrossEntropy(0.1)(x, labels))
    keep("bce_sum", lambda x, _: BinaryCrossEntropy(0.1, sum_classes=True)(x, labels))
    keep("bce_soft", lambda x, _: BinaryCrossEntropy(0.1)(x, soft))
    keep("bce_threshold", lambda x, _: BinaryCrossEntropy(0.1, target_threshold=0.0)(x, soft))
    for kind, alpha, tau in (("none", 0.5, 3.0), ("hard", 0.5, 3.0), ("hard", 0.2, 1.0), ("soft", 0.1, 3.0)):
        for targets in ("labels", "soft"):
            base = LabelSmoothingCrossEntropy(0.1) if targets == "labels" else SoftTargetCrossEntropy()
            keep(
                f"{kind}_{alpha}_{tau}_{targets}",
                lambda x, y, base=base, kind=kind, alpha=alpha, tau=tau, targets=targets: original_distillation_loss(
                    base, kind, alpha, tau, (x, y), tensors[targets], teacher
                ),
            )
    save("losses", arrays)


def train(name, model, groups, loss, arrays, *, learning_rate, clip_norm=None, **config):
    """Three steps of AdamW on one batch; groups may carry timm's lr_scale."""
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)
    arrays |= {"config": json.dumps({**SHAPE, **config}), "learning_rate": learning_rate}

    def keep(step):
        for key, p in model.named_parameters():
            arrays[f"param:{step}:{key}"] = p.detach().numpy().astype("float32")

    keep(0)
    for step in (1, 2, 3):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        arrays[f"loss:{step}"] = value.detach().numpy()
        if step == 1:
            for key, p in model.named_parameters():
                arrays[f"grad:{key}"] = p.grad.numpy().astype("float32")
        if clip_norm is not None:
            arrays[f"norm:{step}"] = torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm).numpy()
        optimizer.step()
        if step in (1, 3):
            keep(step)
    save(name, arrays)


def prepared(cls):
    """timm's model with random parameters of a size at which every one has a gradient to show."""
    torch.manual_seed(0)
    model = cls(**SHAPE, mlp_ratio=2.0, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6)).double().train()
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, dtype=torch.float64)
        p.data = noise * 0.2 + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        p.data = p.data.float().double()  # what the file stores is exactly what was computed with
    return model


def batch(rng):
    return rng.standard_normal((BATCH, 3, 16, 16)).astype("float32")


def distilled_step():
    rng = np.random.default_rng(1)
    model = prepared(VisionTransformerDistilled)
    model.set_distilled_training(True)
    arrays = {
        "images": batch(rng),
        "labels": rng.integers(0, 5, BATCH),
        "teacher_logits": 2 * rng.standard_normal((BATCH, 5)).astype("float32"),
        "weight_decay": 0.05,
        "clip_norm": 1.0,
    }
    images, labels, teacher = (
        torch.tensor(arrays["images"]).double(),
        torch.tensor(arrays["labels"]),
        torch.tensor(arrays["teacher_logits"]).double(),
    )

    def loss():
        base = LabelSmoothingCrossEntropy(0.1)
        return original_distillation_loss(base, "hard", 0.5, 1.0, model(images), labels, teacher)

    groups = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    train("step_distilled", model, groups, loss, arrays, learning_rate=1e-3, clip_norm=1.0, mlp_ratio=2.0)


def mixup_step():
    rng = np.random.default_rng(2)
    model = prepared(VisionTransformer)
    targets = 0.3 * np.eye(5)[rng.integers(0, 5, BATCH)] + 0.7 * np.eye(5)[rng.integers(0, 5, BATCH)]
    groups = param_groups_layer_decay(model, 0.1, model.no_weight_decay(), layer_decay=0.65)
    names = {id(p): name for name, p in model.named_parameters()}
    scales = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    arrays = {
        "images": batch(rng),
        "targets": targets.astype("float32"),
        "weight_decay": 0.1,
        "layer_decay": 0.65,
        "scales": json.dumps(scales),
    }
    images, soft = torch.tensor(arrays["images"]).double(), torch.tensor(arrays["targets"]).double()

    def loss():
        return SoftTargetCrossEntropy()(model(images), soft)

    train("step_mixup_layer_decay", model, groups, loss, arrays, learning_rate=1e-3, mlp_ratio=2.0)


def layer_scales():
    """timm's scale of every parameter, for models with every part that timm's matcher knows or does not."""
    arrays = {}
    for name, cls, options in (
        ("plain", VisionTransformer, {}),
        ("distilled", VisionTransformerDistilled, {}),
        ("average", VisionTransformer, {"global_pool": "avg", "reg_tokens": 2, "pre_norm": True}),
    ):
        model = cls(**SHAPE, **options)
        groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.75)
        names = {id(p): key for key, p in model.named_parameters()}
        table = {names[id(p)]: [g["lr_scale"], g["weight_decay"]] for g in groups for p in g["params"]}
        arrays[name] = json.dumps(table)
        print(name, {k: v for k, v in table.items() if "blocks" not in k or "norm1.weight" in k})
    save("layer_scales", arrays)


if __name__ == "__main__":
    losses()
    distilled_step()
    mixup_step()
    layer_scales()
