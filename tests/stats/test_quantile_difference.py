"""Differences of quantiles: coverage by simulation, and what is not computable."""

import numpy as np
import pytest

from sparkds.stats.log_histogram import CLUSTERS, bins, clustered_bins
from sparkds.stats.quantile_difference import clustered_quantile_difference, quantile_difference


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


def clustered(rng, n_units, spread, shift=0.0):
    """Events of units that differ from each other, as keys with counts, and all values."""
    level = rng.normal(shift, spread, n_units)
    unit = np.repeat(np.arange(n_units), rng.integers(1, 12, n_units))
    x = np.exp(level[unit] + rng.normal(0, 0.3, len(unit)))
    return np.unique(clustered_bins(unit % CLUSTERS, bins(x)), return_counts=True), x


def test_events_of_one_unit_belong_together():
    rng = np.random.default_rng(3)
    covered = naive_covered = 0
    for _ in range(300):
        (a, x), (b, y) = clustered(rng, 400, 0.8), clustered(rng, 500, 0.8)
        found = clustered_quantile_difference(a, b, share=0.5, n=(400, 500), alpha=0.05)
        covered += found.low <= 0 <= found.high
        naive = quantile_difference(sketch(x), sketch(y), share=0.5, alpha=0.05)
        naive_covered += naive.low <= 0 <= naive.high
    assert 0.915 <= covered / 300 <= 0.985
    assert naive_covered / 300 < 0.85  # as if events were independent


def test_the_clustered_value_is_the_difference_of_the_quantiles_of_all_events():
    rng = np.random.default_rng(4)
    (a, x), (b, y) = clustered(rng, 300, 0.5), clustered(rng, 300, 0.5, shift=0.4)
    for share in (0.5, 0.9):
        found = clustered_quantile_difference(a, b, share=share, n=(300, 300), alpha=0.05)
        assert found.value == pytest.approx(np.quantile(y, share) - np.quantile(x, share), abs=0.02)
    assert "at least 128" in clustered_quantile_difference(a, b, share=0.5, n=(100, 300), alpha=0.05).reason
    assert clustered_quantile_difference(a, b, share=0.9999, n=(300, 300), alpha=0.05).reason
