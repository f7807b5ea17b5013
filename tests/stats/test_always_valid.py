import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from sparkds.errors import ConfigError
from sparkds.stats.always_valid import confidence_sequence, inflation_factor, msprt, tuning_rho


def test_width_is_the_theorem_of_waudby_smith_and_others():
    n, sigma, alpha, rho = 5_000, 3.0, 0.05, 0.03
    found = confidence_sequence([1.0], [sigma / math.sqrt(n)], [n], alpha=alpha, rho=rho)
    # thm 2.2 in the paper's letters: t, sigma_t, rho
    width = sigma * math.sqrt(2 * (n * rho**2 + 1) / (n**2 * rho**2) * math.log(math.sqrt(n * rho**2 + 1) / alpha))
    assert found.low[0] == pytest.approx(1 - width, rel=1e-12)
    assert found.high[0] == pytest.approx(1 + width, rel=1e-12)


def test_one_sided_width_is_that_of_the_appendix():
    n, sigma, alpha, rho = 5_000, 3.0, 0.05, 0.03
    found = confidence_sequence([1.0], [sigma / math.sqrt(n)], [n], alpha=alpha, rho=rho, sides=1)
    width = sigma * math.sqrt(2 * (n * rho**2 + 1) / (n**2 * rho**2) * math.log(1 + math.sqrt(n * rho**2 + 1) / (2 * alpha)))
    assert found.low[0] == pytest.approx(1 - width, rel=1e-12)
    assert found.high[0] == math.inf
    two = confidence_sequence([1.0], [sigma / math.sqrt(n)], [n], alpha=alpha, rho=rho)
    assert found.low[0] > two.low[0]


@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_tuned_rho_gives_the_narrowest_interval_at_its_number_of_units(alpha):
    def width(log_rho):
        return confidence_sequence([0.0], [0.1], [20_000], alpha=alpha, rho=math.exp(log_rho)).high[0]

    best = optimize.minimize_scalar(width, bounds=(-12, 0), method="bounded", options={"xatol": 1e-10}).x
    assert tuning_rho(20_000, alpha=alpha) == pytest.approx(math.exp(best), rel=1e-4)
    # the paper's approximation, app. B.2
    close = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / 20_000)
    assert tuning_rho(20_000, alpha=alpha) == pytest.approx(close, rel=0.05)


def test_one_sided_rho_is_that_of_twice_the_alpha():
    assert tuning_rho(100, alpha=0.05, sides=1) == tuning_rho(100, alpha=0.1)


@pytest.mark.parametrize(("estimate", "std_error", "tau"), [(0.3, 0.1, 0.2), (-0.02, 0.01, 0.5), (0.0, 1.0, 0.1), (2.0, 1.0, 30.0)])
def test_msprt_is_the_likelihood_ratio_mixed_over_a_normal(estimate, std_error, tau):
    def mixed(effect):
        ratio = effect * estimate / std_error**2 - effect**2 / (2 * std_error**2)
        return math.exp(ratio) * stats.norm.pdf(effect, 0, tau)

    mixture, _ = integrate.quad(mixed, -20 * tau, 20 * tau, points=[estimate, 0.0], limit=500, epsrel=1e-10)
    found = msprt([estimate], [std_error], alpha=0.05, tau=tau)
    assert found.pvalue[0] == pytest.approx(min(1.0, 1 / mixture), rel=1e-6)


def test_msprt_is_the_formula_of_johari_and_others():
    n, variance, tau, mean = 400, 9.0, 0.3, 0.5
    ratio = math.sqrt(variance / (variance + n * tau**2)) * math.exp(n**2 * tau**2 * mean**2 / (2 * variance * (variance + n * tau**2)))
    found = msprt([mean], [math.sqrt(variance / n)], alpha=0.05, tau=tau)
    assert found.pvalue[0] == pytest.approx(1 / ratio, rel=1e-12)


