import doctest

import numpy as np
import pytest
from scipy import stats

from sparkds.errors import ConfigError
from sparkds.stats import balance as module
from sparkds.stats.balance import balance
from sparkds.stats.group_moments import GroupMoments, grouped


def moments_of(*samples):
    x = np.concatenate(samples).astype(float)
    return grouped(x[:, None], np.repeat(np.arange(len(samples)), [len(s) for s in samples]), len(samples))


def test_example():
    assert doctest.testmod(module).failed == 0


def test_each_arm_is_compared_with_the_control_as_scipy_does():
    rng = np.random.default_rng(1)
    samples = [rng.normal(1e6, 1, 40), rng.normal(1e6 + 0.3, 2, 90), rng.normal(1e6, 1, 7)]
    found = balance(moments_of(*samples), control=1)
    assert [row.arm for row in found] == [0, 2]
    for row in found:
        wanted = stats.ttest_ind(samples[row.arm], samples[1], equal_var=False)
        assert row.statistic == pytest.approx(wanted.statistic, rel=1e-6)
        assert row.pvalue == pytest.approx(wanted.pvalue, rel=1e-6)
        pooled = np.sqrt((samples[row.arm].var(ddof=1) + samples[1].var(ddof=1)) / 2)
        assert row.smd == pytest.approx((samples[row.arm].mean() - samples[1].mean()) / pooled, rel=1e-6)
        assert row.variance_ratio == pytest.approx(samples[row.arm].var(ddof=1) / samples[1].var(ddof=1), rel=1e-6)


def test_a_large_imbalance_has_a_finite_logarithm():
    n = np.array([10**8, 10**8])
    (row,) = balance(GroupMoments(n, np.array([[0.0], [1.0]]), np.full((2, 1, 1), 1e8)), control=0)
    assert row.pvalue == 0.0
    # the density of t falls as (1 + t²/df)^(−(df + 1)/2), here 1.25^(−1e8)
    assert row.log10_pvalue == pytest.approx(-1e8 * np.log10(1.25), rel=1e-6)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (([1.0, 2.0], [3.0]), "fewer than two units"),
        (([], [3.0, 4.0]), "fewer than two units"),
        (([1.0, 1.0], [1.0, 1.0]), "does not vary"),
        (([1.0, np.nan], [1.0, 2.0]), "not finite"),
    ],
)
def test_what_cannot_be_compared_has_a_reason(samples, reason):
    (row,) = balance(moments_of(*samples), control=0)
    assert reason in row.reason
    assert np.isnan([row.smd, row.statistic, row.pvalue, row.log10_pvalue]).all()


def test_wrong_groups_and_columns_are_refused():
    with pytest.raises(ConfigError, match="control is 2; there are the groups 0 to 1"):
        balance(moments_of([1.0, 2.0], [3.0, 4.0]), control=2)
    with pytest.raises(ConfigError, match="moments have 2 columns"):
        balance(GroupMoments(np.array([1]), np.zeros((1, 2)), np.zeros((1, 2, 2))), control=0)
