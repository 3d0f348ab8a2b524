"""The training step: what accumulation, clipping, groups and non-finite numbers do to the weights."""

import contextlib

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from conftest import refused

import vitlib
from vitlib.training import (
    DistillationLoss,
    ExponentialMovingAverage,
    Teacher,
    TrainingStep,
    param_groups,
    warmup_cosine,
)


def weights(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def sgd(model, rate=0.1, **options):
    return paddle.optimizer.SGD(rate, parameters=model.parameters(), **options)


@pytest.fixture
def model(tiny):
    model = tiny(vitlib.DeiT, depth=1)
    model.train()
    return model


@pytest.fixture
def data(images):
    paddle.seed(0)
    return images(batch=6), paddle.arange(6), 2 * paddle.randn([6, 7])


@pytest.mark.parametrize("parallel", [False, True])
def test_accumulated_batches_train_as_one_large_batch(tiny, data, parallel):
    trained = []
    for count in (1, 3):
        model = tiny(vitlib.DeiT, depth=1)
        model.train()
        step = TrainingStep(
            paddle.DataParallel(model) if parallel else model,
            DistillationLoss("soft"),
            sgd(model),
            accumulate=count,
            clip_norm=1.0,
        )
        before = weights(model)
        size = 6 // count
        for start in range(0, 6, size):
            assert all((value == before[name]).all() for name, value in weights(model).items())
            step(*(part[start : start + size] for part in data))
        assert step.num_steps == 1
        trained.append((weights(model), step.grad_norm))
    (first, norm), (second, other_norm) = trained
    assert norm == pytest.approx(other_norm, rel=1e-4)
    assert max(np.abs(first[name] - before[name]).max() for name in first) > 1e-3
    for name, value in first.items():
        assert np.abs(value - second[name]).max() < 1e-5, name


def test_processes_exchange_gradients_at_the_last_batch_alone(model, data):
    parallel, quiet = paddle.DataParallel(model), []

    @contextlib.contextmanager
    def no_sync():
        quiet.append(len(losses))
        yield

    parallel.no_sync, losses = no_sync, []
    step = TrainingStep(parallel, DistillationLoss(), sgd(model), accumulate=3)
    for _ in range(6):
        losses.append(step(*data))
    assert quiet == [0, 1, 3, 4]


def test_clipping_is_by_the_norm_of_all_groups_together(tiny, data):
    """With SGD the move is rate · gradient: clipped to 0.5, its length is 0.05."""
    model = tiny(vitlib.DeiT, depth=1)
    model.train()
    groups = [{"params": group["params"]} for group in param_groups(model, layer_decay=0.5)]
    before = weights(model)
    step = TrainingStep(model, DistillationLoss(), paddle.optimizer.SGD(0.1, parameters=groups), clip_norm=0.5)
    step(*data)
    moved = np.sqrt(sum(((value - before[name]) ** 2).sum() for name, value in weights(model).items()))
    assert step.grad_norm > 1.0
    assert moved == pytest.approx(0.05, rel=1e-3)


def test_the_loss_is_a_float_that_falls(model, data):
    step = TrainingStep(model, DistillationLoss(), paddle.optimizer.AdamW(3e-3, parameters=param_groups(model)))
    losses = [step(*data) for _ in range(8)]
    assert all(type(value) is float for value in losses)
    assert losses[-1] < losses[0] - 0.2


def test_all_parts_together_make_the_student_agree_with_its_teacher(tiny, images):
    """As the package's docstring shows it: the head of the distillation token learns what the teacher says."""
    student, teacher_model, images = tiny(vitlib.DeiT, depth=1), tiny(depth=1), images(batch=6)
    teacher = Teacher(teacher_model, student=student)
    schedule = warmup_cosine(3e-3, total_steps=15, warmup_steps=2)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=param_groups(student, 0.05, layer_decay=0.75))
    ema = ExponentialMovingAverage(student, 0.7)
    step = TrainingStep(student, DistillationLoss(), optimizer, clip_norm=5.0, schedule=schedule, ema=ema)
    student.train()
    for _ in range(15):
        step(images, paddle.arange(6), teacher(images))
    student.eval()
    expected = teacher_model(images).argmax(axis=1).tolist()
    assert expected != list(range(6)), "the teacher's answer is not the label"
    with ema.averaged():
        heads = student(images, return_heads=True)
    assert heads.distillation_logits.argmax(axis=1).tolist() == expected
    assert heads.logits.argmax(axis=1).tolist() == list(range(6))


