"""A run and its folder, with batches that are made here."""

import json
import os
import signal

import numpy as np
import paddle
import pytest
from conftest import refused

import vitlib
from vitlib.training import (
    CheckpointError,
    Checkpoints,
    EpochSampler,
    Evaluation,
    ExponentialMovingAverage,
    Interruption,
    LabelsEvaluation,
    Run,
    RunLog,
    SoftTargetCrossEntropy,
    TrainingStep,
    load_run,
)

CLASSES = ["ant", "bee", "cat"]
SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2, "num_classes": 3}


@pytest.fixture(autouse=True)
def _no_curve(monkeypatch):
    """Drawing takes longer than all else here, and has its tests in test_run_log.py."""
    monkeypatch.setattr(RunLog, "_draw", lambda log: None)


def make_step(cls=vitlib.VisionTransformer):
    paddle.seed(0)
    model = cls(**SMALL, drop_path_rate=0.2)
    model.train()
    return TrainingStep(model, SoftTargetCrossEntropy(), paddle.optimizer.AdamW(1e-3, parameters=model.parameters()))


def batches(sampler, broken=()):
    """As load_batches gives them; the images of an index are always the same, and those of broken ones missing."""
    for keys in sampler:
        indices = np.array([index for index, _ in keys if index not in broken])
        reasons = [f"'{index}.jpg' is broken" for index, _ in keys if index in broken]
        if not len(indices):
            yield None, None, paddle.to_tensor([index for index, _ in keys]), reasons
            continue
        images = [np.random.default_rng(index).standard_normal((3, 16, 16), np.float32) for index in indices]
        yield paddle.to_tensor(np.stack(images)), paddle.to_tensor(indices % 3), paddle.to_tensor(indices), reasons


def found(right=2, of=3, unreadable=()):
    labels = np.arange(of) % 3
    return Evaluation(labels, {"model": np.where(np.arange(of) < right, labels, labels + 1)}, 0.5, list(unreadable))


def train(directory, arguments=(), *, steps=None, epochs=2, broken=(), save_every=300, **options):
    """A run of 3 steps an epoch, left after `steps` as if it were killed."""
    run = Run(directory, {"lr": 0.001, **dict(arguments)}, CLASSES, save_every=save_every, **options)
    step, sampler = make_step(), EpochSampler(6, 2)
    run.start(step, sampler, epochs=epochs)
    while run.training:
        for images, labels, _, _ in run.batches(batches(sampler, broken)):
            if step.num_steps == steps:
                return run
            run.log.step(step(images, labels), 1, len(labels))
        run.end_epoch(lambda: {"validation": found()})
    return run


def weights(run):
    return {name: value.numpy() for name, value in run.step.model.state_dict().items()}


@pytest.mark.parametrize(("save_every", "kept"), [(300, 3), (0, 5)])
def test_a_run_that_was_left_goes_on_from_its_last_checkpoint_to_the_same_bits(tmp_path, save_every, kept):
    alone = train(tmp_path / "alone")
    train(tmp_path / "left", steps=5, save_every=save_every)
    run = train(tmp_path / "left", steps=kept, save_every=save_every)
    assert run.step.num_steps == kept  # it began there
    run = train(tmp_path / "left", save_every=save_every)
    assert all((value == weights(run)[name]).all() for name, value in weights(alone).items())
    assert [row["train_loss"] for row in run.log.rows] == [row["train_loss"] for row in alone.log.rows]


