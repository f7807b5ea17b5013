import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from sparkds.errors import ConfigError
from sparkds.stats.bayesian import beta_binomial, normal_effect

UNIFORM = (1.0, 1.0)
JEFFREYS = (0.5, 0.5)


def log_chance_by_sum(a_control, b_control, a_treatment, b_treatment):
    """Log of P(treatment > control) for a whole a_treatment: the sum of Evan Miller, "Formulas for Bayesian A/B testing" (2015)."""
    i = np.arange(a_treatment)
    terms = special.betaln(a_control + i, b_control + b_treatment) - np.log(b_treatment + i)
    return special.logsumexp(terms - special.betaln(1 + i, b_treatment) - special.betaln(a_control, b_control))


class TestNormal:
    def test_posterior_is_that_of_a_grid(self):
        grid = np.linspace(-3, 3, 200_001)
        mass = stats.norm.pdf(0.4, grid, 0.2) * stats.norm.pdf(grid, 0.1, 0.3)
        mass /= mass.sum()
        found = normal_effect(0.4, 0.2, prior_mean=0.1, prior_std=0.3, level=0.9)
        assert found.mean == pytest.approx(mass @ grid, rel=1e-9)
        assert found.std == pytest.approx(math.sqrt(mass @ (grid - mass @ grid) ** 2), rel=1e-9)
        assert found.chance_to_beat == pytest.approx(mass[grid > 0].sum(), abs=1e-5)
        assert found.log10_chance_to_lose == pytest.approx(math.log10(1 - found.chance_to_beat), rel=1e-9)
        assert found.loss_treatment == pytest.approx(mass @ np.maximum(-grid, 0), rel=1e-6)
        assert found.loss_control == pytest.approx(mass @ np.maximum(grid, 0), rel=1e-6)
        assert np.interp([0.05, 0.95], np.cumsum(mass), grid) == pytest.approx([found.low, found.high], abs=1e-4)

    def test_flat_prior_leaves_the_estimate(self):
        found = normal_effect(0.4, 0.2, prior_mean=0.0, prior_std=math.inf, level=0.95)
        assert (found.mean, found.std) == (0.4, 0.2)
        assert (found.low, found.high) == pytest.approx((0.4 - 1.959964 * 0.2, 0.4 + 1.959964 * 0.2), abs=1e-6)
        assert found.chance_to_beat == pytest.approx(stats.norm.cdf(2))

    def test_sharp_prior_leaves_the_prior(self):
        found = normal_effect(0.4, 0.2, prior_mean=-1.0, prior_std=1e-9, level=0.95)
        assert found.mean == pytest.approx(-1)
        assert found.std == pytest.approx(1e-9)

    @pytest.mark.parametrize("u", [0.0, 1.5, 8.0, 29.9, 30.1, 37.0])
    def test_loss_is_the_integral_of_the_normal_tail(self, u):
        found = normal_effect(u, 1.0, prior_mean=0.0, prior_std=math.inf, level=0.95)
        # E max(−X, 0) = ∫ Φ(−u − v) dv, taken out of its exponent
        scaled, _ = integrate.quad(lambda v: math.exp(special.log_ndtr(-u - v) - special.log_ndtr(-u)), 0, 50, epsrel=1e-12, limit=200)
        assert found.loss_treatment == pytest.approx(scaled * math.exp(special.log_ndtr(-u)), rel=1e-8)
        assert found.loss_control == pytest.approx(u + found.loss_treatment, rel=1e-12)

    def test_far_effects_stay_finite(self):
        for estimate in (1e3, 1e8, 1e150, 1e200):
            found = normal_effect(estimate, 1.0, prior_mean=0.0, prior_std=math.inf, level=0.95)
            assert found.chance_to_beat == 1
            assert estimate > 1e150 or math.isfinite(found.log10_chance_to_lose)
            assert found.loss_treatment == 0
            assert found.loss_control == estimate
        assert normal_effect(1e3, 1.0, prior_mean=0.0, prior_std=math.inf, level=0.95).log10_chance_to_lose == pytest.approx(
            stats.norm.logsf(1e3) / math.log(10), rel=1e-12
        )

    @pytest.mark.parametrize(("estimate", "error"), [(math.nan, 1.0), (1.0, math.nan), (1.0, 0.0), (math.inf, 1.0), (1.0, math.inf)])
    def test_no_standard_error_gives_a_reason(self, estimate, error):
        found = normal_effect(estimate, error, prior_mean=0.0, prior_std=1.0, level=0.95)
        assert math.isnan(found.mean)
        assert math.isnan(found.chance_to_beat)
        assert math.isnan(found.loss_control)
        assert "wait for more units" in found.reason


