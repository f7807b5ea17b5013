import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import NormalIndPower, TTestIndPower
from statsmodels.stats.proportion import power_proportions_2indep, power_ztost_prop, samplesize_proportions_2indep_onetail

from sparkds.errors import ConfigError
from sparkds.stats.designs import Hypothesis, MeanDesign, ProportionDesign, RatioDesign, cuped_factor, design_effect
from sparkds.stats.power import (
    duration_weeks,
    minimum_detectable_effect,
    minimum_margin,
    power,
    power_curve,
    sample_size,
    sensitivity,
)
from sparkds.stats.rejection import exact_power

TWO_SIDED = Hypothesis(kind="two-sided", alpha=0.05)
SHARE = ProportionDesign(baseline=0.05, test="pooled")
MEAN = MeanDesign(std=2.0, test="t", baseline=10.0)


def n_of(*args, **kwargs):
    found = sample_size(*args, **kwargs)
    assert found.n is not None, found.reason
    return found.n


class TestShares:
    # Fleiss, Levin, Paik (2003) eq. 4.14 by hand: (1.959964·√(2·0.0525·0.9475) + 0.841621·√(0.05·0.95 + 0.055·0.945))² / 0.005²
    # = 31 233.4; R's power.prop.test(p1 = .05, p2 = .055, power = .8) is the same formula
    # unpooled, Chow, Shao, Wang (2008) sec. 4.2: (1.959964 + 0.841621)² · (0.0475 + 0.051975) / 0.005² = 31 230.8
    @pytest.mark.parametrize(
        ("test", "continuity", "n"),
        [("pooled", False, 31_234), ("unpooled", False, 31_231), ("arcsine", False, 31_218), ("pooled", True, 31_633)],
    )
    def test_five_percent_and_ten_percent_lift_needs_about_31_000_per_arm(self, test, continuity, n):
        design = ProportionDesign(baseline=0.05, test=test, continuity=continuity)
        assert n_of(design, TWO_SIDED, power=0.8, relative_effect=0.1) == (n, n)

    def test_pooled_n_is_that_of_statsmodels(self):
        unrounded = samplesize_proportions_2indep_onetail(0.005, 0.05, 0.8, alpha=0.05)
        assert n_of(SHARE, TWO_SIDED, power=0.8, effect=0.005)[0] == math.ceil(unrounded)

    # examples on the help page of R's power.prop.test: n = 50, p1 = .50, p2 = .75 → power 0.740;
    # p1 = .50, p2 = .75, power = .90 → n = 76.7
    def test_power_and_n_are_those_on_the_help_page_of_power_prop_test(self):
        half = ProportionDesign(baseline=0.5, test="pooled")
        assert power(half, TWO_SIDED, n=(50, 50), effect=0.25).value == pytest.approx(0.740, abs=5e-4)
        assert n_of(half, TWO_SIDED, power=0.9, effect=0.25) == (77, 77)

    @pytest.mark.parametrize("ratio", [1, 0.25, 3])
    @pytest.mark.parametrize("kind", ["two-sided", "larger", "smaller"])
    @pytest.mark.parametrize("effect", [0.02, -0.02])
    def test_pooled_power_is_that_of_statsmodels(self, kind, ratio, effect):
        # the ratio of statsmodels is of the reference arm to the first, and its difference first minus reference
        expected = power_proportions_2indep(effect, 0.1, 800, ratio=ratio, alpha=0.05, alternative=kind, return_results=False)
        ours = power(ProportionDesign(baseline=0.1, test="pooled"), Hypothesis(kind=kind, alpha=0.05), n=(800 * ratio, 800), effect=effect)
        assert ours.value == pytest.approx(expected, rel=1e-9)

    def test_arcsine_power_is_that_of_cohens_effect_size(self):
        h = 2 * (math.asin(math.sqrt(0.13)) - math.asin(math.sqrt(0.1)))
        expected = NormalIndPower().power(h, nobs1=700, alpha=0.05, ratio=2)
        found = power(ProportionDesign(baseline=0.1, test="arcsine"), TWO_SIDED, n=(700, 1400), effect=0.03)
        assert found.value == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("ratio", [1.0, 2.0, 0.5])
    def test_continuity_lengthens_n_by_the_formula_of_casagrande_pike_and_smith(self, ratio):
        p, t = 0.25, 0.40
        pooled = (p + ratio * t) / (1 + ratio)
        z_a, z_b = stats.norm.isf([0.005, 0.05])
        n = (z_a * math.sqrt(pooled * (1 - pooled) * (1 + 1 / ratio)) + z_b * math.sqrt(p * (1 - p) + t * (1 - t) / ratio)) ** 2 / 0.15**2
        corrected = n / 4 * (1 + math.sqrt(1 + 2 * (ratio + 1) / (n * ratio * 0.15))) ** 2  # Fleiss, Tytun, Ury (1980)
        design = ProportionDesign(baseline=p, test="pooled", continuity=True)
        found = n_of(design, Hypothesis(kind="two-sided", alpha=0.01), power=0.95, effect=0.15, weights=(1, ratio))
        assert found[0] in (math.ceil(corrected), math.floor(corrected))  # the far arm is rounded up

    def test_noninferiority_n_is_that_of_chow_shao_and_wang(self):
        # Chow, Shao, Wang (2008), sec. 4.2.5, example: p control .65, p treatment .85, margin .10, alpha .05, power .80 → 25 per arm
        claim = Hypothesis(kind="non-inferiority", alpha=0.05, margin=0.1)
        assert n_of(ProportionDesign(baseline=0.65, test="unpooled"), claim, power=0.8, effect=0.2) == (25, 25)

    def test_equivalence_power_is_that_of_a_two_sided_normal_probability(self):
        claim = Hypothesis(kind="equivalence", alpha=0.05, margin=0.05)
        found = power(ProportionDesign(baseline=0.3, test="unpooled"), claim, n=(900, 700), effect=0.01).value
        error = math.sqrt(0.3 * 0.7 / 900 + 0.31 * 0.69 / 700)
        draws = np.random.default_rng(1).normal(0.01, error, 400_000)
        expected = np.mean(np.abs(draws) + stats.norm.isf(0.05) * error < 0.05)
        assert found == pytest.approx(expected, abs=0.004)

    def test_equivalence_power_of_one_sample_formula_agrees_with_statsmodels_in_the_limit_of_a_known_control(self):
        expected = power_ztost_prop(0.45, 0.55, nobs=500, p_alt=0.5, alpha=0.05, variance_prop=0.5, discrete=False)
        claim = Hypothesis(kind="equivalence", alpha=0.05, margin=0.05)
        found = power(ProportionDesign(baseline=0.5, test="unpooled"), claim, n=(1e14, 500), effect=0.0)
        assert found.value == pytest.approx(expected[0], abs=1e-6)


