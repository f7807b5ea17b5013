"""The sketch against exact quantiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sparkds.stats.log_histogram import RELATIVE_ERROR, bins, quantile, values


def sketched(x):
    return np.unique(bins(x), return_counts=True)


@given(
    arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e9, 1e9).filter(lambda v: v == 0 or abs(v) > 1e-200)), st.floats(0.01, 0.99)
)
def test_every_quantile_is_right_within_the_stated_error(x, share):
    exact = np.quantile(x, share, method="inverted_cdf")
    assert quantile(*sketched(x), share) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.001, abs=0)


@given(arrays(np.float64, st.integers(2, 40), elements=st.floats(-1e6, 1e6)))
def test_bins_ascend_with_the_values(x):
    assert (np.diff(bins(np.sort(x))) >= 0).all()


def test_zero_is_exact_and_signs_are_kept():
    assert values(bins(np.array([0.0]))).tolist() == [0.0]
    np.testing.assert_allclose(values(bins(np.array([-5.0, 5.0]))), [-5, 5], rtol=RELATIVE_ERROR)


def test_counts_of_parts_add():
    rng = np.random.default_rng(3)
    x, y = rng.lognormal(0, 2, 500), rng.normal(0, 1, 300)
    both = dict(zip(*sketched(np.concatenate([x, y])), strict=True))
    added = {}
    for part in (x, y):
        for at, n in zip(*sketched(part), strict=True):
            added[at] = added.get(at, 0) + n
    assert added == both


def test_no_rows_have_no_quantile():
    assert np.isnan(quantile(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 0.5))
