"""The parts of training together: a small model learns scanned digits, as the quickstart does in a minute."""

import numpy as np
import paddle
from sklearn.datasets import load_digits

import vitlib
from vitlib.training import (
    EpochSampler,
    ExponentialMovingAverage,
    SoftTargetCrossEntropy,
    TrainingStep,
    evaluate,
    param_groups,
    warmup_cosine,
)


def test_a_small_model_learns_to_tell_digits():
    """400 digits of the same source that training never sees; seeds 0 to 2 reach 96 to 97 %, and chance is 10 %."""
    seed, epochs = 0, 8
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images, labels = (digits.images[:, None] / 8 - 1).astype("float32")[order], digits.target[order]
    paddle.seed(seed)
    model = vitlib.VisionTransformer(
        img_size=8, patch_size=4, in_chans=1, num_classes=10, embed_dim=48, depth=2, num_heads=2, weight_init="jax"
    )
    model.pos_embed.set_value(0.5 * paddle.randn(model.pos_embed.shape))  # so little data teaches positions slowly
    sampler = EpochSampler(len(labels) - 400, 128, seed=seed)
    schedule = warmup_cosine(4e-3, total_steps=epochs * len(sampler), warmup_steps=len(sampler))
    step = TrainingStep(
        model,
        SoftTargetCrossEntropy(0.1),
        paddle.optimizer.AdamW(schedule, parameters=param_groups(model, 0.05)),
        clip_norm=1.0,
        schedule=schedule,
        ema=ExponentialMovingAverage(model, 0.98, warmup=True),
    )
    model.train()
    while sampler.epoch < epochs:
        for keys in sampler:
            batch = [400 + index for index, _ in keys]
            step(paddle.to_tensor(images[batch]), paddle.to_tensor(labels[batch]))
            sampler.advance()
    unseen = [(paddle.to_tensor(images[:400]), paddle.to_tensor(labels[:400]), paddle.arange(400), [])]
    assert evaluate(model, unseen, 400).accuracy > 90
    step.ema.apply_to(model)
    assert evaluate(model, unseen, 400).accuracy > 90