class TestExact:
    def test_enumeration_equals_a_double_loop(self):
        n, m, p, t = 14, 11, 0.3, 0.65
        total = 0.0
        for x in range(n + 1):
            for y in range(m + 1):
                pooled = (x + y) / (n + m)
                error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
                difference = abs(y / m - x / n)
                if error > 0 and difference / error >= stats.norm.isf(0.025):
                    total += stats.binom.pmf(x, n, p) * stats.binom.pmf(y, m, t)
        found = exact_power(ProportionDesign(baseline=p, test="pooled"), TWO_SIDED, n=(n, m), effect=t - p)
        assert found.value == pytest.approx(total, rel=1e-10)
        assert found.std_error == 0

    @pytest.mark.parametrize("test", ["pooled", "unpooled"])
    def test_formula_is_near_the_exact_power_at_the_known_figure(self, test):
        design = ProportionDesign(baseline=0.05, test=test)
        assert exact_power(design, TWO_SIDED, n=(31_234, 31_234), effect=0.005).value == pytest.approx(0.8, abs=5e-4)

    def test_continuity_keeps_the_exact_error_below_alpha_where_the_plain_test_exceeds_it(self):
        plain = ProportionDesign(baseline=0.5, test="pooled")
        careful = ProportionDesign(baseline=0.5, test="pooled", continuity=True)
        assert exact_power(plain, TWO_SIDED, n=(25, 25), effect=0.0).value > 0.05
        assert exact_power(careful, TWO_SIDED, n=(25, 25), effect=0.0).value < 0.05

    @pytest.mark.parametrize(
        "claim",
        [
            Hypothesis(kind="equivalence", alpha=0.05, margin=0.05),
            Hypothesis(kind="non-inferiority", alpha=0.05, margin=0.05),
            Hypothesis(kind="non-inferiority", alpha=0.05, margin=0.05, better="smaller"),
            Hypothesis(kind="larger", alpha=0.05),
            Hypothesis(kind="smaller", alpha=0.05),
        ],
        ids=lambda claim: f"{claim.kind} {claim.better}",
    )
    def test_formula_is_near_the_exact_power_for_every_claim(self, claim):
        design = ProportionDesign(baseline=0.3, test="unpooled")
        exact = exact_power(design, claim, n=(1500, 2000), effect=0.01).value
        assert power(design, claim, n=(1500, 2000), effect=0.01).value == pytest.approx(exact, abs=0.01)

    def test_huge_arms_are_simulated_with_a_stated_error(self):
        design = ProportionDesign(baseline=0.2, test="unpooled")
        found = exact_power(design, TWO_SIDED, n=(50_000_000, 50_000_000), effect=0.0002, seed=3)
        assert 0 < found.std_error < 4e-4
        formula = power(design, TWO_SIDED, n=(50_000_000, 50_000_000), effect=0.0002).value
        assert found.value == pytest.approx(formula, abs=5 * found.std_error)
        assert found == exact_power(design, TWO_SIDED, n=(50_000_000, 50_000_000), effect=0.0002, seed=3)

    def test_exact_power_of_no_test_it_knows_is_refused(self):
        with pytest.raises(ConfigError, match="independent units"):
            exact_power(ProportionDesign(baseline=0.2, test="arcsine"), TWO_SIDED, n=(10, 10), effect=0.1)
        with pytest.raises(ConfigError, match="independent units"):
            exact_power(ProportionDesign(baseline=0.2, test="pooled", inflation=1.1), TWO_SIDED, n=(10, 10), effect=0.1)


