"""Accuracies and losses of a model over batches, against sums written out."""

import contextlib

import numpy as np
import paddle
import pytest
from conftest import refused

import vitlib
from vitlib.training import evaluate, evaluate_labels


class Says(paddle.nn.Layer):
    """Gives the images themselves for logits."""

    def forward(self, images):
        assert not self.training
        return images


LOGITS = np.array([[3, 0, 0], [0, 2, 1], [0, 0, 5], [1, 0, 0], [0, 0, 1]], np.float32)
LABELS = np.array([0, 2, 2, 0, 1])


def batches(*groups, unreadable=()):
    for group in groups:
        indices = np.array(group)
        yield paddle.to_tensor(LOGITS[indices]), paddle.to_tensor(LABELS[indices]), paddle.to_tensor(indices), []
    for index in unreadable:
        yield None, None, paddle.to_tensor([index]), [f"image {index} is broken"]


def test_loss_and_accuracy_are_means_over_images_however_they_are_batched():
    log_softmax = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    loss = -log_softmax[np.arange(5), LABELS].mean()
    for groups in ([[0, 1, 2, 3, 4]], [[4, 1], [0], [3, 2]]):
        found = evaluate(Says(), batches(*groups), 5)
        assert found.loss == pytest.approx(loss, rel=1e-6)
        assert found.accuracy == pytest.approx(60)
        assert found.labels.tolist() == LABELS.tolist()
        assert found.predictions["model"].tolist() == [0, 1, 2, 0, 2]
        assert found.correct().tolist() == [True, False, True, True, False]


def test_images_that_were_not_seen_count_neither_as_right_nor_as_wrong():
    found = evaluate(Says(), batches([0, 1], [2], unreadable=[3, 4]), 5)
    assert found.accuracy == pytest.approx(100 * 2 / 3)
    assert found.labels.tolist() == [0, 2, 2, -1, -1]
    assert found.correct().tolist() == [True, False, True, False, False]
    assert found.unreadable == ["image 3 is broken", "image 4 is broken"]


def test_no_image_at_all_is_an_error_that_gives_a_reason():
    with refused(ValueError, "none of 5", "image 2 is broken"):
        evaluate(Says(), batches(unreadable=[2]), 5)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_as_before(training):
    model = Says()
    model.train() if training else model.eval()
    evaluate(model, batches([0]), 5)
    assert model.training == training


def test_layers_that_do_not_train_within_a_model_that_does_are_left_so_even_on_errors():
    model = paddle.nn.Sequential(paddle.nn.Linear(3, 3), paddle.nn.BatchNorm1D(3), paddle.nn.Dropout(0.5))
    model.train()
    model[1].eval()
    for given, outcome in ((batches([0, 1]), contextlib.nullcontext()), ([None], pytest.raises(TypeError))):
        with outcome:
            evaluate(model, given, 5)
        assert [layer.training for layer in model.sublayers(include_self=True)] == [True, True, False, True]


def test_of_a_deit_both_heads_and_their_mean_are_measured(tiny, images):
    model, x = tiny(vitlib.DeiT), images(batch=6)
    class_head, distillation_head = (head.numpy() for head in model(x, return_heads=True))
    labels = paddle.to_tensor((class_head + distillation_head).argmax(1))
    model.train()
    found = evaluate(paddle.DataParallel(model), [(x, labels, paddle.arange(6), [])], 6)
    assert found.accuracy == 100
    assert found.predictions["class_head"].tolist() == class_head.argmax(1).tolist()
    assert found.predictions["distillation_head"].tolist() == distillation_head.argmax(1).tolist()
    assert found.accuracy_of("class_head") == pytest.approx(100 * (class_head.argmax(1) == labels.numpy()).mean())


def test_labels_that_the_model_has_no_classes_for_are_refused(tiny, images):
    model = tiny(num_classes=3)
    batch = (images(batch=4), paddle.arange(4), paddle.arange(4), [])
    with refused(ValueError, "labels from 0 to 3", "the model has 3 classes", "reset_head"):
        evaluate(model, [batch], 4)


SEVERAL = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]])


def batches_of_several(*groups):
    for group in groups:
        indices = np.array(group)
        yield paddle.to_tensor(LOGITS[indices]), paddle.to_tensor(SEVERAL[indices]), paddle.to_tensor(indices), []


def test_several_labels_are_measured_by_class_however_they_are_batched():
    probabilities = 1 / (1 + np.exp(-LOGITS))
    loss = -np.log(np.where(SEVERAL == 1, probabilities, 1 - probabilities)).mean()
    found = [probabilities[:, c] >= 0.5 for c in range(3)]
    f1 = [2 * (yes & (SEVERAL[:, c] == 1)).sum() / (yes.sum() + SEVERAL[:, c].sum()) for c, yes in enumerate(found)]
    for groups in ([[0, 1, 2, 3, 4]], [[4, 1], [0], [3, 2]]):
        result = evaluate_labels(Says(), batches_of_several(*groups), 5, 3)
        assert result.loss == pytest.approx(loss, rel=1e-6)
        measures = result.measures()
        assert measures["macro_f1"] == pytest.approx(100 * np.mean(f1))
        # By hand: class 0 is found at ranks 1, 2, 4 (equal scores count together), class 1 last of five
        assert result.average_precisions()[1] == pytest.approx(100 * 1 / 5)
        assert measures["map"] == pytest.approx(np.mean(result.average_precisions()))


def test_images_of_several_labels_that_were_not_seen_do_not_count():
    result = evaluate_labels(Says(), batches_of_several([0, 3]), 5, 3)
    assert result.seen.tolist() == [True, False, False, True, False]
    assert (result.scores[1] == -1).all()
    with refused(ValueError, "none of 5 images could be read"):
        evaluate_labels(Says(), [], 5, 3)
    with refused(ValueError, "the model has 3 classes, and the images have 2"):
        evaluate_labels(Says(), batches_of_several([0]), 5, 2)