def test_recomputing_blocks_changes_no_gradient(tiny, data):
    trained = []
    for recompute in (False, True):
        model = tiny(vitlib.DeiT, depth=2)
        model.train()
        model.set_recompute(recompute)
        TrainingStep(model, DistillationLoss(), sgd(model), accumulate=1)(*data)
        trained.append(weights(model))
    for name, value in trained[0].items():
        assert np.abs(value - trained[1][name]).max() < 1e-6, name


def test_schedule_and_average_follow_the_optimizer_once_a_step(model, data):
    schedule = warmup_cosine(0.1, total_steps=10, warmup_steps=4)
    ema = ExponentialMovingAverage(model, decay=0.5)
    start = weights(model)
    step = TrainingStep(model, DistillationLoss(), sgd(model, schedule), accumulate=2, schedule=schedule, ema=ema)
    for _ in range(4):
        step(*data)
    assert step.num_steps == ema.num_updates == schedule.last_epoch == 2
    end = weights(model)["head.weight"]
    for name, value in model.state_dict().items():
        value.set_value(start[name])
    DistillationLoss()(model(data[0]), *data[1:]).backward()
    middle = start["head.weight"] - 1e-6 * model.head.weight.grad.numpy()  # the rate of step one
    expected = start["head.weight"] / 4 + middle / 4 + end / 2
    assert np.abs(end - start["head.weight"]).max() > 1e-4
    assert np.abs(ema.average["head.weight"].numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("bad", ["loss", "gradient"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_number_that_is_not_finite_stops_the_run_before_it_reaches_a_weight(model, data, bad, accumulate):
    schedule = warmup_cosine(0.1, total_steps=10)
    ema = ExponentialMovingAverage(model, decay=0.5)
    images, *targets = data
    broken = [False]

    def loss(outputs, *targets):
        value = DistillationLoss()(outputs, *targets)
        if not broken[0]:
            return value
        # the square root of 0 has an infinite slope
        return value * float("nan") if bad == "loss" else value + (outputs[0] * 0.0).sum().sqrt() * 0.0

    optimizer = paddle.optimizer.AdamW(schedule, parameters=model.parameters())
    step = TrainingStep(model, loss, optimizer, accumulate=accumulate, schedule=schedule, ema=ema)
    for _ in range(accumulate):
        step(images, *targets)
    before, rate = weights(model), schedule()
    for _ in range(accumulate - 1):
        step(images, *targets)
    broken[0] = True
    with refused(FloatingPointError, "step 2", "nan", bad, "no weight was changed"):
        step(images, *targets)
    assert all((value == before[name]).all() for name, value in weights(model).items())
    assert (step.num_steps, ema.num_updates, schedule()) == (1, 1, rate)
    broken[0] = False
    for _ in range(accumulate):
        step(images, *targets)
    assert all(np.isfinite(value).all() for value in weights(model).values()), "training can go on"
    assert step.num_steps == 2


def test_a_step_that_the_loss_scaler_leaves_out_counts_for_nothing(model, data):
    class Scaler:
        """What Paddle's GradScaler does on accelerators, where alone it does anything, with a scale of 1."""

        def scale(self, loss):
            return loss

        def unscale_(self, optimizer):
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            self.overflowed = not all(bool(gradient.isfinite().all()) for gradient in gradients)

        def step(self, optimizer):
            if not self.overflowed:
                optimizer.step()

        def update(self):
            updates.append(self.overflowed)

    def loss(outputs, *targets):
        # the square root of 0 has an infinite slope
        return DistillationLoss()(outputs, *targets) + (outputs[0] * 0.0).sum().sqrt() * 0.0

    updates = []
    schedule = warmup_cosine(0.1, total_steps=10)
    ema = ExponentialMovingAverage(model, decay=0.5)
    step = TrainingStep(model, loss, sgd(model, schedule), schedule=schedule, ema=ema)
    step._scaler = Scaler()
    before = weights(model)
    step(*data)
    assert all((value == before[name]).all() for name, value in weights(model).items())
    assert not np.isfinite(step.grad_norm)
    assert (step.num_steps, ema.num_updates, schedule.last_epoch, step.pending) == (0, 0, 0, 0)
    step.loss = DistillationLoss()
    step(*data)
    assert (step.num_steps, ema.num_updates, schedule.last_epoch) == (1, 1, 1)
    assert updates == [True, False]
    assert all(np.isfinite(value).all() for value in weights(model).values())


def test_what_the_optimizer_does_not_train_counts_neither_in_the_norm_nor_changes(model, data):
    before = weights(model)
    step = TrainingStep(model, DistillationLoss(), paddle.optimizer.SGD(0.1, parameters=model.head.parameters()))
    step(*data)
    moved = {name: value - before[name] for name, value in weights(model).items() if (value != before[name]).any()}
    assert set(moved) == {"head.weight", "head.bias"}
    assert step.grad_norm == pytest.approx(np.sqrt(sum((move**2).sum() for move in moved.values())) / 0.1, rel=1e-3)
    assert float(model.head_dist.weight.grad.abs().max()) > 0


def test_its_state_goes_on(model):
    step = TrainingStep(model, F.cross_entropy, sgd(model))
    step.num_steps = 7
    other = TrainingStep(model, F.cross_entropy, sgd(model))
    other.set_state_dict(step.state_dict())
    assert other.num_steps == 7


def test_what_cannot_work_is_refused(model, data):
    loss = DistillationLoss()
    with refused(ValueError, "accumulate=0"):
        TrainingStep(model, loss, sgd(model), accumulate=0)
    with refused(ValueError, "clip_norm=-1"):
        TrainingStep(model, loss, sgd(model), clip_norm=-1)
    with refused(ValueError, "'fp16'", "'bfloat16'"):
        TrainingStep(model, loss, sgd(model), amp="fp16")
    with refused(ValueError, "schedule", "learning_rate=schedule"):
        TrainingStep(model, loss, sgd(model), schedule=warmup_cosine(0.1, total_steps=3))
    clip = paddle.nn.ClipGradByGlobalNorm(1.0)
    groups = paddle.optimizer.AdamW(0.1, parameters=param_groups(model), grad_clip=clip)
    with refused(ValueError, "2 parameter group(s)", "clip_norm"):
        TrainingStep(model, loss, groups)
    TrainingStep(model, loss, sgd(model, grad_clip=clip))(*data)
    step = TrainingStep(model, loss, sgd(model))
    model.eval()
    with refused(RuntimeError, "model.train()"):
        step(*data)


@pytest.mark.skipif(paddle.get_device() != "cpu", reason="mixed precision works on accelerators")
@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
def test_mixed_precision_is_refused_on_the_cpu(model, amp):
    with refused(ValueError, amp, "CPU"):
        TrainingStep(model, DistillationLoss(), sgd(model), amp=amp)


def test_arrays_are_trained_on_as_tensors_are(tiny, data):
    trained = []
    for given in (data, [value.numpy() for value in data]):
        model = tiny(vitlib.DeiT, depth=1)
        model.train()
        trained.append((TrainingStep(model, DistillationLoss(), sgd(model))(*given), weights(model)))
    (loss, expected), (again, found) = trained
    assert loss == again
    assert all((value == found[name]).all() for name, value in expected.items())
