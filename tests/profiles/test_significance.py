from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from undrift.profiles.significance import chi_square_p, false_discovery, kolmogorov_p


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 41, 300])
@pytest.mark.parametrize("statistic", [0.0, 0.01, 1.0, 5.0, 50.0, 300.0, 5000.0])
def test_chi_square_against_scipy(statistic, degrees):
    assert chi_square_p(statistic, degrees) == pytest.approx(scipy.stats.chi2.sf(statistic, degrees), abs=1e-12)


def test_without_degrees_of_freedom_nothing_is_surprising():
    assert chi_square_p(0.0, 0) == 1.0


@pytest.mark.parametrize("distance", [0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
def test_kolmogorov_against_scipy(distance):
    expected = scipy.stats.kstwobign.sf(distance * np.sqrt(200 * 300 / 500))
    assert kolmogorov_p(distance, 200, 300) == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_q_values_against_scipy(p_values):
    for correction, method in (("benjamini-hochberg", "bh"), ("benjamini-yekutieli", "by")):
        q_values = false_discovery(p_values, correction)
        if p_values:
            expected = scipy.stats.false_discovery_control(p_values, method=method)
            assert q_values == pytest.approx(expected.tolist())
        assert all(q >= p - 1e-12 for p, q in zip(p_values, q_values, strict=True))
