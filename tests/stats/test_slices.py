"""Worst slices against scipy's Welch test and statsmodels' correction."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sparkds.errors import ConfigError
from sparkds.stats.group_moments import grouped
from sparkds.stats.slices import worst_slices


def world(seed=1, n=6_000):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 12, n)
    return rng.exponential(1, n) * np.where(group == 3, 1.6, np.where(group == 7, 1.3, 1.0)), group


def test_the_planted_slices_are_found_with_welch_and_bh():
    x, group = world()
    names = [("g", str(i)) for i in range(12)]
    found = worst_slices(names, grouped(x[:, None], group, 12), grouped(x[:, None], 0 * group, 1))
    assert [s.value for s in found] == ["3", "7"]
    raw = [stats.ttest_ind(x[group == i], x[group != i], equal_var=False, alternative="greater").pvalue for i in range(12)]
    corrected = multipletests(raw, method="fdr_bh")[1]
    for s in found:
        i = int(s.value)
        inside, outside = x[group == i], x[group != i]
        assert s.pvalue == pytest.approx(corrected[i], rel=1e-6)
        assert s.difference == pytest.approx(inside.mean() - outside.mean())
        assert (s.n, s.mean) == (len(inside), pytest.approx(inside.mean()))
        pooled = np.sqrt(((len(inside) - 1) * inside.var(ddof=1) + (len(outside) - 1) * outside.var(ddof=1)) / (len(x) - 2))
        assert s.effect_size == pytest.approx(s.difference / pooled)
        repaired = np.concatenate([outside, np.full(len(inside), outside.mean())]).sum()
        assert s.excess == pytest.approx(1 - repaired / x.sum())
        assert s.low < s.difference


def test_nothing_is_found_where_nothing_is_planted():
    rng = np.random.default_rng(2)
    n_found = 0
    for _ in range(40):
        x, group = rng.exponential(1, 2_000), rng.integers(0, 10, 2_000)
        names = [("g", str(i)) for i in range(10)]
        n_found += bool(worst_slices(names, grouped(x[:, None], group, 10), grouped(x[:, None], 0 * group, 1)))
    assert n_found <= 6


def test_small_constant_and_overall_slices_are_not_tested():
    x, group = world()
    x[group == 5] = 50.0
    few = np.flatnonzero(group == 5)[:-20]
    x, group = np.delete(x, few), np.delete(group, few)
    whole = grouped(x[:, None], 0 * group, 1)
    names = [("g", str(i)) for i in range(12)]
    assert "5" not in [s.value for s in worst_slices(names, grouped(x[:, None], group, 12), whole)]
    assert worst_slices(names, grouped(x[:, None], group, 12), whole, least=10)[0].value == "5"
    assert worst_slices([("g", "all")], whole, whole) == []
    same = grouped(np.ones((400, 1)), np.repeat([0, 1], 200), 2)
    assert worst_slices([("g", "a"), ("g", "b")], same, grouped(np.ones((400, 1)), np.zeros(400, dtype=np.int64), 1)) == []
    assert len(worst_slices(names, grouped(x[:, None], group, 12), whole, least=10, most=1)) == 1
    with pytest.raises(ConfigError, match="least is 1"):
        worst_slices(names, grouped(x[:, None], group, 12), whole, least=1)