class TestMeans:
    # examples on the help page of R's power.t.test, as R prints them: n = 20, delta = 1, sd = 1 → power 0.8689528 (one tail);
    # power = .90, delta = 1 → n = 22.02110; the same one-sided → n = 17.84713
    def test_power_and_n_are_those_on_the_help_page_of_power_t_test(self):
        unit = MeanDesign(std=1.0, test="t")
        assert power(unit, TWO_SIDED, n=(20, 20), effect=1.0).value == pytest.approx(0.8689528, abs=1e-6)
        assert n_of(unit, TWO_SIDED, power=0.9, effect=1.0) == (23, 23)
        assert n_of(unit, Hypothesis(kind="larger", alpha=0.05), power=0.9, effect=1.0) == (18, 18)

    @pytest.mark.parametrize("kind", ["two-sided", "larger", "smaller"])
    @pytest.mark.parametrize(("n", "ratio", "size"), [(2, 1, 1.0), (30, 2, 0.4), (30, 2, -0.4), (5_000, 0.2, 0.1), (60, 1, 0.0)])
    def test_power_is_that_of_statsmodels(self, kind, n, ratio, size):
        expected = TTestIndPower().power(size, nobs1=n, alpha=0.05, ratio=ratio, alternative=kind)
        found = power(MEAN, Hypothesis(kind=kind, alpha=0.05), n=(n, n * ratio), effect=2.0 * size)
        assert found.value == pytest.approx(expected, rel=1e-8)

    @pytest.mark.parametrize("df", [1.0, 1.5, 3.0, 42.6, 1e3, 1e6])
    @pytest.mark.parametrize("noncentrality", [0.0, 0.5, 2.8, 6.0, 40.0])
    @pytest.mark.parametrize("alpha", [0.2, 0.025, 1e-7])
    def test_noncentral_t_is_that_of_scipy_where_scipy_has_one(self, df, noncentrality, alpha):
        design = MeanDesign(std=1.0, test="t")
        n = (df + 2) / 2
        found = power(design, Hypothesis(kind="larger", alpha=alpha), n=(n, n), effect=noncentrality * math.sqrt(2 / n)).value
        assert found == pytest.approx(stats.nct.sf(stats.t.isf(alpha, df), df, noncentrality), rel=1e-7, abs=1e-14)

    def test_far_tail_of_a_noncentral_t_is_a_number_where_that_of_scipy_is_not(self):
        design = MeanDesign(std=1.0, std_treatment=0.5, test="t")
        claim = Hypothesis(kind="two-sided", alpha=1e-6)
        grid = [power(design, claim, n=(30, 30), effect=effect).value for effect in np.linspace(0, 3, 61)]
        assert grid[0] == pytest.approx(1e-6, rel=1e-6)
        assert all(before < after for before, after in pairwise(grid) if after < 1 - 1e-9)
        assert power(design, claim, n=(30, 30), effect=1.0).value < 0.3

    def test_z_power_is_that_of_statsmodels(self):
        expected = NormalIndPower().power(0.15, nobs1=400, alpha=0.01, ratio=3)
        found = power(MeanDesign(std=2.0, test="z"), Hypothesis(kind="two-sided", alpha=0.01), n=(400, 1200), effect=0.3)
        assert found.value == pytest.approx(expected, rel=1e-10)

    def test_welch_power_is_met_by_simulation(self):
        design = MeanDesign(std=1.0, std_treatment=3.0, test="t")
        rng = np.random.default_rng(5)
        x, y = rng.normal(0, 1, (40_000, 12)), rng.normal(2, 3, (40_000, 20))
        share = np.mean(stats.ttest_ind(y, x, axis=1, equal_var=False).pvalue < 0.05)
        assert power(design, TWO_SIDED, n=(12, 20), effect=2.0).value == pytest.approx(share, abs=0.01)

    def test_welch_with_equal_arms_is_student(self):
        welch = MeanDesign(std=2.0, std_treatment=2.0, test="t")
        assert power(welch, TWO_SIDED, n=(9, 9), effect=1.5).value == pytest.approx(power(MEAN, TWO_SIDED, n=(9, 9), effect=1.5).value)

    # PowerTOST: power.TOST(CV = 0.3, theta0 = 0.95, n = 40) = 0.815845 for the 2x2 crossover, whose difference has the standard
    # error sigma √(2/n) on n − 2 degrees of freedom: two arms of 20 with standard deviation sigma / √2
    def test_equivalence_power_is_that_of_owens_q_in_powertost(self):
        sigma = math.sqrt(math.log(1 + 0.3**2))
        claim = Hypothesis(kind="equivalence", alpha=0.05, margin=math.log(1.25))
        crossover = MeanDesign(std=sigma / math.sqrt(2), test="t")
        assert power(crossover, claim, n=(20, 20), effect=math.log(0.95)).value == pytest.approx(0.815845, abs=5e-7)
        assert n_of(crossover, claim, power=0.8, effect=math.log(0.95)) == (20, 20)

    @pytest.mark.parametrize(("n", "margin"), [((2, 2), 9.0), ((4, 6), 1.5), ((30, 30), 0.6), ((4_000, 4_000), 0.07)])
    def test_equivalence_power_is_met_by_simulation(self, n, margin):
        rng = np.random.default_rng(9)
        df = sum(n) - 2
        error = math.sqrt(1 / n[0] + 1 / n[1])
        estimate, spread = rng.normal(0.02, error, 400_000), error * np.sqrt(rng.chisquare(df, 400_000) / df)
        share = np.mean(np.abs(estimate) + stats.t.isf(0.05, df) * spread < margin)
        claim = Hypothesis(kind="equivalence", alpha=0.05, margin=margin)
        assert power(MeanDesign(std=1.0, test="t"), claim, n=n, effect=0.02).value == pytest.approx(share, abs=0.004)

    def test_equivalence_by_t_tends_to_equivalence_by_z(self):
        claim = Hypothesis(kind="equivalence", alpha=0.05, margin=0.0021)
        few, many = (power(MeanDesign(std=1.0, test=test), claim, n=(4_000_000, 4_000_000), effect=0.0).value for test in ("t", "z"))
        assert few == pytest.approx(many, abs=1e-6)

    def test_noninferiority_is_a_one_sided_test_from_the_margin(self):
        claim = Hypothesis(kind="non-inferiority", alpha=0.025, margin=0.5)
        one_sided = power(MEAN, Hypothesis(kind="larger", alpha=0.025), n=(80, 80), effect=0.7).value
        assert power(MEAN, claim, n=(80, 80), effect=0.2).value == pytest.approx(one_sided, rel=1e-12)
        mirrored = Hypothesis(kind="non-inferiority", alpha=0.025, margin=0.5, better="smaller")
        assert power(MEAN, mirrored, n=(80, 80), effect=-0.2).value == pytest.approx(one_sided, rel=1e-12)

    def test_huge_arms_and_far_effects_stay_probabilities(self):
        assert power(MEAN, TWO_SIDED, n=(1e12, 1e12), effect=1.0).value == 1.0
        assert power(MEAN, TWO_SIDED, n=(50, 50), effect=1e6).value == pytest.approx(1.0, abs=1e-12)
        assert power(MEAN, Hypothesis(kind="smaller", alpha=0.05), n=(50, 50), effect=1e3).value == 0.0