class TestChance:
    @settings(max_examples=60, deadline=None)
    @given(*[st.integers(1, 3_000)] * 4)
    def test_chance_to_beat_is_the_closed_sum(self, a, b, c, d):
        found = beta_binomial(a - 1, a + b - 2, c - 1, c + d - 2, prior=UNIFORM, level=0.9)
        win, lose = log_chance_by_sum(a, b, c, d), log_chance_by_sum(c, d, a, b)
        assert found.chance_to_beat == pytest.approx(math.exp(win), rel=1e-8)
        assert found.log10_chance_to_lose == pytest.approx(lose / math.log(10), rel=1e-8, abs=1e-8)

    def test_a_chance_beyond_doubles_has_a_finite_logarithm(self):
        found = beta_binomial(5_000, 100_000, 10_000, 100_000, prior=UNIFORM, level=0.9)
        expected = log_chance_by_sum(10_001, 90_001, 5_001, 95_001) / math.log(10)
        assert expected < -400
        assert found.log10_chance_to_lose == pytest.approx(expected, rel=1e-9)
        assert found.chance_to_beat == pytest.approx(1, abs=1e-14)
        assert found.loss_treatment == 0

    def test_chance_and_loss_meet_the_normal_at_a_hundred_million_units(self):
        n, control, treatment = 1e8, 5_000_000, 5_004_000
        found = beta_binomial(control, n, treatment, n, prior=UNIFORM, level=0.95)
        p, t = control / n, treatment / n
        error = math.sqrt((p * (1 - p) + t * (1 - t)) / n)
        normal = normal_effect(t - p, error, prior_mean=0.0, prior_std=math.inf, level=0.95)
        assert found.chance_to_beat == pytest.approx(normal.chance_to_beat, abs=1e-5)
        assert found.loss_treatment == pytest.approx(normal.loss_treatment, rel=1e-3)
        assert (found.low, found.high) == pytest.approx((normal.low, normal.high), abs=1e-3 * error)

    def test_hopeless_treatment_of_a_hundred_million_units_is_told_in_logarithms(self):
        found = beta_binomial(9e7, 1e8, 1e7, 1e8, prior=JEFFREYS, level=0.95)
        other = beta_binomial(1e7, 1e8, 9e7, 1e8, prior=JEFFREYS, level=0.95)
        assert found.chance_to_beat == 0
        assert found.log10_chance_to_lose == pytest.approx(0, abs=1e-9)
        # both shares are most easily one half: 2 n KL(0.1 || 0.5)
        assert other.log10_chance_to_lose == pytest.approx(-2e8 * (0.1 * math.log10(0.2) + 0.9 * math.log10(1.8)), rel=1e-6)


class TestLoss:
    @pytest.mark.parametrize("counts", [(3, 20, 5, 18), (0, 0, 4, 7), (40, 500, 90, 600), (200, 1_000, 100, 1_000)])
    def test_losses_are_the_double_integral(self, counts):
        found = beta_binomial(*counts, prior=UNIFORM, level=0.9)
        laws = [stats.beta(1 + counts[i], 1 + counts[i + 1] - counts[i]) for i in (0, 2)]
        # E max(C − T, 0) = ∫ P(T < x < C) dx
        for name, (above, below) in {"loss_treatment": laws, "loss_control": laws[::-1]}.items():
            middle = sorted(law.mean() for law in laws)
            expected, _ = integrate.quad(lambda x: below.cdf(x) * above.sf(x), 0, 1, points=middle, epsabs=0, epsrel=1e-10, limit=500)  # noqa: B023 - used at once
            assert getattr(found, name) == pytest.approx(expected, rel=1e-6)

    @given(st.integers(0, 50), st.integers(50, 80), st.integers(0, 50), st.integers(50, 80))
    @settings(max_examples=20, deadline=None)
    def test_losses_differ_by_the_mean_effect_and_swap_with_the_arms(self, a, n, b, m):
        found = beta_binomial(a, n, b, m, prior=JEFFREYS, level=0.9)
        swapped = beta_binomial(b, m, a, n, prior=JEFFREYS, level=0.9)
        assert found.loss_control - found.loss_treatment == pytest.approx(found.mean, abs=1e-10)
        assert swapped.loss_control == pytest.approx(found.loss_treatment, abs=1e-10)
        assert swapped.chance_to_beat == pytest.approx(1 - found.chance_to_beat, abs=1e-10)
        assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low), abs=1e-9)
        assert (1 + swapped.lift_low) * (1 + found.lift_high) == pytest.approx(1, rel=1e-7)


