"""Measures against scikit-learn's and by hand."""

import numpy as np
import pytest
from conftest import refused
from sklearn import metrics as theirs

from vitlib.training import metrics as ours


@pytest.fixture
def several():
    """Scores [40, 5], with equal ones among them, and labels [40, 5]."""
    rng = np.random.default_rng(0)
    scores = rng.random((40, 5)).round(1)
    return scores, rng.random((40, 5)) < 0.3 * scores + 0.2


def test_average_precision_is_scikit_learns_with_equal_scores_too(several):
    scores, present = several
    expected = [theirs.average_precision_score(present[:, c], scores[:, c]) for c in range(5)]
    assert [ours.average_precision(scores[:, c], present[:, c]) for c in range(5)] == pytest.approx(expected)
    assert ours.mean_average_precision(scores, present) == pytest.approx(np.mean(expected))


def test_classes_that_are_never_present_do_not_count_in_the_mean(several):
    scores, present = several
    present[:, 2] = False
    rest = [0, 1, 3, 4]
    assert np.isnan(ours.average_precision(scores[:, 2], present[:, 2]))
    assert ours.mean_average_precision(scores, present) == ours.mean_average_precision(
        scores[:, rest], present[:, rest]
    )
    assert np.isnan(ours.mean_average_precision(scores, np.zeros_like(present)))


def test_f1_is_scikit_learns(several):
    scores, present = several
    found = scores >= 0.5
    found[:, 1] = present[:, 1] = False  # neither found nor there
    expected = theirs.f1_score(present, found, average=None, zero_division=0)
    assert ours.f1_scores(found, present) == pytest.approx(expected)
    micro = ours.f1_scores(found.reshape(-1, 1), present.reshape(-1, 1))[0]
    assert micro == pytest.approx(theirs.f1_score(present, found, average="micro"))


def test_the_confusion_matrix_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    expected = theirs.confusion_matrix(labels, predictions, labels=range(4))
    assert (ours.confusion_matrix(labels, predictions, 4) == expected).all()
    with refused(ValueError, "classes from 0 to 3", "0 to 2"):
        ours.confusion_matrix(labels, predictions, 3)


def test_the_calibration_error_is_the_weighted_gap_of_the_bins():
    # two bins of ten: 0.55 and 0.6 with one of two right, 0.95 with three of three
    confidences, correct = np.array([0.55, 0.6, 0.95, 0.95, 0.95]), np.array([True, False, True, True, True])
    expected = (2 * abs(0.5 - 0.575) + 3 * abs(1 - 0.95)) / 5
    assert ours.calibration_error(confidences, correct, 10) == pytest.approx(expected)
    assert ours.calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0
    assert ours.calibration_error(np.array([1.0, 0.0]), np.array([False, True])) == 1
    with refused(ValueError, "no samples"):
        ours.calibration_error(np.array([]), np.array([]))