class TestRatiosCovariatesClusters:
    RATIO = RatioDesign(mean_numerator=30.0, mean_denominator=3.0, variance_numerator=400.0, variance_denominator=4.0, covariance=25.0)

    def test_ratio_is_tested_with_the_variance_of_its_linearisation(self):
        # (400 − 2·10·25 + 100·4) / 9
        assert self.RATIO.baseline == 10
        assert self.RATIO.variance == pytest.approx(300 / 9, rel=1e-12)
        as_mean = MeanDesign(std=math.sqrt(300 / 9), test="z", baseline=10.0)
        for claim in (TWO_SIDED, Hypothesis(kind="equivalence", alpha=0.05, margin=1.0)):
            ours, theirs = (power(design, claim, n=(900, 450), relative_effect=0.05).value for design in (self.RATIO, as_mean))
            assert ours == pytest.approx(theirs, rel=1e-12)

    def test_linearised_variance_is_met_by_simulated_units(self):
        rng = np.random.default_rng(2)
        orders = rng.poisson(3.0, (4_000, 300)) + 0.0
        revenue = orders * 10 + rng.normal(0, 5, orders.shape)
        ratio = revenue.mean(axis=1) / orders.mean(axis=1)
        design = RatioDesign(mean_numerator=30.0, mean_denominator=3.0, variance_numerator=325.0, variance_denominator=3.0, covariance=30.0)
        assert ratio.var() * 300 == pytest.approx(design.variance, rel=0.1)

    def test_cuped_needs_one_minus_rho_squared_of_the_units(self):
        assert cuped_factor(0.6) == pytest.approx(0.64)
        plain, helped = (
            n_of(MeanDesign(std=1.0, test="z", covariate_correlation=rho), TWO_SIDED, power=0.8, effect=0.01) for rho in (0.0, 0.6)
        )
        assert helped[0] == pytest.approx(0.64 * plain[0], abs=1)

    def test_clusters_multiply_the_units_by_the_design_effect(self):
        assert design_effect(cluster_size=21, icc=0.05) == pytest.approx(2.0)
        # Eldridge, Ashby, Kerry (2006): (1 + 0.5²)·20 − 1 = 24
        assert design_effect(cluster_size=20, icc=0.05, cluster_size_cv=0.5) == pytest.approx(1 + 24 * 0.05)
        plain = n_of(MeanDesign(std=1.0, test="z"), TWO_SIDED, power=0.8, effect=0.01)
        clustered = n_of(MeanDesign(std=1.0, test="z", cluster_size=21, icc=0.05), TWO_SIDED, power=0.8, effect=0.01)
        assert clustered[0] == pytest.approx(2 * plain[0], abs=1)

    def test_degrees_of_freedom_of_a_t_count_clusters_and_not_units(self):
        # m units with icc 1 are one unit: 10 clusters of 7 are 10 units
        clustered = power(MeanDesign(std=1.0, test="t", cluster_size=7, icc=1.0), TWO_SIDED, n=(70, 70), effect=1.0).value
        assert clustered == pytest.approx(power(MeanDesign(std=1.0, test="t"), TWO_SIDED, n=(10, 10), effect=1.0).value, rel=1e-12)

    def test_looks_multiply_the_units_by_the_inflation(self):
        plain, looked = (n_of(MeanDesign(std=1.0, test="z", inflation=k), TWO_SIDED, power=0.8, effect=0.01) for k in (1.0, 1.2))
        assert looked[0] == pytest.approx(1.2 * plain[0], abs=1.2)


