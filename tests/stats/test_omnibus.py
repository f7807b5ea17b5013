"""Tests of all arms together, against statsmodels and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from sparkds.stats.moments import Moments
from sparkds.stats.omnibus import several_arms


def test_means_are_tested_as_statsmodels_does():
    oneway = pytest.importorskip("statsmodels.stats.oneway")
    rng = np.random.default_rng(1)
    data = [rng.normal(m, s, n) for m, s, n in ((1, 1, 30), (1.4, 2, 50), (0.7, 0.5, 20), (1, 3, 80))]
    known = oneway.anova_oneway(data, use_var="unequal", welch_correction=True)
    found = several_arms([Moments.of(x[:, None]) for x in data])
    assert found.statistic == pytest.approx(known.statistic, rel=1e-10)
    assert found.df == pytest.approx((known.df_num, known.df_denom), rel=1e-10)
    assert found.pvalue == pytest.approx(known.pvalue, rel=1e-9)


def test_two_arms_are_welchs_t_test():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, 40), rng.normal(0.4, 2, 25)
    found = several_arms([Moments.of(a[:, None]), Moments.of(b[:, None])])
    assert found.pvalue == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-9)


def test_ratios_without_an_effect_give_uniform_pvalues():
    rng = np.random.default_rng(3)
    pvalues = []
    for _ in range(800):
        arms = []
        for _ in range(3):
            views = rng.poisson(5, 400) + 1.0
            arms.append(Moments.of(np.column_stack([rng.binomial(views.astype(int), 0.2), views])))
        pvalues.append(several_arms(arms, of="ratio").pvalue)
    assert stats.kstest(pvalues, "uniform").pvalue > 0.001
    assert 0.03 < np.mean(np.array(pvalues) < 0.05) < 0.07


def test_the_logarithm_stays_finite_far_in_the_tail():
    arms = [Moments.of(np.random.default_rng(4).normal(m, 1, 5000)[:, None]) for m in (0, 0, 50)]
    found = several_arms(arms)
    assert found.log10_pvalue < -300
    assert math.isfinite(found.log10_pvalue)


def test_what_cannot_be_tested_has_its_reason():
    one = Moments.of(np.array([[1.0]]))
    same = Moments.of(np.ones((5, 1)))
    assert "fewer than 2" in several_arms([one, same, same]).reason
    assert "variance 0" in several_arms([same, same, same]).reason
    empty = Moments.of(np.column_stack([np.arange(4.0), np.zeros(4)]))
    assert "denominators" in several_arms([empty, empty], of="ratio").reason