def test_the_seconds_of_all_processes_of_a_run_are_added(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    run = train(tmp_path, epochs=1)
    now = 100.0
    assert run.seconds == 100
    run._save()
    now = 1000.0
    again = Run(tmp_path, {"lr": 0.001}, CLASSES)
    again.start(make_step(), EpochSampler(6, 2), epochs=1)
    assert not again.training
    now = 1007.0
    assert again.seconds == 107


def test_other_arguments_and_classes_are_refused_by_name_once_there_is_a_checkpoint(tmp_path):
    train(tmp_path, {"data": "a", "depth": 2}, steps=1)
    train(tmp_path, {"data": "b", "depth": 3})  # nothing was learned with the others
    with refused(ValueError, "depth was 3 and is 4", "width was None and is 5", str(tmp_path)):
        Run(tmp_path, {"lr": 0.001, "data": "b", "depth": 4, "width": 5}, CLASSES)
    with refused(ValueError, "depth was 3 and is None", "lr was 0.001 and is 0.002"):
        Run(tmp_path, {"data": "b", "lr": 0.002}, CLASSES)
    with refused(ValueError, "['ant', 'bee', 'cat']"):
        Run(tmp_path, {"lr": 0.001, "data": "b", "depth": 3}, ["ant", "cat", "bee"])
    Run(tmp_path, {"lr": 0.001, "data": "c", "depth": 3}, CLASSES, may_change=["data"])


@pytest.mark.parametrize("content", [None, "{}", "[1]", '{"arguments": {"lr"', b"\xff\xfe"])
def test_checkpoints_without_a_readable_run_json_are_refused_and_a_new_run_needs_none(tmp_path, content):
    train(tmp_path, steps=2, save_every=0)
    path = tmp_path / "run.json"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(ValueError, f"{path} is {'missing' if content is None else 'damaged'}", "remove the checkpoints"):
        Run(tmp_path, {"lr": 0.1}, CLASSES)
    for checkpoint in (tmp_path / "checkpoints").iterdir():
        checkpoint.unlink()
    train(tmp_path, {"lr": 0.1}, steps=1)
    assert json.loads(path.read_text())["arguments"] == {"lr": 0.1}


def test_a_finished_run_names_no_epoch_beyond_the_last(tmp_path, capsys):
    train(tmp_path)
    capsys.readouterr()
    train(tmp_path)
    said = capsys.readouterr().out
    assert "going on after 6 steps, with no epoch left to do" in said
    assert "epoch 3" not in said


def test_a_batch_without_images_stops_processes_that_wait_for_its_gradient(tmp_path, monkeypatch):
    run = Run(tmp_path, {}, CLASSES)
    run.start(make_step(), EpochSampler(6, 2), epochs=1)
    monkeypatch.setattr("paddle.distributed.get_world_size", lambda: 2)
    with refused(vitlib.ImageError, "'4.jpg' is broken; '5.jpg' is broken", "same command"):
        next(run.batches(batches([[(4, 0), (5, 0)]], broken=(4, 5))))


def test_arguments_that_json_does_not_know_are_kept_as_text(tmp_path):
    train(tmp_path, {"path": tmp_path})
    assert json.loads((tmp_path / "run.json").read_text())["arguments"]["path"] == str(tmp_path)
    Run(tmp_path, {"lr": 0.001, "path": tmp_path}, CLASSES)


def test_a_run_that_goes_on_knows_the_config_of_its_model(tmp_path):
    assert Run(tmp_path, {"lr": 0.001}, CLASSES).config is None
    run = train(tmp_path, epochs=1)
    assert Run(tmp_path, {"lr": 0.001}, CLASSES).config == run.step.model.config


def test_a_batch_without_images_is_left_out_and_its_images_are_named(tmp_path, capsys):
    order = [[index for index, _ in keys] for keys in EpochSampler(6, 2)]
    run = train(tmp_path, epochs=1, broken=order[1])
    assert run.step.num_steps == 2
    assert run.log.rows[0]["unreadable"] == 2
    said = capsys.readouterr().out
    assert all(f"left out: '{index}.jpg' is broken" in said for index in order[1])


def test_an_accumulation_that_an_epoch_cuts_off_is_dropped(tmp_path):
    run = Run(tmp_path, {}, CLASSES)
    step, sampler = make_step(), EpochSampler(6, 2)
    step.accumulate = 2
    run.start(step, sampler, epochs=2)
    while run.training:
        for images, labels, _, _ in run.batches(batches(sampler)):
            step(images, labels)
            run.log.step(1.0, 1, 2)
        assert step.pending == 1
        run.end_epoch(dict)
        assert step.pending == 0
    assert step.num_steps == 2


def scored(directory, scores, *, epochs=None, cls=vitlib.VisionTransformer, ema=None):
    """A run whose epochs have these (right of 3, loss), and a copy of the weights at the end of each."""
    run, step, sampler, seen = Run(directory, {}, CLASSES), make_step(cls), EpochSampler(6, 2), []
    step.ema = ema and ExponentialMovingAverage(step.model, ema)
    run.start(step, sampler, epochs=epochs or len(scores))

    def evaluate():
        seen.append(weights(run))
        right, loss = scores[len(run.log.rows)]
        return {"validation": Evaluation(found().labels, found(right).predictions, loss), "test": found(3)}

    while run.training:
        for images, labels, _, _ in run.batches(batches(sampler)):
            run.log.step(step(images, labels), 1, len(labels))
        run.end_epoch(evaluate)
    return run, seen


def same(one, other):
    return all((value == other[name]).all() for name, value in one.items())


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(1, 0.5), (3, 0.9), (2, 0.1)], 2),
        ([(1, 0.5), (2, 0.3), (2, 0.2), (2, 0.2)], 3),  # of equal accuracies the lower loss, of these the first
        ([(2, 0.5), (2, float("nan"))], 1),
    ],
)
def test_the_best_epoch_by_the_first_evaluation_is_kept(tmp_path, scores, best):
    run, seen = scored(tmp_path, scores)
    saved = {name: value.numpy() for name, value in vitlib.from_pretrained(tmp_path / "model").state_dict().items()}
    assert same(saved, seen[best - 1])
    assert list(vitlib.from_pretrained(tmp_path / "model").labels) == CLASSES
    run.load_best()
    assert run.best["epoch"] == best
    assert same(weights(run), seen[best - 1])
    other = make_step().model
    assert load_run(tmp_path, other) == best
    assert same({name: value.numpy() for name, value in other.state_dict().items()}, seen[best - 1])
    with refused(ValueError, str(tmp_path), "names or shapes differ"):
        load_run(tmp_path, make_step(vitlib.DeiT).model)


