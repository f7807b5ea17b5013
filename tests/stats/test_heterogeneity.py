"""Homogeneity and trends against statsmodels, contradictions by example."""

import math

import numpy as np
import pytest

from sparkds.stats.heterogeneity import cochran_q, simpson, trend


def test_cochrans_q_equals_statsmodels():
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    values, errors = np.array([0.2, 0.5, -0.1, 0.3]), np.array([0.1, 0.2, 0.15, 0.1])
    found = cochran_q(values, errors)
    wanted = meta.combine_effects(values, errors**2).test_homogeneity()
    assert (found.statistic, found.pvalue, found.df) == (pytest.approx(wanted.statistic), pytest.approx(wanted.pvalue), 3)
    assert found.i_squared == pytest.approx(max(0.0, 1 - 3 / found.statistic))


def test_a_trend_is_the_weighted_regression_with_known_errors():
    api = pytest.importorskip("statsmodels.api")
    y, error, x = np.array([0.5, 0.4, 0.35, 0.1]), np.array([0.1, 0.1, 0.2, 0.05]), np.array([0.0, 1, 2, 3])
    found = trend(y, error, x)
    fitted = api.WLS(y, api.add_constant(x), weights=1 / error**2).fit(cov_type="fixed scale")
    assert (found.slope, found.std_error) == (pytest.approx(fitted.params[1]), pytest.approx(fitted.bse[1]))


def test_too_few_effects_have_a_reason():
    assert cochran_q([1.0], [0.1]).reason
    assert cochran_q([1.0, math.nan], [0.1, 0.1]).reason
    assert trend([1, 2], [0.1, 0.1], [0, 1]).reason
    assert trend([1, 2, 3], [0.1, 0.1, 0.1], [1, 1, 1]).reason


@pytest.mark.parametrize(
    ("whole", "parts", "told"),
    [
        ((1.0, 0.01), [(-1.0, 0.2), (-0.5, 0.3)], "every value of the segment has the other sign"),
        ((1.0, 0.01), [(-1.0, 0.001), (0.5, 0.3)], "every significant value"),
        ((0.1, 0.6), [(1.0, 0.001), (0.9, 0.002)], "the whole is not"),
        ((1.0, 0.01), [(1.0, 0.02), (0.5, 0.3)], ""),
        ((0.1, 0.6), [(1.0, 0.001), (-0.9, 0.002)], ""),
        ((1.0, 0.01), [(-1.0, 0.2)], ""),
    ],
)
def test_parts_that_contradict_the_whole_are_told(whole, parts, told):
    found = simpson(*whole, [v for v, _ in parts], [p for _, p in parts], alpha=0.05)
    assert told in found
    assert bool(found) == bool(told)
