"""Nearest neighbours vote as in DINO's evaluation."""

import math

import numpy as np
import pytest
from conftest import refused

from vitlib.analysis import FolderFeatures, knn_accuracy, knn_scores


def labelled(features, labels, classes=("a", "b")):
    return FolderFeatures(np.asarray(features, "float32"), np.asarray(labels, "int64"), tuple(classes))


def dino(train, labels, queries, k, temperature, classes):
    """eval_knn.py of DINO, neighbour by neighbour."""
    scores = []
    for query in queries:
        similar = [
            sum(a * b for a, b in zip(query, row, strict=True)) / math.hypot(*query) / math.hypot(*row) for row in train
        ]
        votes = [0.0] * classes
        for index in sorted(range(len(train)), key=lambda i: -similar[i])[:k]:
            votes[labels[index]] += math.exp(similar[index] / temperature)
        scores.append(votes)
    return np.array(scores)


@pytest.mark.parametrize("k", [1, 10, 20, 1000])
@pytest.mark.parametrize("chunk", [1 << 24, 100])
def test_scores_are_those_of_dinos_evaluation(monkeypatch, k, chunk):
    monkeypatch.setattr("vitlib.analysis.knn._PRODUCTS", chunk)
    rng = np.random.default_rng(0)
    train, labels, queries = rng.standard_normal([60, 5]), rng.integers(0, 3, 60), rng.standard_normal([13, 5])
    found = knn_scores(labelled(train, labels, "abc"), queries, k)
    expected = dino(train.tolist(), labels.tolist(), queries.tolist(), k, 0.07, 3)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=2e-5)


def test_a_near_neighbour_outvotes_two_farther_ones_worked_out_by_hand():
    """Cosines 1, 0.8 and 0.6 of classes b, a, a at temperature 0.5: e^2 against e^1.6 + e^1.2."""
    train = labelled([[2, 0], [0.8, 0.6], [0.6, 0.8], [-1, 0]], [1, 0, 0, 0])
    scores = knn_scores(train, [[3, 0]], k=3, temperature=0.5)
    a, b = math.exp(1.6) + math.exp(1.2), math.exp(2)
    np.testing.assert_allclose(scores, [[a / (a + b), b / (a + b)]], rtol=1e-5)
    test = labelled([[3, 0], [0.6, 0.8]], [1, 0])
    assert knn_accuracy(train, test, k=(1, 3), temperature=0.5) == {1: 1.0, 3: 0.5}
    assert knn_accuracy(train, test, np.int64(3), temperature=0.01) == {3: 1.0}  # as k = 1 when it is cold


def test_neighbours_that_cannot_be_asked_for_are_refused():
    train = labelled(np.eye(2), [0, 1])
    with refused(ValueError, "k=0"):
        knn_scores(train, np.eye(2), 0)
    with refused(ValueError, "temperature=0"):
        knn_scores(train, np.eye(2), 1, 0)
    with refused(ValueError, "no training images"):
        knn_scores(labelled(np.zeros([0, 2]), []), np.eye(2))
    with refused(ValueError, "width 3", "expected 2"):
        knn_scores(train, np.ones([1, 3]))
    with refused(ValueError, "classes=train.classes"):
        knn_accuracy(train, labelled(np.eye(2), [0, 1], ("b", "a")))