class TestArms:
    def test_correction_shares_alpha_over_the_treatment_arms(self):
        base = {"kind": "two-sided", "alpha": 0.05}
        assert Hypothesis(**base, correction="bonferroni").alpha_per_comparison(4) == pytest.approx(0.0125)
        assert Hypothesis(**base, correction="sidak").alpha_per_comparison(4) == pytest.approx(1 - 0.95**0.25, rel=1e-12)
        assert Hypothesis(**base, correction="none").alpha_per_comparison(4) == 0.05
        assert Hypothesis(**base, correction="sidak", n_comparisons=6).alpha_per_comparison(2) == pytest.approx(1 - 0.95 ** (1 / 6))
        assert Hypothesis(**base).alpha_per_comparison(1) == 0.05

    def test_several_arms_without_a_word_on_the_correction_are_refused(self):
        with pytest.raises(ConfigError, match="2 comparisons share alpha 0.05"):
            sample_size(SHARE, TWO_SIDED, power=0.8, effect=0.005, weights=(1, 1, 1))

    def test_three_arms_by_bonferroni_are_two_arms_at_half_the_level(self):
        three = n_of(SHARE, Hypothesis(kind="two-sided", alpha=0.05, correction="bonferroni"), power=0.8, effect=0.005, weights=(1, 1, 1))
        two = n_of(SHARE, Hypothesis(kind="two-sided", alpha=0.025), power=0.8, effect=0.005)
        assert three == (two[0],) * 3

    def test_reported_power_is_that_of_the_weakest_arm(self):
        claim = Hypothesis(kind="two-sided", alpha=0.05, correction="none")
        weakest = power(MEAN, claim, n=(500, 100), effect=0.5).value
        assert power(MEAN, claim, n=(500, 800, 100), effect=0.5).value == weakest

    @pytest.mark.parametrize("weights", [(0.9, 0.1), (0.1, 0.9), (0.3, 0.9), (50, 25, 25), (0.7, 0.2, 0.1)])
    def test_arms_keep_the_weights_and_are_rounded_up(self, weights):
        found = sample_size(MEAN, Hypothesis(kind="two-sided", alpha=0.05, correction="sidak"), power=0.9, effect=0.3, weights=weights)
        for n, weight in zip(found.n, weights, strict=True):
            assert 0 <= n - found.n[0] * weight / weights[0] + 1e-6 < 1 + 1e-6
        assert found.n_total == sum(found.n)

    def test_equal_arms_need_fewest_units(self):
        totals = [sample_size(MEAN, TWO_SIDED, power=0.8, effect=0.3, weights=(1, w)).n_total for w in (1, 2, 4)]
        assert totals == sorted(totals)
        assert totals[0] < totals[2]