def test_the_two_methods_are_one_mixture():
    n = np.array([500, 1_000, 4_000])
    estimate, error = np.array([0.3, 0.2, 0.1]), 2.0 / np.sqrt(n)
    tau = 0.15
    one = msprt(estimate, error, alpha=0.05, tau=tau)
    other = confidence_sequence(estimate, error, n, alpha=0.05, rho=tau / 2.0)
    assert one.low == pytest.approx(other.low, rel=1e-12)
    assert one.log10_pvalue == pytest.approx(other.log10_pvalue, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("method", ["two-sided", "one-sided", "msprt"])
def test_p_value_is_alpha_when_the_interval_ends_at_the_null(method, alpha):
    def read(estimate):
        if method == "msprt":
            return msprt([estimate], [0.1], alpha=alpha, tau=0.3)
        return confidence_sequence([estimate], [0.1], [900], alpha=alpha, rho=0.05, sides=1 if method == "one-sided" else 2)

    edge = -read(0.0).low[0]
    assert read(edge).low[0] == pytest.approx(0, abs=1e-12)
    assert read(edge).pvalue[0] == pytest.approx(alpha, rel=1e-9)
    assert read(edge * 1.001).pvalue[0] < alpha < read(edge * 0.999).pvalue[0]


def test_p_value_never_rises_again_and_intervals_do_move():
    found = msprt([0.5, 0.4, 0.0], [0.1, 0.09, 0.08], alpha=0.05, tau=0.2)
    assert found.pvalue[2] == found.pvalue[1] == found.pvalue[0]
    assert found.low[2] < 0 < found.low[0]


def test_an_estimate_against_a_one_sided_claim_has_p_one():
    found = confidence_sequence([-0.5, 0.0], [0.1, 0.1], [900, 1_000], alpha=0.05, rho=0.05, sides=1)
    assert list(found.pvalue) == [1, 1]


def test_a_null_moves_the_p_value_and_not_the_interval():
    here, there = (msprt([0.5], [0.1], alpha=0.05, tau=0.2, null=null) for null in (0.0, 0.5))
    assert here.low[0] == there.low[0]
    assert there.pvalue[0] == 1
    assert here.pvalue[0] < 0.01


@pytest.mark.parametrize(("value", "error", "n"), [(math.nan, 1.0, 10), (1.0, math.nan, 10), (1.0, 0.0, 10), (1.0, 1.0, 0)])
def test_a_look_that_says_nothing_has_a_reason_and_harms_no_other(value, error, n):
    found = confidence_sequence([3.0, value, 3.0], [1.0, error, 1.0], [100, n, 300], alpha=0.05, rho=0.1)
    assert found.reason[0] == found.reason[2] == ""
    assert "wait for more units" in found.reason[1]
    assert np.isnan([found.low[1], found.high[1], found.pvalue[1], found.log10_pvalue[1]]).all()
    assert found.pvalue[2] == pytest.approx(confidence_sequence([3.0, 3.0], [1.0, 1.0], [100, 300], alpha=0.05, rho=0.1).pvalue[1])


def test_no_look_gives_empty_arrays():
    found = msprt([], [], alpha=0.05, tau=1.0)
    assert found.low.shape == (0,)
    assert found.reason == ()


@pytest.mark.parametrize("sides", [1, 2])
def test_far_and_tiny_numbers_stay_finite(sides):
    found = confidence_sequence([1e4, 1e4, 1.0], [1.0, 1e-170, 1e160], [10**12] * 3, alpha=1e-9, rho=1e-3, sides=sides)
    assert np.isfinite(found.log10_pvalue).all()
    assert found.pvalue[0] == 0
    assert found.log10_pvalue[0] == pytest.approx(-0.5e8 / math.log(10), rel=1e-3)
    assert np.isfinite(found.low[:2]).all()
    assert np.isfinite(msprt([1e4, 1.0], [1e-170, 1e170], alpha=0.05, tau=1.0).log10_pvalue).all()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: msprt([1.0], [1.0], alpha=0.05, tau=0.0), "tau is 0"),
        (lambda: msprt([1.0], [1.0], alpha=1.5, tau=1.0), "alpha is 1.5"),
        (lambda: msprt([1.0], [-1.0], alpha=0.05, tau=1.0), "std_error is -1"),
        (lambda: msprt([1.0, 2.0], [1.0], alpha=0.05, tau=1.0), "2 estimates and 1 standard errors"),
        (lambda: confidence_sequence([1.0], [1.0], [1, 2], alpha=0.05, rho=1.0), "1 estimates and 2 numbers"),
        (lambda: confidence_sequence([1.0], [1.0], [1], alpha=0.05, rho=math.nan), "rho is nan"),
        (lambda: confidence_sequence([1.0], [1.0], [1], alpha=0.6, rho=1.0, sides=1), "alpha is 0.6"),
        (lambda: confidence_sequence([1.0], [1.0], [1], alpha=0.05, rho=1.0, sides=0), "sides is 0"),
        (lambda: tuning_rho(0, alpha=0.05), "n_star is 0"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_allowed(make, told):
    with pytest.raises(ConfigError, match=told):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["two-sided", "one-sided", "msprt"])
