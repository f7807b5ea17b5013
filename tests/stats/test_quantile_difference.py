"""Differences of quantiles: coverage by simulation, and what is not computable."""

import numpy as np
import pytest

from sparkds.stats.log_histogram import bins
from sparkds.stats.quantile_difference import quantile_difference


def sketch(x):
    return np.unique(bins(x), return_counts=True)


def test_the_value_is_the_difference_of_the_quantiles():
    rng = np.random.default_rng(1)
    a, b = rng.lognormal(0, 1, 5000), rng.lognormal(0.2, 1, 6000)
    for share in (0.25, 0.5, 0.9):
        found = quantile_difference(sketch(a), sketch(b), share=share, alpha=0.05)
        assert found.value == pytest.approx(np.quantile(b, share) - np.quantile(a, share), abs=0.01)
        assert (found.n_control, found.n_treatment) == (5000, 6000)


def test_intervals_cover_and_the_null_is_rarely_rejected():
    rng = np.random.default_rng(2)
    covered = rejected = 0
    for _ in range(600):
        found = quantile_difference(sketch(rng.exponential(1, 400)), sketch(rng.exponential(1, 500)), share=0.5, alpha=0.05)
        covered += found.low <= 0 <= found.high
        rejected += found.pvalue < 0.05
    assert 0.925 <= covered / 600 <= 0.975
    assert rejected == 600 - covered


def test_too_few_units_and_shared_values_have_a_reason():
    few, many, same = sketch(np.arange(1.0, 10)), sketch(np.arange(1.0, 200)), sketch(np.ones(300))
    assert "needs at least 20" in quantile_difference(few, many, share=0.5, alpha=0.05).reason
    assert "less extreme" in quantile_difference(many, many, share=0.999, alpha=0.05).reason
    assert "many units share" in quantile_difference(same, same, share=0.5, alpha=0.05).reason
