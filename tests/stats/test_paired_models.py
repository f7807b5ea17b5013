"""Paired comparisons against naive covariances, statsmodels and refits of the rows."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as oracle

from sparkds.errors import ConfigError, DataError
from sparkds.stats.paired_models import auc_difference, delong, mcnemar, mean_difference, paired_bootstrap


def world(seed=1, n=300, ties=False):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(float)
    base = rng.normal(0, 1, n) + y
    a, b = base + rng.normal(0, 0.6, n), 0.5 * base + rng.normal(0, 1, n)
    return (np.round(a, 1), np.round(b, 1), y) if ties else (a, b, y)


def naive(a, b, y):
    """Difference and its variance by O(n²) placements (DeLong et al. 1988, eq. 4-6)."""
    psi = lambda p, q: 1.0 if p > q else 0.5 if p == q else 0.0  # noqa: E731 - as in the paper
    tables = [np.array([[psi(p, q) for q in s[y == 0]] for p in s[y == 1]]) for s in (a, b)]
    s10 = np.cov(np.stack([t.mean(axis=1) for t in tables]))
    s01 = np.cov(np.stack([t.mean(axis=0) for t in tables]))
    s = s10 / (y == 1).sum() + s01 / (y == 0).sum()
    return tables[0].mean() - tables[1].mean(), s[0, 0] + s[1, 1] - 2 * s[0, 1]


@pytest.mark.parametrize("ties", [False, True])
def test_delong_equals_the_naive_covariance(ties):
    a, b, y = world(ties=ties)
    found = delong(a, b, y)
    value, variance = naive(a, b, y)
    assert found.value == pytest.approx(value, rel=1e-10)
    assert found.value == pytest.approx(roc_auc_score(y, a) - roc_auc_score(y, b), rel=1e-10)
    assert found.std_error == pytest.approx(math.sqrt(variance), rel=1e-10)
    assert found.pvalue == pytest.approx(math.erfc(abs(value) / math.sqrt(2 * variance)), rel=1e-8)
    assert (found.n_control, found.n_treatment) == ((y == 0).sum(), (y == 1).sum())


def test_joint_counts_give_what_their_rows_give():
    a, b, y = world(n=2_000, ties=True)
    cells, n = np.unique(np.stack([a, b, y]), axis=1, return_counts=True)
    assert len(n) < 1_900
    rows, counts = delong(a, b, y), delong(*cells, n=n)
    assert counts.value == pytest.approx(rows.value, rel=1e-12)
    assert counts.std_error == pytest.approx(rows.std_error, rel=1e-12)


def test_models_that_agree_cannot_be_told_apart():
    a, _, y = world()
    assert "rank all rows alike" in delong(a, 2 * a + 1, y).reason
    assert "at least two of each" in delong([1, 2], [2, 1], [0, 1]).reason
    assert "decide all rows alike" in mcnemar(0, 0, 10).reason
    found = paired_bootstrap(auc_difference(a, a, y), np.ones(len(y)), seed=1, replicates=50)
    assert "no spread" in found.reason
    assert math.isnan(found.value)


@pytest.mark.parametrize(("b", "c"), [(30, 12), (3, 9), (0, 5), (100, 100)])
@pytest.mark.parametrize("exact", [True, False])
def test_mcnemar_equals_that_of_statsmodels(b, c, exact):
    found = mcnemar(b, c, 400, exact="always" if exact else "never")
    wanted = oracle([[100, b], [c, 300 - b - c]], exact=exact, correction=False)
    assert found.statistic == pytest.approx(wanted.statistic)
    assert found.pvalue == pytest.approx(wanted.pvalue, rel=1e-10)
    assert found.value == pytest.approx((b - c) / 400)
    assert found.low < found.value < found.high
    assert ("exact" in mcnemar(b, c, 400).method) == (b + c < 25)


def test_the_bootstrap_agrees_with_delong_and_repeats_itself():
    a, b, y = world(n=800)
    found = paired_bootstrap(auc_difference(a, b, y), np.ones(len(y)), seed=3, replicates=400, of="AUC")
    wanted = delong(a, b, y)
    assert found.value == pytest.approx(wanted.value, rel=1e-12)
    assert found.std_error == pytest.approx(wanted.std_error, rel=0.12)
    assert found.low == pytest.approx(wanted.low, abs=0.25 * wanted.std_error + 0.005)
    assert found == paired_bootstrap(auc_difference(a, b, y), np.ones(len(y)), seed=3, replicates=400, of="AUC")
    assert found.low != paired_bootstrap(auc_difference(a, b, y), np.ones(len(y)), seed=4, replicates=400, of="AUC").low


def test_the_bootstrap_of_a_mean_has_its_standard_error():
    rng = np.random.default_rng(5)
    apart = rng.normal(0.1, 1, 1_000)
    found = paired_bootstrap(mean_difference(apart), np.ones(1_000), seed=1, replicates=800)
    assert found.value == pytest.approx(apart.mean())
    assert found.std_error == pytest.approx(apart.std() / math.sqrt(1_000), rel=0.1)
    assert paired_bootstrap(mean_difference([]), [], seed=1).reason


def test_bad_arguments_are_refused():
    with pytest.raises(DataError, match="1 and 2 scores"):
        delong([1.0], [1.0, 2.0], [0, 1])
    with pytest.raises(DataError, match="a label is 3"):
        delong([1.0], [1.0], [3])
    with pytest.raises(DataError, match="score is missing"):
        delong([math.nan], [1.0], [1])
    with pytest.raises(ConfigError, match="at most all rows"):
        mcnemar(8, 8, 10)
    with pytest.raises(ConfigError, match="at least 20"):
        paired_bootstrap(mean_difference([1.0]), [1], seed=1, replicates=3)
