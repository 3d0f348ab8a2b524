"""Evaluation mode is there for a call, also for many at once, and leaves the modes of all layers behind."""

import threading
import time

import numpy as np
import paddle
import pytest
from conftest import difference

import vitlib
from vitlib.models.evaluation import evaluation_mode
from vitlib.training.evaluate import evaluate

NOISY = {"drop_rate": 0.5, "proj_drop_rate": 0.5, "attn_drop_rate": 0.5, "drop_path_rate": 0.5}


def modes(model):
    return [layer.training for layer in model.sublayers(include_self=True)]


def in_threads(count, run):
    errors = []

    def guarded(index):
        try:
            run(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=[index]) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def test_every_layer_gets_its_own_mode_back_also_after_an_error(tiny):
    model = tiny()
    model.train()
    model.blocks[1].eval()
    before = modes(model)
    assert len(set(before)) == 2

    def fail():
        with evaluation_mode(model):
            assert not any(modes(model))
            with evaluation_mode(model.blocks[2]):
                assert not any(modes(model))
            assert not any(modes(model))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert modes(model) == before


def test_the_last_call_out_restores_the_mode_that_the_first_one_found(tiny):
    model = tiny()
    model.train()
    first, second = evaluation_mode(model), evaluation_mode(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(modes(model))
    second.__exit__(None, None, None)
    assert all(modes(model))


def test_models_that_share_layers_can_be_evaluated_at_once(tiny):
    one, other = tiny(), tiny()
    other.blocks = one.blocks
    one.train()
    other.train()
    first, second = evaluation_mode(one), evaluation_mode(other)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert one.training
    assert not any(modes(other))
    second.__exit__(None, None, None)
    assert all(modes(one) + modes(other))


def test_eight_threads_predict_as_one_and_leave_a_training_model_training(tiny, images):
    model, x = tiny(**NOISY), images()
    expected = [row[0].probability for row in vitlib.predict(model, x, top_k=1)]
    maps = vitlib.attention_maps(model, x)
    batches = [(x, paddle.to_tensor([0, 1]), paddle.to_tensor([0, 1]), [])]
    loss = evaluate(model, batches, 2).loss
    model.train()
    model.blocks[1].eval()
    before = modes(model)
    start = threading.Barrier(8)

    def run(index):
        start.wait()
        for turn in range(12):
            time.sleep(0.001 * ((index + turn) % 4))  # so that first and last of them change
            kind = (index + turn) % 3
            if kind == 0:
                found = [row[0].probability for row in vitlib.predict(model, x, top_k=1)]
                np.testing.assert_allclose(found, expected, rtol=1e-5)
            elif kind == 1:
                assert max(map(difference, vitlib.attention_maps(model, x), maps)) < 1e-6
            else:
                assert evaluate(model, batches, 2).loss == pytest.approx(loss, rel=1e-5)

    in_threads(8, run)
    assert modes(model) == before
    assert not any("forward" in vars(layer) for layer in model.sublayers())


def test_a_thread_reads_maps_of_its_own_image_while_others_read_theirs(tiny):
    model = tiny()
    inputs = [paddle.randn([1, 3, 32, 32]) for _ in range(4)]
    expected = [vitlib.attention_maps(model, x) for x in inputs]

    def run(index):
        for _ in range(6):
            found = vitlib.attention_maps(model, inputs[index], 3)
            assert max(map(difference, found, expected[index])) < 1e-6

    in_threads(4, run)