def test_an_epoch_with_a_measure_is_better_than_one_without(tmp_path):
    """Of several labels an image, the mean average precision is NaN where no image has a label."""
    run, step, sampler = Run(tmp_path, {}, CLASSES), make_step(), EpochSampler(6, 2)
    run.start(step, sampler, epochs=3)
    for labels in ([[0, 0, 0]], [[0, 0, 1]], [[0, 0, 0]]):
        list(run.batches(batches(sampler)))
        evaluation = LabelsEvaluation(np.array(labels), np.array([[0.1, 0.2, 0.7]]), 0.5)
        run.end_epoch(lambda evaluation=evaluation: {"validation": evaluation})
    assert run.best["epoch"] == 2


def test_a_run_that_goes_on_knows_its_best_epoch(tmp_path):
    _, seen = scored(tmp_path, [(3, 0.5)])
    run, _ = scored(tmp_path, [(3, 0.5), (2, 0.1), (1, 0.1)], epochs=3)
    run.load_best()
    assert run.best["epoch"] == 1
    assert same(weights(run), seen[0])


def test_averaged_weights_are_those_that_are_evaluated_and_kept(tmp_path):
    run, seen = scored(tmp_path, [(1, 0.5), (2, 0.5)], ema=0.5)
    average = {name: value.numpy() for name, value in run.step.ema.average.items()}
    assert same(seen[1], average)
    assert not same(weights(run), average)
    run.load_best()
    assert same(weights(run), average)


def test_without_an_evaluation_the_last_epoch_is_the_best(tmp_path):
    run = Run(tmp_path, {}, CLASSES)
    run.start(make_step(), EpochSampler(6, 2), epochs=2)
    for _ in range(2):
        list(run.batches(batches(run.sampler)))
        run.end_epoch(dict)
    run.load_best()
    assert run.best["epoch"] == 2