class TestIntervals:
    @pytest.mark.parametrize(
        "counts",
        [
            (50, 1_000, 70, 1_000),
            (0, 10, 0, 10),
            (3, 20, 15, 20),
            (5e6, 1e8, 0, 10),
            (0, 10, 5e6, 1e8),
            (50, 100, 100, 1e6),
            (10, 10, 9, 10),
        ],
    )
    def test_intervals_hold_their_share_of_a_million_draws(self, counts):
        rng = np.random.default_rng(4)
        found = beta_binomial(*counts, prior=JEFFREYS, level=0.9)
        control, treatment = (rng.beta(0.5 + counts[i], 0.5 + counts[i + 1] - counts[i], 1_000_000) for i in (0, 2))
        difference, lift = treatment - control, treatment / control - 1
        for values, low, high in ((difference, found.low, found.high), (lift, found.lift_low, found.lift_high)):
            assert np.mean(values < low) == pytest.approx(0.05, abs=1.2e-3)
            assert np.mean(values > high) == pytest.approx(0.05, abs=1.2e-3)
        assert np.mean(lift < found.lift_median) == pytest.approx(0.5, abs=2.5e-3)
        assert found.mean == pytest.approx(difference.mean(), abs=5 * found.std / 1e3)
        assert found.std == pytest.approx(difference.std(), rel=0.01)

    def test_interval_ends_are_quantiles_by_quadrature(self):
        found = beta_binomial(7, 30, 12, 28, prior=UNIFORM, level=0.95)
        control, treatment = stats.beta(8, 24), stats.beta(13, 17)
        for end, tail in ((found.low, 0.025), (found.high, 0.975)):
            below, _ = integrate.quad(lambda x: control.pdf(x) * treatment.cdf(x + end), 0, 1, epsabs=1e-13, limit=500)  # noqa: B023 - used at once
            assert below == pytest.approx(tail, abs=1e-9)
        for end, tail in ((found.lift_low, 0.025), (found.lift_median, 0.5), (found.lift_high, 0.975)):
            below, _ = integrate.quad(lambda x: control.pdf(x) * treatment.cdf(x * (1 + end)), 0, 1, epsabs=1e-13, limit=500)  # noqa: B023 - used at once
            assert below == pytest.approx(tail, abs=1e-9)

    def test_uniform_shares_without_units_have_triangular_difference(self):
        found = beta_binomial(0, 0, 0, 0, prior=UNIFORM, level=0.9)
        # P(T − C < −d) = (1 − d)² / 2
        assert found.high == pytest.approx(1 - math.sqrt(0.1), rel=1e-9)
        assert found.low == pytest.approx(-found.high, rel=1e-9)
        assert found.chance_to_beat == pytest.approx(0.5, rel=1e-12)
        # P(T / C < 1 + r) = (1 + r) / 2 below the median
        assert found.lift_low == pytest.approx(0.1 - 1, rel=1e-9)
        assert found.loss_treatment == pytest.approx(1 / 6, rel=1e-12)

    def test_arms_may_have_priors_of_their_own(self):
        found = beta_binomial(0, 0, 0, 0, prior=(3, 9), prior_treatment=(8, 2), level=0.9)
        assert found.mean == pytest.approx(0.8 - 0.25)
        assert found.chance_to_beat == pytest.approx(math.exp(log_chance_by_sum(3, 9, 8, 2)), rel=1e-9)


@pytest.mark.parametrize("counts", [(math.nan, 10, 1, 10), (1, 10, 1, math.nan)])
def test_counts_that_are_not_known_give_a_reason(counts):
    found = beta_binomial(*counts, prior=UNIFORM, level=0.9)
    assert math.isnan(found.chance_to_beat)
    assert math.isnan(found.lift_high)
    assert "count successes and units" in found.reason


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: normal_effect(1.0, 1.0, prior_mean=0.0, prior_std=0.0, level=0.9), "prior_std is 0.0"),
        (lambda: normal_effect(1.0, 1.0, prior_mean=math.nan, prior_std=1.0, level=0.9), "prior_mean is nan"),
        (lambda: normal_effect(1.0, -1.0, prior_mean=0.0, prior_std=1.0, level=0.9), "std_error is -1.0"),
        (lambda: normal_effect(1.0, 1.0, prior_mean=0.0, prior_std=1.0, level=95), "level is 95"),
        (lambda: beta_binomial(1, 10, 1, 10, prior=UNIFORM, level=1.0), "level is 1.0"),
        (lambda: beta_binomial(11, 10, 1, 10, prior=UNIFORM, level=0.9), r"successes_control is 11; give a number in \[0, 10\]"),
        (lambda: beta_binomial(1, 10, -1, 10, prior=UNIFORM, level=0.9), "successes_treatment is -1"),
        (lambda: beta_binomial(0, -1, 1, 10, prior=UNIFORM, level=0.9), "n_control is -1"),
        (lambda: beta_binomial(1, 10, 1, 10, prior=(0.0, 1.0), level=0.9), "prior a is 0.0"),
        (lambda: beta_binomial(1, 10, 1, 10, prior=UNIFORM, prior_treatment=(1.0, math.nan), level=0.9), "prior_treatment b is nan"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_allowed(make, told):
    with pytest.raises(ConfigError, match=told):
        make()
