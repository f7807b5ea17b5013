"""Sample ratio against scipy, exact sums and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from sparkds.errors import ConfigError
from sparkds.stats.sample_ratio import phased_sample_ratio, sample_ratio, sequential_sample_ratio


@pytest.mark.parametrize(
    ("counts", "weights"), [([5000, 5200], [1, 1]), ([300, 310, 620], [0.25, 0.25, 0.5]), ([20, 25, 28, 19], [1, 1, 1, 1])]
)
def test_large_counts_equal_scipys_chi_square(counts, weights):
    found = sample_ratio(counts, weights, alpha=0.001)
    share = np.array(weights) / sum(weights)
    wanted = stats.chisquare(counts, share * sum(counts))
    assert (found.statistic, found.pvalue) == (pytest.approx(wanted.statistic), pytest.approx(wanted.pvalue))
    assert found.df == len(counts) - 1
    assert found.largest_deviation == pytest.approx(max(abs(np.array(counts) / sum(counts) - share) / share))


def test_small_counts_of_two_arms_equal_the_binomial_test():
    found = sample_ratio([1, 7], [0.4, 0.6], alpha=0.001)
    assert found.pvalue == pytest.approx(stats.binomtest(1, 8, 0.4).pvalue)
    assert found.method.startswith("exact")


def test_small_counts_of_three_arms_sum_the_outcomes_that_are_not_more_likely():
    n, share = [3, 0, 4], [0.2, 0.3, 0.5]
    chance = lambda a, b, c: math.factorial(7) / math.prod(map(math.factorial, (a, b, c))) * 0.2**a * 0.3**b * 0.5**c  # noqa: E731
    seen = chance(*n)
    wanted = sum(chance(a, b, 7 - a - b) for a in range(8) for b in range(8 - a) if chance(a, b, 7 - a - b) <= seen * (1 + 1e-12))
    assert sample_ratio(n, share, alpha=0.001).pvalue == pytest.approx(wanted)


def test_an_arm_without_weight_is_no_part_of_the_statistic_and_is_told():
    found = sample_ratio([500, 510, 3], [0.5, 0.5, 0.0], alpha=0.001)
    assert found.zero_weight_traffic
    assert found.df == 1
    assert found.pvalue == pytest.approx(stats.chisquare([500, 510]).pvalue)
    assert not sample_ratio([500, 510, 0], [0.5, 0.5, 0.0], alpha=0.001).zero_weight_traffic


def test_a_hopeless_mismatch_keeps_its_logarithm():
    found = sample_ratio([1_000_000, 1_200_000], [1, 1], alpha=0.001)
    assert found.pvalue == 0.0
    assert -9000 < found.log10_pvalue < -3000


def test_phases_add_statistics_and_degrees_of_freedom():
    parts = [([100, 130], [0.5, 0.5]), ([400, 90], [0.8, 0.2]), ([0, 0], [0.5, 0.5])]
    found = phased_sample_ratio(parts, alpha=0.001)
    single = [sample_ratio(n, w, alpha=0.001) for n, w in parts[:2]]
    assert found.statistic == pytest.approx(sum(s.statistic for s in single))
    assert found.df == 2
    assert found.pvalue == pytest.approx(stats.chi2.sf(found.statistic, 2))
    # the whole would look mismatched under either plan, the phases are not
    assert sample_ratio([500, 220], [0.5, 0.5], alpha=0.001).pvalue < 1e-10


def test_no_units_have_a_reason():
    assert sample_ratio([0, 0], [1, 1], alpha=0.001).reason
    assert sequential_sample_ratio([[0, 0]], [1, 1]).reason
    assert phased_sample_ratio([([0, 0], [1, 1])], alpha=0.001).reason


@pytest.mark.parametrize(("counts", "weights"), [([1, 2], [1.0]), ([1, -2], [1, 1]), ([1, 2], [0, 0]), ([1, 2], [1, -1])])
def test_what_makes_no_sense_is_refused(counts, weights):
    with pytest.raises(ConfigError, match="one of each per arm"):
        sample_ratio(counts, weights, alpha=0.001)


def test_the_bayes_factor_is_the_ratio_of_the_two_likelihoods():
    n, share, c = np.array([30, 55]), np.array([0.4, 0.6]), 50.0
    found = sequential_sample_ratio([n], share.tolist(), concentration=c)
    wanted = stats.dirichlet_multinomial.logpmf(n, c * share, n.sum()) - stats.multinomial.logpmf(n, n.sum(), share)
    assert found.statistic == pytest.approx(wanted)


def test_looking_every_day_rarely_flags_a_true_plan_and_finds_a_mismatch():
    rng = np.random.default_rng(1)
    flagged = 0
    for _ in range(400):
        cumulative = np.cumsum(rng.multinomial(500, [0.5, 0.5], size=30), axis=0)
        flagged += sequential_sample_ratio(cumulative, [0.5, 0.5], concentration=1000.0).pvalue < 0.05
    assert flagged <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)
    skewed = np.cumsum(rng.multinomial(2000, [0.48, 0.52], size=30), axis=0)
    assert sequential_sample_ratio(skewed, [0.5, 0.5]).pvalue < 1e-6
