"""Distances between binned samples against naive formulas and SciPy, and what they come to by chance."""

import math

import numpy as np
import pytest
from scipy import stats

from sparkds.stats.shift import (
    added_up,
    adjacent_groups,
    excess_pvalue,
    expected_psi,
    frequent_groups,
    homogeneity_pvalue,
    ks,
    means_pvalue,
    psi,
    share_pvalue,
    unseen_pvalue,
    unseen_share,
)

RNG = np.random.default_rng(5)


def naive_psi(reference, compared):
    total = 0.0
    k = len(reference)
    for a, b in zip(reference, compared, strict=True):
        p = (a + 0.5) / (sum(reference) + 0.5 * k)
        q = (b + 0.5) / (sum(compared) + 0.5 * k)
        total += (q - p) * math.log(q / p)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_psi_is_the_sum_that_everybody_writes_with_half_a_row_added(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 50, 8), rng.integers(0, 90, 8)
    assert psi(a, b) == pytest.approx(naive_psi(a.tolist(), b.tolist()), rel=1e-12)
    assert psi(a, b) == pytest.approx(psi(b, a)) if a.sum() == b.sum() else psi(a, b) >= 0


def test_psi_of_large_samples_is_the_customary_one_and_an_empty_group_gives_a_finite_number():
    a, b = np.array([4000, 3000, 3000]), np.array([2000, 3000, 5000])
    p, q = a / a.sum(), b / b.sum()
    assert psi(a, b) == pytest.approx(float(((q - p) * np.log(q / p)).sum()), rel=1e-3)
    assert 0 < psi([100, 100, 0], [100, 50, 50]) < math.inf


@pytest.mark.parametrize(("reference", "compared"), [([], []), ([3], [4]), ([1, 2], [0, 0])])
def test_no_distance_of_less_than_two_groups_or_an_empty_sample(reference, compared):
    assert math.isnan(psi(reference, compared))
    assert math.isnan(homogeneity_pvalue(reference, compared))


def test_psi_without_a_shift_has_the_expectation_that_is_stated():
    p = np.full(10, 0.1)
    found = [psi(RNG.multinomial(900, p), RNG.multinomial(400, p)) for _ in range(2_000)]
    assert np.mean(found) == pytest.approx(expected_psi(10, 900, 400), rel=0.06)
    scaled = np.array(found) / (1 / 900 + 1 / 400)
    assert np.var(scaled) == pytest.approx(2 * 9, rel=0.2)  # chi-squared with nine degrees of freedom


@pytest.mark.parametrize("seed", range(5))
def test_homogeneity_is_scipys_chi_squared_test(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(1, 50, 6), rng.integers(1, 90, 6)
    assert homogeneity_pvalue(a, b) == pytest.approx(stats.chi2_contingency([a, b], correction=False).pvalue, rel=1e-9)
    assert homogeneity_pvalue([*a, 0], [*b, 0]) == pytest.approx(homogeneity_pvalue(a, b))


@pytest.mark.parametrize("seed", range(8))
def test_ks_of_counts_is_scipys_on_the_binned_values(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 40, 12), rng.integers(0, 70, 12)
    expanded = [np.repeat(np.arange(12), counts) for counts in (a, b)]
    oracle = stats.ks_2samp(*expanded, method="asymp")
    found = ks(a, b, exact=True)
    assert found.distance == pytest.approx(oracle.statistic, abs=1e-12)
    assert found.bound == found.distance
    n, m = a.sum(), b.sum()
    assert found.pvalue == pytest.approx(stats.kstwobign.sf(oracle.statistic * math.sqrt(n * m / (n + m))), rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_the_distance_without_bins_lies_between_the_binned_one_and_its_bound(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=300), rng.normal(rng.choice([0, 0.3]), rng.choice([1, 2]), size=200)
    edges = np.quantile(x, np.arange(1, 10) / 10)
    a, b = (np.bincount(np.searchsorted(edges, z, side="right"), minlength=10) for z in (x, y))
    found, exact = ks(a, b), stats.ks_2samp(x, y).statistic
    assert found.distance <= exact + 1e-12
    assert exact <= found.bound + 1e-12


def test_groups_of_bins_are_adjacent_and_about_equal_and_no_more_than_the_smaller_sample_can_fill():
    reference = np.full(50, 20)
    groups = adjacent_groups(reference, 10_000)
    assert (np.diff(groups) >= 0).all()
    assert added_up(reference, groups).tolist() == [100] * 10
    assert adjacent_groups(reference, 65).max() + 1 == 3
    assert adjacent_groups(np.array([1000, 1, 1]), 1000).max() == 1  # one heavy bin cannot be cut


def test_frequent_categories_have_groups_of_their_own_and_the_others_share_the_last():
    assert frequent_groups(np.array([500, 3, 400, 97]), 1000).tolist() == [0, 3, 1, 2]
    assert frequent_groups(np.array([500, 3, 400, 97]), 100).tolist() == [0, 2, 1, 2]
    assert frequent_groups(np.full(30, 1000), 10_000).max() == 9


def test_tests_of_shares_and_means_are_the_textbook_ones():
    p = (30 + 45) / (100 + 90)
    z = (0.3 - 0.5) / math.sqrt(p * (1 - p) * (1 / 100 + 1 / 90))
    assert share_pvalue(30, 100, 45, 90) == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert excess_pvalue(45, 90, 30, 100) == pytest.approx(stats.norm.sf(abs(z)))
    assert excess_pvalue(30, 100, 45, 90) == pytest.approx(1 - stats.norm.sf(abs(z)))
    assert share_pvalue(0, 5, 0, 9) == share_pvalue(5, 5, 9, 9) == 1
    assert math.isnan(share_pvalue(0, 0, 1, 2))
    assert means_pvalue(1, 4, 100, 2, 9, 100) == pytest.approx(2 * stats.norm.sf(1 / math.sqrt(0.13)))
    assert (means_pvalue(1, 0, 9, 1, 0, 9), means_pvalue(1, 0, 9, 2, 0, 9)) == (1.0, 0.0)
    assert math.isnan(means_pvalue(1, 1, 1, 2, 1, 9))


def test_the_share_of_unseen_categories_is_what_good_and_turing_expect():
    weights = 1 / np.arange(1, 400)
    p = weights / weights.sum()
    told, seen, pvalues = [], [], []
    for _ in range(300):
        train, new = RNG.choice(len(p), 500, p=p), RNG.choice(len(p), 200, p=p)
        once, twice = (int((np.bincount(train) == times).sum()) for times in (1, 2))
        told.append(unseen_share(once, 500))
        seen.append(np.mean(~np.isin(new, train)))
        pvalues.append(unseen_pvalue(seen[-1] * 200, 200, once, twice, 500))
    assert np.mean(told) == pytest.approx(np.mean(seen), rel=0.05)
    assert np.mean(np.array(pvalues) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert math.isnan(unseen_share(0, 0))