def test_daily_looks_at_an_experiment_without_effect_reject_at_most_alpha_of_the_time(method):
    rng = np.random.default_rng(12)
    n_runs, per_day, days, start = 20_000, 10, 60, 10  # units an arm; the first look has a hundred of them
    n = 2 * per_day * np.arange(1, days + 1)
    totals, squares = np.zeros((2, n_runs)), np.zeros((2, n_runs))
    estimates, errors = np.empty((days, n_runs)), np.empty((days, n_runs))
    for day in range(days):
        values = rng.exponential(size=(2, n_runs, per_day))  # a skewed metric
        totals += values.sum(axis=2)
        squares += (values**2).sum(axis=2)
        count = n[day] / 2
        mean = totals / count
        estimates[day] = mean[1] - mean[0]
        errors[day] = np.sqrt(((squares / count - mean**2) / (count - 1)).sum(axis=0))
    rho = tuning_rho(n[-1], alpha=0.05, sides=1 if method == "one-sided" else 2)
    rejected = np.zeros(n_runs, dtype=bool)
    for run in range(n_runs):
        told = (estimates[start:, run], errors[start:, run])
        if method == "msprt":
            rejected[run] = msprt(*told, alpha=0.05, tau=0.1).pvalue[-1] <= 0.05
        else:
            found = confidence_sequence(*told, n[start:], alpha=0.05, rho=rho, sides=1 if method == "one-sided" else 2)
            rejected[run] = found.pvalue[-1] <= 0.05
    assert 0.002 < rejected.mean() < 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_runs)


@pytest.mark.parametrize("sides", [1, 2])
def test_units_times_the_inflation_factor_give_the_power_at_the_last_look(sides):
    alpha, power, fixed = 0.05, 0.8, 1_000
    drift = (stats.norm.isf(alpha / sides) + stats.norm.ppf(power)) / math.sqrt(fixed)
    n = fixed * inflation_factor(alpha=alpha, power=power, sides=sides)
    rho = tuning_rho(n, alpha=alpha, sides=sides)
    found = confidence_sequence([drift], [1 / math.sqrt(n)], [n], alpha=alpha, rho=rho, sides=sides)
    reach = (drift - found.low[0]) * math.sqrt(n)  # what the standardised estimate must exceed
    assert stats.norm.sf(reach - drift * math.sqrt(n)) == pytest.approx(power, abs=1e-3)


def test_an_inflation_factor_refuses_a_power_below_alpha():
    with pytest.raises(ConfigError, match="power is 0.01"):
        inflation_factor(alpha=0.05, power=0.01)
