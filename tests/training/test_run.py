"""A run and its folder, with batches that are made here."""

import json

import numpy as np
import paddle
import pytest
from conftest import refused

import vitlib
from vitlib.training import (
    CheckpointError,
    EpochSampler,
    Evaluation,
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
    """As load_batches gives them; the pictures of an index are always the same, and those of broken ones missing."""
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
        run.end_epoch({"validation": found()})
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


def test_a_batch_without_pictures_stops_processes_that_wait_for_its_gradient(tmp_path, monkeypatch):
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


def test_a_batch_without_pictures_is_left_out_and_its_pictures_are_named(tmp_path, capsys):
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
        run.end_epoch({})
        assert step.pending == 0
    assert step.num_steps == 2


def test_the_result_says_what_was_right_and_what_could_not_be_read(tmp_path):
    run = train(tmp_path, epochs=1)
    evaluation = Evaluation(
        np.array([0, 1, -1, 2]), {"model": np.array([0, 1, -1, 0])}, 0.25, ["'x.jpg' is no picture"]
    )
    text = run.finish({"test": evaluation})
    assert "test: model 66.7 % of 3 pictures, and 1 that could not be read" in text
    assert str(tmp_path) in text
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["test"]["model"] == pytest.approx(100 * 2 / 3)
    assert np.unpackbits(np.frombuffer(bytes.fromhex(result["test"]["right"]["model"]), np.uint8))[:4].tolist() == [
        1, 1, 0, 0,
    ]  # fmt: skip
    assert result["test"]["unreadable"] == ["'x.jpg' is no picture"]
    assert result["parameters"] == sum(p.size for p in run.step.model.parameters())
    model = vitlib.from_pretrained(tmp_path / "model")
    assert list(model.labels) == CLASSES
    assert all((value.numpy() == weights(run)[name]).all() for name, value in model.state_dict().items())


def test_unreadable_pictures_of_all_processes_are_in_the_summary_and_each_process_names_its_own(tmp_path, capsys):
    run = train(tmp_path, epochs=1)
    labels = np.array([0, -1, 2, -1, -1])  # one of the three was read by this process
    text = run.finish({"test": Evaluation(labels, {"model": labels}, 0.5, ["'x.jpg' is no picture"])})
    assert "of 2 pictures, and 3 that could not be read" in text
    assert "left out: 'x.jpg' is no picture" in capsys.readouterr().out


def test_the_model_of_a_run_is_loaded_from_its_last_checkpoint(tmp_path):
    model = make_step().model
    with refused(FileNotFoundError, str(tmp_path), "no checkpoint"):
        load_run(tmp_path, model)
    run = train(tmp_path, epochs=1)
    load_run(tmp_path, model)
    assert all((value.numpy() == weights(run)[name]).all() for name, value in model.state_dict().items())
    with refused(ValueError, str(tmp_path), "names or shapes differ"):
        load_run(tmp_path, make_step(vitlib.DeiT).model)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(tmp_path, epochs=1)
    run = Run(tmp_path, {"lr": 0.001}, CLASSES)
    with refused(CheckpointError, "head_dist"):
        run.start(make_step(vitlib.DeiT), EpochSampler(6, 2), epochs=1)
