"""Checks that every process of several makes; test_processes.py starts it in two. FOLDER is for their files.

python -m paddle.distributed.launch --nproc_per_node 2 tests/training/in_processes.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from PIL import Image

import vitlib
from vitlib.images import ImageFolder, Mixup, load_batches
from vitlib.training import (
    DistillationLoss,
    EpochSampler,
    Run,
    TrainingStep,
    average_batch_norm,
    evaluate,
)

BATCH = 4  # of a process


def deit() -> vitlib.DeiT:
    paddle.seed(0)
    model = vitlib.DeiT(img_size=16, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=3)
    model.train()
    return model


def sgd(model: nn.Layer) -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1, parameters=model.parameters())


def accumulated_gradients_are_those_of_all_batches_together(rank: int, size: int, folder: Path) -> None:
    """With the second head unused and used."""
    rng = np.random.default_rng(0)
    images = paddle.to_tensor(rng.standard_normal((2, size * BATCH, 3, 16, 16)).astype("float32"))
    labels, teacher = (
        paddle.arange(2 * size * BATCH).reshape([2, -1]) % 3,
        paddle.to_tensor(rng.random((2, size * BATCH, 3))),
    )
    for kind in ("none", "soft"):
        one, many = deit(), deit()
        loss = DistillationLoss(kind)
        alone = TrainingStep(one, loss, sgd(one), clip_norm=1.0)
        parallel = paddle.DataParallel(many)
        step = TrainingStep(parallel, loss, sgd(many), accumulate=2, clip_norm=1.0)
        for _ in range(3):
            alone(*(part.reshape([-1, *part.shape[2:]]) for part in (images, labels, teacher)))
            for part in range(2):
                step(*(values[part, rank::size] for values in (images, labels, teacher)))
            assert step.grad_norm == pytest.approx(alone.grad_norm, rel=1e-5)
        for name, value in one.state_dict().items():
            assert float((value - many.state_dict()[name]).abs().max()) < 1e-6, (kind, name)


def recomputing_changes_no_gradient(rank: int, size: int, folder: Path) -> None:
    rng = np.random.default_rng(rank)
    images, found = paddle.to_tensor(rng.standard_normal((BATCH, 3, 16, 16)).astype("float32")), []
    for recomputes in (False, True):
        model = deit()
        if recomputes:
            model.set_recompute()
        step = TrainingStep(paddle.DataParallel(model), DistillationLoss("none"), sgd(model), accumulate=2)
        for _ in range(4):
            step(images, paddle.arange(BATCH) % 3)
        found.append({name: value.numpy() for name, value in model.state_dict().items()})
    for name, value in found[0].items():
        assert np.abs(value - found[1][name]).max() < 1e-6, name


def all_processes_stop_at_a_loss_of_one_that_is_not_finite(rank: int, size: int, folder: Path) -> None:
    """Also when it is in an earlier batch of the accumulation, which is not exchanged."""
    model = deit()
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    step = TrainingStep(paddle.DataParallel(model), DistillationLoss("soft"), sgd(model), accumulate=2)
    images, labels, teacher = paddle.ones([BATCH, 3, 16, 16]), paddle.arange(BATCH) % 3, paddle.ones([BATCH, 3])
    step(images * (float("nan") if rank == size - 1 else 1.0), labels, teacher)
    with pytest.raises(FloatingPointError, match="step 1"):
        step(images, labels, teacher)
    for name, value in model.state_dict().items():
        assert (value.numpy() == before[name]).all(), name
    step(images, labels, teacher)
    step(images, labels, teacher)
    assert step.num_steps == 1


def evaluation_is_that_of_one_process(rank: int, size: int, folder: Path) -> None:
    """For every remainder, and where a process has no part at all."""
    for count in (1, 8, 9, 15):
        images = paddle.randn([count, 3, 16, 16], "float32") if rank == 0 else paddle.zeros([count, 3, 16, 16])
        paddle.distributed.all_reduce(images)
        labels, model = paddle.arange(count) % 3, deit()

        def batches(sampler, images=images, labels=labels):
            for keys in sampler:
                indices = paddle.to_tensor([index for index, _ in keys])
                yield images[indices], labels[indices], indices, []

        share = EpochSampler(count, BATCH, shuffle=False, drop_last=False, rank=rank, world_size=size)
        found = evaluate(paddle.DataParallel(model), batches(share), count)
        assert model.training
        model.eval()
        expected = (model(images).argmax(-1), paddle.nn.functional.cross_entropy(model(images), labels))
        assert (found.labels == labels.numpy()).all()
        assert (found.predictions["model"] == expected[0].numpy()).all()
        assert found.loss == pytest.approx(float(expected[1]), rel=1e-5)


def statistics_of_batch_norm_become_the_mean_of_all(rank: int, size: int, folder: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1D(2))
    parallel = paddle.DataParallel(model)
    model[1]._mean.set_value(np.array([rank, 1.0], "float32"))
    model[1]._variance.set_value(np.array([3.0, 2 * rank], "float32"))
    average_batch_norm(parallel)
    assert model[1]._mean.numpy().tolist() == [(size - 1) / 2, 1.0]
    assert model[1]._variance.numpy().tolist() == [3.0, size - 1]


def mixing_pairs_what_one_process_pairs(rank: int, size: int, folder: Path) -> None:
    mixup = Mixup(3)
    images = np.random.default_rng(0).random((64, 3, 8, 8)).astype(np.float32)
    whole = next(iter(EpochSampler(64, BATCH * size)))
    own = next(iter(EpochSampler(64, BATCH, rank=rank, world_size=size)))
    for seed in range(5):
        mixed = []
        for keys in (whole, own):
            indices = np.array([index for index, _ in keys])
            mixed.append(mixup(images[indices], indices % 3, np.random.default_rng(seed)))
        place = [whole.index(key) for key in own]
        assert all((ours == theirs[place]).all() for theirs, ours in zip(*mixed, strict=True))


def unreadable_images_of_one_process_are_counted_by_all(rank: int, size: int, folder: Path) -> None:
    order = EpochSampler(24, BATCH, rank=0, world_size=size)
    broken = [index for batch in order for index, _ in batch[:2]]  # half of each batch of the first process
    if rank == 0:
        for number in range(24):
            path = folder / "images" / "abc"[number % 3] / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
        for path, _ in [ImageFolder(folder / "images").samples[index] for index in broken]:
            Path(path).write_bytes(b"nothing")
    paddle.distributed.barrier()
    model = deit()
    step = TrainingStep(paddle.DataParallel(model), DistillationLoss("none"), sgd(model))
    sampler = EpochSampler(24, BATCH, rank=rank, world_size=size)
    run = Run(folder / "run", {}, ["a", "b", "c"])
    run.start(step, sampler, epochs=1)
    dataset = ImageFolder(folder / "images", preprocess=model.preprocess)
    for images, labels, _, _ in run.batches(load_batches(dataset, sampler)):
        run.log.step(step(images, labels), 0, len(labels))
    run.end_epoch(dict)
    assert run.log.rows[0]["unreadable"] == len(broken)
    assert step.num_steps == len(sampler)
    paddle.distributed.barrier()  # the first has saved


def processes_that_see_other_checkpoints_do_not_go_on(rank: int, size: int, folder: Path) -> None:
    model = deit()
    for other in (False, True):
        step = TrainingStep(model, DistillationLoss("none"), sgd(model))
        sampler = EpochSampler(24, BATCH, rank=rank, world_size=size)
        run = Run(folder / ("elsewhere" if other and rank else "run"), {}, ["a", "b", "c"])
        if other:
            with pytest.raises(ValueError, match="different steps"):
                run.start(step, sampler, epochs=2)
        else:
            run.start(step, sampler, epochs=2)
            assert step.num_steps == len(sampler)


def main() -> None:
    paddle.distributed.init_parallel_env()
    rank, size = paddle.distributed.get_rank(), paddle.distributed.get_world_size()
    for check in (
        accumulated_gradients_are_those_of_all_batches_together,
        recomputing_changes_no_gradient,
        all_processes_stop_at_a_loss_of_one_that_is_not_finite,
        evaluation_is_that_of_one_process,
        statistics_of_batch_norm_become_the_mean_of_all,
        mixing_pairs_what_one_process_pairs,
        unreadable_images_of_one_process_are_counted_by_all,
        processes_that_see_other_checkpoints_do_not_go_on,
    ):
        check(rank, size, Path(sys.argv[1]))
        print(check.__name__, flush=True)
    print("every check passed", flush=True)


if __name__ == "__main__":
    main()
