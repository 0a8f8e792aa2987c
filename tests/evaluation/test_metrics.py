from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from undrift.core.errors import Invalid
from undrift.evaluation import LOWER_IS_BETTER, METRICS, log_loss, log_losses, roc_auc, row_losses

# A grid makes ties, which is where ranks go wrong.
scores_on_grid = st.sampled_from(np.linspace(0.01, 0.99, 15).tolist())
two_classes = st.sampled_from([0.0, 1.0])


@st.composite
def predictions(draw, elements=scores_on_grid, classes=two_classes):
    rows = draw(st.integers(2, 60))
    labels = draw(arrays.arrays(np.float64, rows, elements=classes))
    labels[:2] = 0.0, 1.0
    return labels, draw(arrays.arrays(np.float64, rows, elements=elements))


@given(predictions())
def test_log_loss_is_that_of_scikit_learn(made):
    labels, scores = made
    assert log_loss(labels, scores) == pytest.approx(sklearn.metrics.log_loss(labels, scores))


@given(predictions() | predictions(elements=st.floats(0, 1)))
def test_roc_auc_is_that_of_scikit_learn(made):
    labels, scores = made
    assert roc_auc(labels, scores) == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))


numbers = st.floats(-1e6, 1e6)


@given(predictions(elements=numbers, classes=numbers))
def test_mean_absolute_error_is_that_of_scikit_learn(made):
    labels, scores = made
    expected = sklearn.metrics.mean_absolute_error(labels, scores)
    assert METRICS["mean_absolute_error"](labels, scores) == pytest.approx(expected)


@given(predictions(), st.sampled_from(sorted(LOWER_IS_BETTER)))
def test_what_rows_add_has_the_metric_as_its_mean(made, metric):
    assert row_losses(metric, *made).mean() == pytest.approx(METRICS[metric](*made))


def test_a_sure_mistake_costs_much_but_not_everything():
    assert log_losses(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx([-math.log(1e-6)] * 2, rel=1e-4)


def test_without_rows_or_with_one_class_there_is_nothing_to_measure():
    none = np.array([])
    assert all(math.isnan(metric(none, none)) for metric in METRICS.values())
    assert math.isnan(roc_auc(np.ones(3), np.array([0.1, 0.2, 0.3])))
    assert math.isnan(roc_auc(np.zeros(3), np.array([0.1, 0.2, 0.3])))


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy"])
def test_a_metric_that_is_no_mean_over_rows_is_refused(metric):
    with pytest.raises(Invalid, match="is no mean over rows"):
        row_losses(metric, np.ones(2), np.ones(2))