def test_each_epoch_is_told_with_losses_and_accuracies_of_training_and_validation(tmp_path, capsys):
    run, _ = scored(tmp_path, [(1, 0.25), (3, 0.5), (2, 0.125)])
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    for number, (line, row, accuracy, loss) in enumerate(
        zip(said, run.log.rows, (33.3, 100.0, 66.7), (0.25, 0.5, 0.125), strict=True), 1
    ):
        best = " (the best so far)" if number < 3 else ""
        assert line == (
            f"epoch {number} of 3: train loss {row['train_loss']:.3f}, accuracy {row['train_accuracy']:.1f} %; "
            f"validation loss {loss:.3f}, accuracy {accuracy} %; test loss 0.500, accuracy 100.0 %{best}"
        )


class Interrupted:
    """A run of two epochs of 3 steps, with a signal at a moment: after step 1 to 6, or in evaluation 1 or 2."""

    def __init__(self, directory, moment=None, number=signal.SIGINT, accumulate=1):
        self.run, self.moment, self.number = Run(directory, {"lr": 0.001}, CLASSES), moment, number
        step, sampler, self.evaluations = make_step(), EpochSampler(6, 2), 0
        step.accumulate = accumulate
        self.run.start(step, sampler, epochs=2)
        with self.run.interruptible():
            while self.run.training:
                for images, labels, _, _ in self.run.batches(batches(sampler)):
                    self.run.log.step(step(images, labels), 1, len(labels))
                    self.at(("step", sampler.epoch * 3 + sampler.batch + 1))
                self.run.end_epoch(self.evaluate)

    def evaluate(self):
        self.evaluations += 1
        self.at(("evaluation", len(self.run.log.rows) + 1))
        return {"validation": found()}

    def at(self, moment):
        if moment == self.moment:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("moment", "steps"),
    [(("step", 2), 2), (("step", 3), 3), (("step", 6), 6), (("evaluation", 1), 3), (("evaluation", 2), 6)],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_saved_and_ends_with_the_bits_of_one_left_alone(tmp_path, moment, steps, number):
    alone = Interrupted(tmp_path / "alone").run
    with pytest.raises(Interruption) as caught:
        Interrupted(tmp_path / "run", moment, number)
    assert caught.value.signal == number
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps()[-1] == steps
    again = Interrupted(tmp_path / "run").run
    assert same(weights(alone), weights(again))
    assert [row["train_loss"] for row in again.log.rows] == [row["train_loss"] for row in alone.log.rows]
    assert [row["epoch"] for row in again.log.rows] == [1, 2]


def test_a_signal_that_comes_during_the_last_save_still_ends_the_run(tmp_path, monkeypatch):
    save, signals = Run._save, [signal.SIGTERM]

    def interrupted(run):
        save(run)
        if not run.training and signals:
            os.kill(os.getpid(), signals.pop())

    monkeypatch.setattr(Run, "_save", interrupted)
    with pytest.raises(Interruption):
        Interrupted(tmp_path)


def test_an_interruption_waits_for_the_step_of_an_accumulation(tmp_path):
    with pytest.raises(Interruption):
        Interrupted(tmp_path, ("step", 1), accumulate=2)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [1]
    again = Run(tmp_path, {"lr": 0.001}, CLASSES)
    again.start(make_step(), EpochSampler(6, 2), epochs=2)
    assert (again.step.num_steps, again.sampler.batch) == (1, 2)


def test_an_interrupted_evaluation_is_done_again_and_no_step_is(tmp_path):
    with pytest.raises(Interruption):
        Interrupted(tmp_path, ("evaluation", 2))
    again = Interrupted(tmp_path)
    assert again.evaluations == 1
    assert again.run.step.num_steps == 6


def test_a_run_without_a_finished_epoch_has_no_best(tmp_path):
    train(tmp_path, steps=2, save_every=0)
    with refused(FileNotFoundError, str(tmp_path), "best.safetensors", "train an epoch"):
        load_run(tmp_path, make_step().model)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(tmp_path, epochs=1)
    run = Run(tmp_path, {"lr": 0.001}, CLASSES)
    with refused(CheckpointError, "head_dist"):
        run.start(make_step(vitlib.DeiT), EpochSampler(6, 2), epochs=1)
