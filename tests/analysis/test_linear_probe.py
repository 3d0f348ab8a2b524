"""Linear probes are minima of the penalised loss."""

import math

import numpy as np
from conftest import refused

from vitlib.analysis import FolderFeatures, linear_probe


def labelled(features, labels, classes=("a", "b")):
    return FolderFeatures(np.asarray(features, "float32"), np.asarray(labels, "int64"), tuple(classes))


def test_probe_of_one_feature_in_closed_form():
    """Two classes at x = -1 and 1: by symmetry the weights are (-w, w) and the bias is 0, and the gradient of the loss
    vanishes where σ(-2w) = l2 · w."""
    train = labelled([[-1.0], [1.0]] * 5, [0, 1] * 5)
    for l2 in (0.3, 0.03):
        low, high = 0.0, 50.0
        for _ in range(100):
            w = (low + high) / 2
            low, high = (w, high) if 1 / (1 + math.exp(2 * w)) > l2 * w else (low, w)
        probe = linear_probe(train, l2)
        np.testing.assert_allclose(probe.weight, [[-w, w]], rtol=1e-3)
        np.testing.assert_allclose(probe.bias, [0, 0], atol=1e-4)


def test_without_features_that_tell_anything_the_probe_gives_the_shares_of_the_classes():
    train = labelled(np.full([10, 3], 7.0), [0] * 7 + [1] * 3)
    logits = linear_probe(train, 0.1).logits([[7, 7, 7], [0, 1, 2]])
    np.testing.assert_allclose(logits[:, 0] - logits[:, 1], [math.log(7 / 3)] * 2, atol=1e-3)


def test_the_gradient_of_the_penalised_loss_vanishes_at_the_probe():
    rng = np.random.default_rng(1)
    features = rng.standard_normal([200, 6]) * [1, 10, 0.1, 1, 1, 1] + 5
    labels = (features @ rng.standard_normal([6, 4]) + 3 * rng.standard_normal([200, 4])).argmax(1)
    probe = linear_probe(labelled(features, labels, "abcd"), 1e-2)
    mean, scale = features.mean(0), features.std(0)
    scaled, weight = (features - mean) / scale, probe.weight.astype("float64") * scale[:, None]
    bias = probe.bias + mean @ probe.weight
    p = np.exp(scaled @ weight + bias)
    error = p / p.sum(1, keepdims=True) - np.eye(4)[labels]
    np.testing.assert_allclose(scaled.T @ error / 200 + 1e-2 * weight, 0, atol=1e-4)
    np.testing.assert_allclose(error.mean(0), 0, atol=1e-4)
    assert probe.accuracy(labelled(features, labels, "abcd")) > 0.5


def test_of_several_penalties_the_one_that_generalises_is_taken():
    """Sixty useless features beside a useful one: a strong penalty wins over a weak one on images held back."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    features = np.concatenate(
        [(2 * labels - 1)[:, None] + rng.standard_normal([60, 1]), rng.standard_normal([60, 60])], 1
    )
    assert linear_probe(labelled(features, labels), (1e-6, 0.3)).l2 == 0.3


def test_probes_that_cannot_work_are_refused():
    train = labelled(np.eye(2), [0, 1])
    with refused(ValueError, "l2=0"):
        linear_probe(train, 0)
    with refused(ValueError, "at least one"):
        linear_probe(train, ())
    with refused(ValueError, "at least two"):
        linear_probe(labelled(np.eye(2), [0, 0]), 0.1)
    with refused(ValueError, "classes=train.classes"):
        linear_probe(train, 0.1).accuracy(labelled(np.eye(2), [0, 1], ("b", "a")))