designs = st.one_of(
    st.builds(ProportionDesign, baseline=st.floats(0.01, 0.5), test=st.sampled_from(["pooled", "unpooled", "arcsine"])),
    st.builds(ProportionDesign, baseline=st.floats(0.01, 0.5), test=st.just("pooled"), continuity=st.just(True)),
    st.builds(MeanDesign, std=st.floats(0.1, 3), test=st.sampled_from(["t", "z"]), covariate_correlation=st.floats(-0.9, 0.9)),
    st.builds(MeanDesign, std=st.floats(0.1, 3), std_treatment=st.floats(0.1, 3), test=st.just("t")),
)
claims = st.one_of(
    st.builds(Hypothesis, kind=st.sampled_from(["two-sided", "larger"]), alpha=st.floats(1e-6, 0.2)),
)


class TestLaws:
    @settings(max_examples=60, deadline=None)
    @given(designs, claims, st.floats(0.3, 0.99), st.floats(0.005, 0.4), st.sampled_from([(1, 1), (1, 3), (3, 1), (0.3, 0.7)]))
    def test_sample_size_reaches_the_power_and_one_unit_less_does_not(self, design, claim, wanted, effect, weights):
        n = n_of(design, claim, power=wanted, effect=effect, weights=weights)
        assert power(design, claim, n=n, effect=effect).value >= wanted
        if n[0] > 1:
            fewer = (n[0] - 1, max(1, math.ceil((n[0] - 1) * weights[1] / weights[0] - 1e-6)))
            below = power(design, claim, n=fewer, effect=effect)
            assert below.reason or below.value < wanted

    @settings(max_examples=60, deadline=None)
    @given(designs, claims, st.floats(0.3, 0.99), st.integers(30, 10**7), st.integers(30, 10**7))
    def test_minimum_detectable_effect_has_the_wanted_power(self, design, claim, wanted, n, m):
        found = minimum_detectable_effect(design, claim, n=(n, m), power=wanted)
        assume(not found.reason)
        assert power(design, claim, n=(n, m), effect=found.absolute).value == pytest.approx(wanted, abs=1e-7)

    @settings(max_examples=30, deadline=None)
    @given(
        st.builds(MeanDesign, std=st.floats(0.1, 3), test=st.sampled_from(["t", "z"])),
        st.sampled_from(["equivalence", "non-inferiority"]),
        st.floats(0.3, 0.95),
        st.integers(5, 10**6),
    )
    def test_minimum_margin_has_the_wanted_power(self, design, kind, wanted, n):
        asked = Hypothesis(kind=kind, alpha=0.05, margin=1.0)
        margin = minimum_margin(design, asked, n=(n, n), power=wanted, effect=0.0).absolute
        told = Hypothesis(kind=kind, alpha=0.05, margin=margin)
        assert power(design, told, n=(n, n), effect=0.0).value == pytest.approx(wanted, abs=1e-7)


class TestDetectableEffects:
    def test_a_decrease_is_negative_and_relative_to_the_baseline(self):
        found = minimum_detectable_effect(SHARE, TWO_SIDED, n=(31_234, 31_234), power=0.8, direction="decrease")
        assert -0.005 < found.absolute < -0.0045
        assert found.relative == pytest.approx(found.absolute / 0.05)
        assert power(SHARE, TWO_SIDED, n=(31_234, 31_234), effect=found.absolute).value == pytest.approx(0.8, abs=1e-9)

    def test_the_side_of_a_one_sided_claim_is_its_own(self):
        smaller = minimum_detectable_effect(MEAN, Hypothesis(kind="smaller", alpha=0.05), n=(50, 50), power=0.8)
        larger = minimum_detectable_effect(MEAN, Hypothesis(kind="larger", alpha=0.05), n=(50, 50), power=0.8)
        assert smaller.absolute == pytest.approx(-larger.absolute, rel=1e-9)
        assert larger.relative == pytest.approx(larger.absolute / 10)

    def test_for_noninferiority_it_is_the_effect_from_which_the_margin_is_kept(self):
        claim = Hypothesis(kind="non-inferiority", alpha=0.05, margin=0.02)
        design = ProportionDesign(baseline=0.3, test="unpooled")
        found = minimum_detectable_effect(design, claim, n=(50_000, 50_000), power=0.9)
        assert -0.02 < found.absolute < 0
        assert power(design, claim, n=(50_000, 50_000), effect=found.absolute).value == pytest.approx(0.9, abs=1e-9)

    def test_an_unreachable_effect_has_a_reason(self):
        found = minimum_detectable_effect(SHARE, TWO_SIDED, n=(5, 5), power=0.9, direction="decrease")
        assert math.isnan(found.absolute)
        assert "plan for more units" in found.reason

    def test_an_equivalence_is_sent_to_its_margin_and_back(self):
        with pytest.raises(ConfigError, match="minimum_margin"):
            minimum_detectable_effect(MEAN, Hypothesis(kind="equivalence", alpha=0.05, margin=1.0), n=(50, 50), power=0.8)
        with pytest.raises(ConfigError, match="minimum_detectable_effect"):
            minimum_margin(MEAN, TWO_SIDED, n=(50, 50), power=0.8)

    def test_share_of_nobody_can_only_increase(self):
        nobody = ProportionDesign(baseline=0.0, test="pooled")
        found = minimum_detectable_effect(nobody, TWO_SIDED, n=(1000, 1000), power=0.8)
        assert 0 < found.absolute < 0.02
        assert math.isnan(found.relative)
        assert minimum_detectable_effect(nobody, TWO_SIDED, n=(1000, 1000), power=0.8, direction="decrease").reason


