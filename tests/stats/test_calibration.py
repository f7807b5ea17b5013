"""Calibration by simulation: p-values under no effect, coverage, power. Slow; `make calibrate`."""

import math

import numpy as np
import pytest
from scipy import stats

from sparkds.stats.arm_effects import difference, relative_difference
from sparkds.stats.moments import Moments
from sparkds.stats.proportions import relative_risk, two_proportions
from sparkds.stats.sample_ratio import sample_ratio

pytestmark = pytest.mark.slow

N = 10_000
ALPHA = 0.05
SLACK = 4 * math.sqrt(ALPHA * (1 - ALPHA) / N)  # four standard errors of a share of N


def skewed(rng, n):
    """Spend: most units nothing, the others log-normal."""
    return np.where(rng.random(n) < 0.3, rng.lognormal(2, 0.8, n), 0.0)


def mean_arms(rng, shift=0.0):
    return {"c": Moments.of(skewed(rng, 2000)[:, None]), "t": Moments.of((skewed(rng, 2600) + shift)[:, None])}


def cuped_arms(rng, shift=0.0):
    made = {}
    for arm, n in (("c", 1500), ("t", 1000)):
        before = rng.gamma(2, 2, n)
        made[arm] = Moments.of(np.column_stack([before * 0.8 + rng.normal(5, 1.5, n) + (shift if arm == "t" else 0), before]))
    return made


def ratio_arms(rng, shift=0.0):
    made = {}
    for arm, n in (("c", 1200), ("t", 1500)):
        views = rng.poisson(6, n) + 1.0
        clicks = rng.binomial(views.astype(int), np.clip(rng.beta(3, 17, n) + (shift if arm == "t" else 0), 0, 1))
        made[arm] = Moments.of(np.column_stack([clicks, views]))
    return made


TESTS = {
    "Welch's t on skewed spend": (mean_arms, lambda arms: difference(arms, control="c", treatment="t", alpha=ALPHA)),
    "CUPED": (cuped_arms, lambda arms: difference(arms, control="c", treatment="t", alpha=ALPHA)),
    "CUPED, relative": (cuped_arms, lambda arms: relative_difference(arms, control="c", treatment="t", alpha=ALPHA)),
    "Fieller": (cuped_arms, lambda arms: relative_difference(arms, control="c", treatment="t", alpha=ALPHA, method="fieller")),
    "ratio of means": (ratio_arms, lambda arms: difference(arms, control="c", treatment="t", alpha=ALPHA, of="ratio")),
    "ratio of means, relative": (ratio_arms, lambda arms: relative_difference(arms, control="c", treatment="t", alpha=ALPHA, of="ratio")),
}


@pytest.mark.parametrize("name", TESTS)
def test_pvalues_without_an_effect_are_uniform_and_intervals_cover(name):
    arms, test = TESTS[name]
    rng = np.random.default_rng(20260101)
    found = [test(arms(rng)) for _ in range(N)]
    pvalues = np.array([f.pvalue for f in found])
    covered = np.mean([f.low <= 0 <= f.high for f in found])
    print(f"{name}: rejected {np.mean(pvalues < ALPHA):.4f}, covered {covered:.4f}, KS {stats.kstest(pvalues, 'uniform').pvalue:.3f}")  # noqa: T201
    assert abs(np.mean(pvalues < ALPHA) - ALPHA) < SLACK
    assert abs(covered - (1 - ALPHA)) < SLACK
    assert stats.kstest(pvalues, "uniform").pvalue > 1e-4


def test_shares_without_an_effect_reject_at_alpha_and_intervals_cover():
    rng = np.random.default_rng(7)
    x_c, x_t = rng.binomial(3000, 0.08, N), rng.binomial(2500, 0.08, N)
    found = [two_proportions(int(a), 3000, int(b), 2500, alpha=ALPHA) for a, b in zip(x_c, x_t, strict=True)]
    risks = [relative_risk(int(a), 3000, int(b), 2500, alpha=ALPHA) for a, b in zip(x_c, x_t, strict=True)]
    for made in (found, risks):
        assert abs(np.mean([f.pvalue < ALPHA for f in made]) - ALPHA) < SLACK
        assert abs(np.mean([f.low <= 0 <= f.high for f in made]) - (1 - ALPHA)) < SLACK


def test_a_known_effect_is_found_with_the_stated_power():
    from sparkds.stats.designs import Hypothesis, MeanDesign
    from sparkds.stats.power import power

    stated = power(MeanDesign(std=1.0, test="t"), Hypothesis(kind="two-sided", alpha=ALPHA), n=(400, 400), effect=0.2).value
    rng = np.random.default_rng(8)
    found = 0
    for _ in range(N):
        arms = {"c": Moments.of(rng.normal(0, 1, (400, 1))), "t": Moments.of(rng.normal(0.2, 1, (400, 1)))}
        found += difference(arms, control="c", treatment="t", alpha=ALPHA).pvalue < ALPHA
    assert abs(found / N - stated) < 4 * math.sqrt(stated * (1 - stated) / N)


def test_a_true_plan_is_flagged_at_alpha():
    rng = np.random.default_rng(9)
    counts = rng.multinomial(9000, [0.5, 0.3, 0.2], N)
    flagged = np.mean([sample_ratio(n.tolist(), [0.5, 0.3, 0.2], alpha=ALPHA).pvalue < ALPHA for n in counts])
    assert abs(flagged - ALPHA) < SLACK
