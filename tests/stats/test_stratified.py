"""Post-stratified effects, against weighted regressions, naive sums and simulations."""

import math

import numpy as np
import pytest

from sparkds.errors import ConfigError
from sparkds.stats.moments import Moments
from sparkds.stats.stratified import post_stratified


def stratum(rng, n_c, n_t, level, effect, k=1):
    c = rng.normal(level, 1, (n_c, k)) if k == 1 else np.column_stack([rng.normal(level, 1, n_c), rng.normal(5, 0.5, n_c)])
    t = (
        rng.normal(level + effect, 1, (n_t, k))
        if k == 1
        else np.column_stack([rng.normal(level + effect, 1, n_t), rng.normal(5, 0.5, n_t)])
    )
    return c, t


def moments_of(data):
    return [{"a": Moments.of(c), "b": Moments.of(t)} for c, t in data]


def test_the_value_is_the_weighted_sum_of_the_strata_and_its_error_that_of_the_formula():
    rng = np.random.default_rng(1)
    data = [stratum(rng, 300, 100, 2, 0.5), stratum(rng, 100, 300, 5, 0.1)]
    found = post_stratified(moments_of(data), control="a", treatment="b", alpha=0.05)
    n = np.array([400, 400])
    effects = np.array([t.mean() - c.mean() for c, t in data])
    value = (n / 800) @ effects
    variance = sum((w / 800) ** 2 * (c.var(ddof=1) / len(c) + t.var(ddof=1) / len(t)) for w, (c, t) in zip(n, data, strict=True))
    variance += sum((w / 800) * (e - value) ** 2 for w, e in zip(n, effects, strict=True)) / 800
    assert found.value == pytest.approx(value, rel=1e-12)
    assert found.std_error == pytest.approx(math.sqrt(variance), rel=1e-12)


def test_a_change_of_allocation_does_not_bias_it_as_it_does_the_plain_difference():
    rng = np.random.default_rng(2)
    data = [stratum(rng, 9000, 1000, 0, 0), stratum(rng, 1000, 9000, 4, 0)]
    plain = np.concatenate([t for _, t in data]).mean() - np.concatenate([c for c, _ in data]).mean()
    found = post_stratified(moments_of(data), control="a", treatment="b", alpha=0.05)
    assert plain > 3
    assert found.low < 0 < found.high


def test_it_equals_a_regression_on_strata_and_interactions():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    data = [stratum(rng, 60, 40, 1, 1), stratum(rng, 50, 150, 3, 0.2), stratum(rng, 30, 20, 7, 2)]
    y = np.concatenate([np.concatenate([c, t]).ravel() for c, t in data])
    treated = np.concatenate([np.repeat([0.0, 1.0], [len(c), len(t)]) for c, t in data])
    which = np.repeat([0, 1, 2], [len(c) + len(t) for c, t in data])
    centred = np.stack([(which == s) - np.mean(which == s) for s in (1, 2)], axis=1)
    design = np.column_stack([np.ones(len(y)), treated, centred, centred * treated[:, None]])
    fit = sm.OLS(y, design).fit()
    found = post_stratified(moments_of(data), control="a", treatment="b", alpha=0.05)
    assert found.value == pytest.approx(fit.params[1], rel=1e-10)


@pytest.mark.parametrize("of", ["mean", "ratio"])
def test_one_stratum_is_the_plain_comparison(of):
    from sparkds.stats.arm_effects import difference, relative_difference

    rng = np.random.default_rng(4)
    (arms,) = moments_of([stratum(rng, 80, 90, 10, 1, k=1 if of == "mean" else 2)])
    told = {"control": "a", "treatment": "b", "alpha": 0.05, "of": of}
    absolute = post_stratified([arms], **told)
    plain = difference(arms, **told, distribution="z")
    assert (absolute.value, absolute.std_error, absolute.pvalue) == pytest.approx((plain.value, plain.std_error, plain.pvalue), rel=1e-10)
    relative, known = post_stratified([arms], **told, scale="relative"), relative_difference(arms, **told)
    assert (relative.value, relative.low, relative.high) == pytest.approx((known.value, known.low, known.high), rel=1e-10)


def test_the_interval_covers_when_weights_are_random():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(1500):
        which = rng.random(400) < 0.3
        treated = np.where(which, rng.random(400) < 0.7, rng.random(400) < 0.4)
        y = 2.0 * which + treated * np.where(which, 1.0, 0.2) + rng.normal(0, 1, 400)
        strata = [{arm: Moments.of(y[(which == s) & (treated == (arm == "b"))][:, None]) for arm in "ab"} for s in (False, True)]
        found = post_stratified(strata, control="a", treatment="b", alpha=0.05)
        covered += found.low <= 0.3 * 1.0 + 0.7 * 0.2 <= found.high
    assert 0.935 <= covered / 1500 <= 0.965


def test_a_stratum_with_too_few_units_says_which_and_an_empty_one_does_not_matter():
    rng = np.random.default_rng(6)
    full = moments_of([stratum(rng, 20, 20, 1, 0)])
    thin = {"a": Moments.of(np.array([[1.0], [2.0]])), "b": Moments.of(np.array([[1.0]]))}
    assert "stratum 2 of 2" in post_stratified([*full, thin], control="a", treatment="b", alpha=0.05).reason
    assert post_stratified([*full, {}], control="a", treatment="b", alpha=0.05).reason == ""
    with pytest.raises(ConfigError, match="no strata"):
        post_stratified([], control="a", treatment="b", alpha=0.05)