class TestNotComputable:
    @pytest.mark.parametrize(
        ("design", "effect", "reason"),
        [
            (MeanDesign(std=0.0, test="t"), 1.0, "does not vary"),
            (MeanDesign(std=math.nan, test="t"), 1.0, "not known"),
            (MeanDesign(std=1.0, test="z", covariate_correlation=1.0), 1.0, "does not vary"),
            (ProportionDesign(baseline=math.nan, test="pooled"), 0.1, "not known"),
            (ProportionDesign(baseline=0.95, test="pooled"), 0.1, "not a share in [0, 1]"),
            (ProportionDesign(baseline=0.0, test="pooled"), 0.0, "does not vary"),
            (RatioDesign(mean_numerator=1, mean_denominator=0, variance_numerator=1, variance_denominator=1, covariance=0), 1.0, "denominator's mean is 0"),
            (RatioDesign(mean_numerator=math.nan, mean_denominator=1, variance_numerator=1, variance_denominator=1, covariance=0), 1.0, "not known"),
            (RatioDesign(mean_numerator=1, mean_denominator=1, variance_numerator=0, variance_denominator=0, covariance=0), 1.0, "does not vary"),
        ],
    )  # fmt: skip
    def test_a_design_without_noise_or_baseline_gives_a_reason(self, design, effect, reason):
        found = power(design, TWO_SIDED, n=(100, 100), effect=effect)
        assert math.isnan(found.value)
        assert reason in found.reason
        size = sample_size(design, TWO_SIDED, power=0.8, effect=effect)
        assert size.n is None
        assert size.n_total is None
        assert size.reason

    def test_an_effect_within_the_null_needs_no_number_of_units(self):
        assert "within the null" in sample_size(MEAN, TWO_SIDED, power=0.8, effect=0.0).reason
        assert "within the null" in sample_size(MEAN, Hypothesis(kind="larger", alpha=0.05), power=0.8, effect=-0.1).reason
        equivalence = Hypothesis(kind="equivalence", alpha=0.05, margin=0.1)
        assert "within the null" in sample_size(MEAN, equivalence, power=0.8, effect=0.1).reason
        worse = Hypothesis(kind="non-inferiority", alpha=0.05, margin=0.1)
        assert "within the null" in sample_size(MEAN, worse, power=0.8, effect=-0.1).reason

    def test_a_tiny_effect_needs_more_units_than_there_are(self):
        assert "larger effect" in sample_size(MEAN, TWO_SIDED, power=0.8, effect=1e-12).reason

    def test_one_unit_an_arm_has_no_variance(self):
        assert "too few" in power(MEAN, TWO_SIDED, n=(1, 1), effect=1.0).reason
        assert "too few" in power(MeanDesign(std=1, std_treatment=2, test="t"), TWO_SIDED, n=(1, 50), effect=1.0).reason
        assert "too few" in minimum_detectable_effect(MEAN, TWO_SIDED, n=(1, 1), power=0.8).reason
        assert "too few" in power(MeanDesign(std=1.0, test="t", cluster_size=50, icc=0.1), TWO_SIDED, n=(40, 40), effect=1.0).reason

    def test_a_relative_effect_of_no_baseline_gives_a_reason(self):
        assert "absolute effect" in power(MeanDesign(std=1.0, test="t"), TWO_SIDED, n=(10, 10), relative_effect=0.1).reason
        assert (
            "absolute effect" in sample_size(MeanDesign(std=1.0, test="t", baseline=0.0), TWO_SIDED, power=0.8, relative_effect=0.1).reason
        )

    def test_a_certain_difference_is_certain_to_be_seen(self):
        nobody = ProportionDesign(baseline=0.0, test="pooled")
        assert power(nobody, TWO_SIDED, n=(50, 50), effect=1.0).value == 1.0
        assert power(nobody, TWO_SIDED, n=(1, 1), effect=1.0).value == 0.0  # |1| / √(½·½·2) = 1.41


