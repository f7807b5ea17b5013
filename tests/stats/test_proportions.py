"""Shares against statsmodels and scipy, intervals against published tables."""

import math

import pytest
from scipy import special, stats

from sparkds.errors import ConfigError
from sparkds.stats.estimate import LN10
from sparkds.stats.proportions import chi_square_arms, exact_two_proportions, log_chi2_sf, relative_risk, two_proportions

sm = pytest.importorskip("statsmodels.stats.proportion")
COUNTS = [(50, 1000, 70, 1000), (3, 40, 9, 35), (500, 12_000, 480, 9_000), (10, 10_000, 25, 9_900)]


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize(("sides", "alternative"), [("two", "two-sided"), ("greater", "larger"), ("less", "smaller")])
def test_the_z_test_equals_statsmodels(counts, sides, alternative):
    x_c, n_c, x_t, n_t = counts
    found = two_proportions(*counts, alpha=0.05, sides=sides)
    statistic, pvalue = sm.proportions_ztest([x_t, x_c], [n_t, n_c], alternative=alternative)
    assert (found.statistic, found.pvalue) == (pytest.approx(statistic), pytest.approx(pvalue))
    assert found.log10_pvalue == pytest.approx(math.log10(pvalue))
    unpooled = two_proportions(*counts, alpha=0.05, sides=sides, variance="unpooled", null=0.01)
    wanted = sm.test_proportions_2indep(x_t, n_t, x_c, n_c, value=0.01, method="wald", compare="diff", alternative=alternative)
    assert unpooled.pvalue == pytest.approx(wanted.pvalue, rel=1e-9)


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize(("interval", "method"), [("wald", "wald"), ("newcombe", "newcomb"), ("agresti_caffo", "agresti-caffo")])
def test_intervals_equal_statsmodels(counts, interval, method):
    x_c, n_c, x_t, n_t = counts
    found = two_proportions(*counts, alpha=0.1, interval=interval)
    low, high = sm.confint_proportions_2indep(x_t, n_t, x_c, n_c, method=method, compare="diff", alpha=0.1)
    assert (found.low, found.high) == (pytest.approx(low, abs=2e-6), pytest.approx(high, abs=2e-6))


def test_newcombes_published_example():
    # Newcombe (1998), table II: 56/70 - 48/80, method 10: 0.0524 to 0.3339; method 1 (Wald): 0.0575 to 0.3425
    found = two_proportions(48, 80, 56, 70, alpha=0.05)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)
    wald = two_proportions(48, 80, 56, 70, alpha=0.05, interval="wald")
    assert (round(wald.low, 4), round(wald.high, 4)) == (0.0575, 0.3425)
    # method 6 (Miettinen-Nurminen): 0.0528 to 0.3382; statsmodels inverts another score and differs in the third digit
    score = two_proportions(48, 80, 56, 70, alpha=0.05, interval="miettinen_nurminen")
    assert (round(score.low, 4), round(score.high, 4)) == (0.0528, 0.3382)


def test_the_continuity_correction_is_that_of_the_corrected_chi_square():
    x_c, n_c, x_t, n_t = 30, 100, 45, 110
    found = two_proportions(x_c, n_c, x_t, n_t, alpha=0.05, continuity=True)
    wanted = stats.chi2_contingency([[x_t, x_c], [n_t - x_t, n_c - x_c]], correction=True)
    assert found.pvalue == pytest.approx(wanted.pvalue)


@pytest.mark.parametrize("method", ["fisher", "boschloo", "barnard"])
@pytest.mark.parametrize("sides", ["two", "greater", "less"])
def test_exact_tests_are_scipys(method, sides):
    found = exact_two_proportions(2, 12, 7, 11, alpha=0.05, sides=sides, method=method)
    table = [[7, 2], [4, 10]]
    alternative = "two-sided" if sides == "two" else sides
    test = {"fisher": lambda: stats.fisher_exact(table, alternative=alternative)[1]}.get(
        method, lambda: getattr(stats, f"{method}_exact")(table, alternative=alternative).pvalue
    )
    assert found.pvalue == pytest.approx(test())


def test_an_exact_test_works_where_no_unit_or_every_unit_succeeds():
    found = exact_two_proportions(0, 30, 0, 30, alpha=0.05)
    assert (found.value, found.pvalue, found.reason) == (0.0, 1.0, "")
    assert "variance is 0" in two_proportions(0, 30, 0, 30, alpha=0.05).reason
    extreme = exact_two_proportions(0, 30, 30, 30, alpha=0.05)
    assert extreme.value == 1.0
    assert extreme.pvalue == pytest.approx(stats.fisher_exact([[30, 0], [0, 30]])[1])


def test_relative_risk_has_katzs_interval():
    found = relative_risk(48, 80, 56, 70, alpha=0.05)
    low, high = sm.confint_proportions_2indep(56, 70, 48, 80, method="log", compare="ratio", alpha=0.05)
    assert (found.low + 1, found.high + 1) == (pytest.approx(low), pytest.approx(high))
    assert "no success" in relative_risk(0, 80, 5, 70, alpha=0.05).reason


def test_chi_square_over_arms_equals_scipy():
    found = chi_square_arms([30, 45, 40], [100, 110, 130])
    wanted = stats.chi2_contingency([[30, 45, 40], [70, 65, 90]], correction=False)
    assert (found.statistic, found.df, found.pvalue) == (pytest.approx(wanted.statistic), 2, pytest.approx(wanted.pvalue))
    assert chi_square_arms([0, 0], [10, 10]).reason
    assert chi_square_arms([1], [10]).reason


def test_tails_of_chi_square_stay_finite():
    for df in (1, 2, 3, 7):
        assert log_chi2_sf(20.0, df) == pytest.approx(math.log(stats.chi2.sf(20, df)))
    assert log_chi2_sf(10_000.0, 2) == pytest.approx(-5000)  # exact: exp(-x / 2)
    assert log_chi2_sf(10_000.0, 1) == pytest.approx(math.log(2) + special.log_ndtr(-100.0))
    x = 2_500.0  # df 4: exp(-x) (1 + x)
    assert log_chi2_sf(2 * x, 4) == pytest.approx(-x + math.log1p(x))


def test_a_huge_difference_keeps_its_logarithm():
    found = two_proportions(100_000, 1_000_000, 200_000, 1_000_000, alpha=0.05)
    assert found.pvalue == 0.0
    assert found.log10_pvalue == pytest.approx((math.log(2) + special.log_ndtr(-found.statistic)) / LN10)
    assert math.isfinite(found.log10_pvalue)


@pytest.mark.parametrize(("counts", "reason"), [((0, 0, 1, 5), "control arm has no unit"), ((1, 5, 7, 5), "7 successes of 5 units")])
def test_counts_that_make_no_sense_have_a_reason(counts, reason):
    assert reason in two_proportions(*counts, alpha=0.05).reason
    assert reason in exact_two_proportions(*counts, alpha=0.05).reason


def test_an_unknown_method_is_refused():
    with pytest.raises(ConfigError, match="interval is 'wilson'"):
        two_proportions(1, 5, 2, 5, alpha=0.05, interval="wilson")
