"""Estimates: tails against references, intervals against scipy, and what is not computable."""

import math

import pytest
from scipy import integrate, special, stats

from sparkds.errors import ConfigError
from sparkds.stats.estimate import LN10, equivalence, estimate, log_t_sf, noninferiority, not_computable, on_ratio_scale


@pytest.mark.parametrize("df", [1, 2.5, 30, 1e3, 1e5, 1e7])
@pytest.mark.parametrize("t", [-3.0, 0.0, 0.5, 2.0, 8.0, 20.0])
def test_tails_equal_scipy_where_it_has_digits(t, df):
    assert log_t_sf(t, df) == pytest.approx(math.log(stats.t.sf(t, df)), rel=1e-12)


def by_quadrature(t, df):
    """log of the tail integral of the density relative to its value at t."""
    scale = (df + t * t) / ((df + 1) * t)
    inside = lambda v: math.exp(-(df + 1) / 2 * math.log1p((2 * t * scale * v + (scale * v) ** 2) / (df + t * t)))  # noqa: E731
    found, _ = integrate.quad(inside, 0, math.inf, epsabs=0, epsrel=1e-12, limit=500)
    return stats.t.logpdf(t, df) + math.log(scale) + math.log(found)


@pytest.mark.parametrize(("t", "df"), [(1e4, 100), (500.0, 400), (400.0, 2e3), (60.0, 3e3), (50.0, 1e5), (80.0, 1e6), (45.0, 1e9)])
def test_tails_too_small_for_a_double_equal_their_integral(t, df):
    found = log_t_sf(t, df)
    assert found < -600
    assert found == pytest.approx(by_quadrature(t, df), rel=1e-9)


def test_the_tail_of_a_power_law_is_right():
    # df = 100, t huge: sf ~ C t^-df, so that ten times t costs 100 decimal digits
    assert (log_t_sf(1e6, 100) - log_t_sf(1e7, 100)) / LN10 == pytest.approx(100, rel=1e-6)


def test_many_degrees_of_freedom_give_the_normal_tail():
    assert log_t_sf(50.0, math.inf) == pytest.approx(special.log_ndtr(-50))
    assert log_t_sf(50.0, 1e13) == pytest.approx(special.log_ndtr(-50), rel=1e-6)


def test_a_pvalue_below_every_double_keeps_its_logarithm():
    found = estimate(1.0, 0.01, alpha=0.05, method="z")
    assert found.pvalue == 0.0
    assert found.log10_pvalue == pytest.approx((math.log(2) + special.log_ndtr(-100)) / LN10)


@pytest.mark.parametrize("df", [5, math.inf])
def test_tests_and_intervals_agree_about_the_null(df):
    for value in (-3.0, -1.0, 0.3, 1.9, 2.6):
        for sides in ("two", "greater", "less"):
            found = estimate(value, 1.1, alpha=0.05, sides=sides, null=0.2, df=df, method="t")
            assert (found.pvalue < 0.05) == (not found.low < 0.2 < found.high)


def test_one_sided_intervals_are_open():
    assert estimate(1, 1, alpha=0.05, sides="greater", method="z").high == math.inf
    assert estimate(1, 1, alpha=0.05, sides="less", method="z").low == -math.inf
    assert estimate(1, 1, alpha=0.05, sides="greater", method="z").low == pytest.approx(1 - 1.6448536269514722)


def test_a_variance_of_zero_and_missing_numbers_have_a_reason():
    for value, error in ((1.0, 0.0), (math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0)):
        found = estimate(value, error, alpha=0.05, method="z", n_control=3)
        assert found.reason
        assert math.isnan(found.value)
        assert math.isnan(found.pvalue)
        assert found.n_control == 3


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="alpha"):
        estimate(1, 1, alpha=1.5, method="z")
    with pytest.raises(ConfigError, match="sides"):
        estimate(1, 1, alpha=0.05, sides="both", method="z")


def test_noninferiority_tests_against_the_margin():
    effect = estimate(-0.5, 0.4, alpha=0.05, method="z")
    found = noninferiority(effect, margin=1.0, increase_is_better=True, alpha=0.05)
    assert found.pvalue == pytest.approx(stats.norm.sf((-0.5 + 1.0) / 0.4))
    assert (found.low, found.high) == (pytest.approx(-0.5 - 1.6448536269514722 * 0.4), math.inf)
    worse = noninferiority(effect, margin=1.0, increase_is_better=False, alpha=0.05)
    assert worse.pvalue == pytest.approx(stats.norm.cdf((-0.5 - 1.0) / 0.4))


def test_equivalence_is_the_worse_of_two_one_sided_tests():
    sm = pytest.importorskip("statsmodels.stats.weightstats")
    import numpy as np

    x = np.array([1.0, 2.5, 2.0, 1.5, 3.0, 2.2])
    described = sm.DescrStatsW(x)
    pvalue, _, _ = described.ttost_mean(1.0, 3.0)
    effect = estimate(x.mean() - 2.0, x.std(ddof=1) / math.sqrt(6), alpha=0.05, df=5, method="t")
    found = equivalence(effect, margin=1.0, alpha=0.05, df=5)
    assert found.pvalue == pytest.approx(pvalue)
    assert found.high - found.low == pytest.approx(2 * stats.t.isf(0.05, 5) * effect.std_error)


def test_reasons_pass_through_the_transformations():
    nothing = not_computable("z", "no units")
    assert on_ratio_scale(nothing) is nothing
    assert noninferiority(nothing, margin=1, increase_is_better=True, alpha=0.05) is nothing
    assert equivalence(nothing, margin=1, alpha=0.05) is nothing