class TestBadArguments:
    @pytest.mark.parametrize(
        ("make", "told"),
        [
            (lambda: Hypothesis(kind="both", alpha=0.05), "kind is 'both'; allowed are 'two-sided'"),
            (lambda: Hypothesis(kind="larger", alpha=1.0), r"alpha is 1.0; give a number in \(0, 1\)"),
            (lambda: Hypothesis(kind="larger", alpha=math.nan), "alpha is nan"),
            (lambda: Hypothesis(kind="equivalence", alpha=0.05), "margin of equivalence is 0.0"),
            (lambda: Hypothesis(kind="larger", alpha=0.05, margin=1.0), "margin is 1.0 for kind 'larger'"),
            (lambda: Hypothesis(kind="larger", alpha=0.05, correction="holm"), "correction is 'holm'"),
            (lambda: Hypothesis(kind="larger", alpha=0.05, n_comparisons=0), "n_comparisons is 0"),
            (lambda: Hypothesis(kind="larger", alpha=0.05, better="more"), "better is 'more'"),
            (lambda: ProportionDesign(baseline=5.0, test="pooled"), r"baseline is 5.0; give a number in \[0, 1\]"),
            (lambda: ProportionDesign(baseline=0.5, test="exact"), "test is 'exact'"),
            (lambda: ProportionDesign(baseline=0.5, test="arcsine", continuity=True), "continuity"),
            (lambda: MeanDesign(std=-1.0, test="t"), "std is -1.0"),
            (lambda: MeanDesign(std=1.0, test="t", icc=1.5), "icc is 1.5"),
            (lambda: MeanDesign(std=1.0, test="t", covariate_correlation=2.0), "correlation is 2.0"),
            (lambda: MeanDesign(std=1.0, test="t", inflation=0.5), "inflation is 0.5"),
            (lambda: RatioDesign(mean_numerator=1, mean_denominator=1, variance_numerator=1, variance_denominator=1, covariance=2), "covariance is 2"),
            (lambda: power(MEAN, TWO_SIDED, n=(10,), effect=1.0), r"n is \[10\]"),
            (lambda: power(MEAN, TWO_SIDED, n=(10, 0), effect=1.0), r"n is \[10, 0\]"),
            (lambda: power(MEAN, TWO_SIDED, n=(10, 10)), "give one of the two"),
            (lambda: power(MEAN, TWO_SIDED, n=(10, 10), effect=1.0, relative_effect=0.1), "give one of the two"),
            (lambda: power(MEAN, TWO_SIDED, n=(10, 10), effect=math.nan), "finite"),
            (lambda: sample_size(MEAN, TWO_SIDED, power=80, effect=1.0), "power is 80"),
            (lambda: sample_size(MEAN, TWO_SIDED, power=0.8, effect=1.0, weights=(1, -1)), "weights is"),
            (lambda: minimum_detectable_effect(MEAN, TWO_SIDED, n=(10, 10), power=0.01), "power is 0.01"),
            (lambda: minimum_detectable_effect(MEAN, TWO_SIDED, n=(10, 10), power=0.8, direction="up"), "direction is 'up'"),
            (lambda: power(SHARE, Hypothesis(kind="non-inferiority", alpha=0.05, margin=0.01), n=(10, 10), effect=0.0), "unpooled"),
            (lambda: duration_weeks(100, units_per_day=0), "units_per_day is 0"),
        ],
    )  # fmt: skip
    def test_a_bad_argument_is_named_with_what_is_allowed(self, make, told):
        with pytest.raises(ConfigError, match=told):
            make()


class TestRows:
    def test_duration_is_in_whole_weeks(self):
        assert duration_weeks(70, units_per_day=10) == 1
        assert duration_weeks(71, units_per_day=10) == 2
        assert duration_weeks(1, units_per_day=1e9) == 1
        assert duration_weeks(21, units_per_day=0.1) == 30

    def test_curve_has_a_row_for_each_effect_and_number(self):
        claim = Hypothesis(kind="two-sided", alpha=0.05, correction="none")
        rows = power_curve(SHARE, claim, n_control=(1_000, 31_234), effects=(0.005, 2.0), weights=(1, 1, 2))
        assert [(row["effect"], row["n_control"], row["n_total"]) for row in rows] == [
            (0.005, 1_000, 4_000),
            (0.005, 31_234, 124_936),
            (2.0, 1_000, 4_000),
            (2.0, 31_234, 124_936),
        ]
        assert rows[0]["power"] < rows[1]["power"]
        assert rows[1]["power"] == pytest.approx(0.8, abs=1e-4)
        assert rows[1]["relative_effect"] == pytest.approx(0.1)
        assert math.isnan(rows[2]["power"])
        assert "not a share" in rows[2]["reason"]

    def test_sensitivity_has_a_row_for_each_effect_and_power(self):
        rows = sensitivity(SHARE, TWO_SIDED, effects=(0.005, 0.0), powers=(0.8, 0.9))
        assert [row["n_control"] for row in rows] == [31_234, n_of(SHARE, TWO_SIDED, power=0.9, effect=0.005)[0], None, None]
        assert rows[0]["n_total"] == 62_468
        assert rows[2]["reason"]
