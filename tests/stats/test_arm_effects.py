"""Differences of arms: Welch and Student against scipy, CUPED against regression, ratios against simulation and the jackknife."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparkds.errors import ConfigError
from sparkds.stats.arm_effects import adjusted, difference, relative_difference
from sparkds.stats.moments import Moments, total


def arms_of(seed, sizes=(40, 55), k=1, shift=0.4, positive=False):
    rng = np.random.default_rng(seed)
    made = {}
    for i, n in enumerate(sizes):
        mix = np.eye(k) + 0.5
        x = rng.normal(0, 1, (n, k)) @ mix + i * shift * np.eye(k)[0]
        made["abcdef"[i]] = np.exp(x) if positive else x
    return made


def moments(raw):
    return {name: Moments.of(x) for name, x in raw.items()}


@pytest.mark.parametrize("sides", ["two", "greater", "less"])
@pytest.mark.parametrize("variance", ["unequal", "pooled"])
def test_differences_of_means_equal_scipy(sides, variance):
    raw = arms_of(1)
    found = difference(moments(raw), control="a", treatment="b", alpha=0.1, sides=sides, variance=variance)
    alternative = {"two": "two-sided"}.get(sides, sides)
    wanted = stats.ttest_ind(raw["b"][:, 0], raw["a"][:, 0], equal_var=variance == "pooled", alternative=alternative)
    interval = wanted.confidence_interval(0.9)
    assert (found.statistic, found.pvalue) == (pytest.approx(wanted.statistic), pytest.approx(wanted.pvalue))
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert (found.n_control, found.n_treatment) == (40, 55)


def test_the_normal_version_equals_statsmodels():
    sm = pytest.importorskip("statsmodels.stats.weightstats")
    raw = arms_of(2)
    found = difference(moments(raw), control="a", treatment="b", alpha=0.05, distribution="z")
    compared = sm.CompareMeans(sm.DescrStatsW(raw["b"][:, 0]), sm.DescrStatsW(raw["a"][:, 0]))
    statistic, pvalue = compared.ztest_ind(usevar="unequal")
    assert (found.statistic, found.pvalue) == (pytest.approx(statistic), pytest.approx(pvalue))
    low, high = compared.zconfint_diff(usevar="unequal")
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("p", [1, 3])
def test_cuped_with_one_theta_is_the_regression_on_arm_and_covariates(p):
    raw = arms_of(3, sizes=(300, 200), k=1 + p)
    made = moments(raw)
    values = adjusted(made)
    y = np.concatenate([raw["a"][:, 0], raw["b"][:, 0]])
    design = np.column_stack([np.ones(500), np.repeat([0.0, 1.0], [300, 200]), np.concatenate([raw["a"][:, 1:], raw["b"][:, 1:]])])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    np.testing.assert_allclose(values.theta, coefficients[2:], rtol=1e-9)
    found = difference(made, control="a", treatment="b", alpha=0.05)
    assert found.value == pytest.approx(coefficients[1], rel=1e-9)
    plain = difference(made, control="a", treatment="b", alpha=0.05, covariates=False)
    assert found.std_error < plain.std_error
    assert plain.value == pytest.approx(raw["b"][:, 0].mean() - raw["a"][:, 0].mean())
    residual = {n: x[:, 0] - x[:, 1:] @ values.theta for n, x in raw.items()}
    assert found.std_error == pytest.approx(math.sqrt(sum(r.var(ddof=1) / len(r) for r in residual.values())), rel=1e-9)
    within = sum(((r - r.mean()) ** 2).sum() for r in residual.values()) / sum(m.m2[0, 0] for m in made.values())
    assert values.variance_reduction == pytest.approx(1 - within, rel=1e-9)


def test_several_arms_share_theta_and_agree_about_the_control():
    made = moments(arms_of(4, sizes=(100, 100, 120), k=2))
    one = adjusted(made)
    for treatment in ("b", "c"):
        found = difference(made, control="a", treatment=treatment, alpha=0.05)
        assert found.value == pytest.approx(one.value[treatment] - one.value["a"])


def test_a_repeated_or_constant_covariate_does_no_harm():
    raw = arms_of(5, k=2)
    doubled = {n: np.column_stack([x, x[:, 1], np.full(len(x), 7.0)]) for n, x in raw.items()}
    found = difference(moments(doubled), control="a", treatment="b", alpha=0.05)
    wanted = difference(moments(raw), control="a", treatment="b", alpha=0.05)
    assert (found.value, found.std_error) == (pytest.approx(wanted.value), pytest.approx(wanted.std_error))


def test_a_ratio_has_the_delta_methods_error():
    raw = arms_of(6, k=2, positive=True, sizes=(400, 500))
    found = difference(moments(raw), control="a", treatment="b", alpha=0.05, of="ratio")
    ratios, variances = {}, {}
    for name, x in raw.items():
        y, d = x.T
        r = y.mean() / d.mean()
        ratios[name], variances[name] = r, np.var(y - r * d, ddof=1) / d.mean() ** 2 / len(y)
    assert found.value == pytest.approx(ratios["b"] - ratios["a"])
    assert found.std_error == pytest.approx(math.sqrt(sum(variances.values())))
    jackknife = 0.0
    for x in raw.values():
        n = len(x)
        left_out = (x[:, 0].sum() - x[:, 0]) / (x[:, 1].sum() - x[:, 1])
        jackknife += (n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()
    assert found.std_error == pytest.approx(math.sqrt(jackknife), rel=0.1)


def by_gradient(raw, of, relative):
    """Error of the log ratio of adjusted values by a numerical gradient over the means of all arms, theta held fixed."""
    made = moments(raw)
    theta = adjusted(made, of=of).theta
    first = 1 if of == "mean" else 2
    sizes = {n: len(x) for n, x in raw.items()}

    def log_ratio(means):
        pool = sum(means[n][first:] * sizes[n] for n in means) / sum(sizes.values())
        value = {n: (m[0] if of == "mean" else m[0] / m[1]) - theta @ (m[first:] - pool) for n, m in means.items()}
        return math.log(value["b"] / value["a"])

    means = {n: m.mean for n, m in made.items()}
    variance = 0.0
    for n, m in made.items():
        gradient = np.zeros(len(m.mean))
        for i in range(len(gradient)):
            h = 1e-5
            up, down = dict(means), dict(means)
            up[n] = means[n] + h * np.eye(len(gradient))[i]
            down[n] = means[n] - h * np.eye(len(gradient))[i]
            gradient[i] = (log_ratio(up) - log_ratio(down)) / (2 * h)
        variance += gradient @ m.cov() @ gradient / m.n
    return log_ratio(means), math.sqrt(variance)


@pytest.mark.parametrize(("of", "k"), [("mean", 1), ("mean", 3), ("ratio", 2), ("ratio", 4)])
@pytest.mark.parametrize("sizes", [(200, 300), (150, 200, 250)])
def test_relative_effects_have_the_full_delta_error(of, k, sizes):
    raw = arms_of(7, sizes=sizes, k=k, positive=True)
    found = relative_difference(moments(raw), control="a", treatment="b", alpha=0.05, of=of)
    logarithm, error = by_gradient(raw, of, True)
    assert found.value == pytest.approx(math.expm1(logarithm), rel=1e-9)
    assert found.low == pytest.approx(math.expm1(logarithm - 1.959963984540054 * error), rel=1e-5)
    assert found.high == pytest.approx(math.expm1(logarithm + 1.959963984540054 * error), rel=1e-5)


def test_fiellers_interval_is_the_set_of_ratios_that_are_not_rejected():
    raw = arms_of(8, sizes=(60, 60), positive=True)
    made = moments(raw)
    found = relative_difference(made, control="a", treatment="b", alpha=0.05, method="fieller")
    for edge in (found.low, found.high):
        ratio = 1 + edge
        spread = math.sqrt(sum(w**2 * m.cov()[0, 0] / m.n for w, m in ((ratio, made["a"]), (1, made["b"]))))
        assert abs(made["b"].mean[0] - ratio * made["a"].mean[0]) / spread == pytest.approx(1.959963984540054)
    assert found.low < found.value < found.high


def test_a_control_near_zero_has_no_relative_effect():
    rng = np.random.default_rng(9)
    made = moments({"a": rng.normal(0.01, 1, (50, 1)), "b": rng.normal(1, 1, (50, 1))})
    assert "not different from 0" in relative_difference(made, control="a", treatment="b", alpha=0.05, method="fieller").reason
    made["a"] = Moments(50, np.zeros(1), made["a"].m2)
    assert "undefined" in relative_difference(made, control="a", treatment="b", alpha=0.05).reason


@pytest.mark.parametrize(
    ("a", "reason"),
    [
        (Moments.zero(1), "arm 'a' has 0 units"),
        (Moments(1, np.ones(1), np.zeros((1, 1))), "arm 'a' has 1 unit;"),
        (Moments(9, np.full(1, np.nan), np.zeros((1, 1))), "not finite"),
    ],
)
def test_too_little_has_a_reason(a, reason):
    made = {"a": a, "b": Moments.of(np.arange(5.0)[:, None])}
    for found in (
        difference(made, control="a", treatment="b", alpha=0.05),
        relative_difference(made, control="a", treatment="b", alpha=0.05),
    ):
        assert reason in found.reason
        assert math.isnan(found.pvalue)


def test_a_constant_metric_and_zero_denominators_have_a_reason():
    same = Moments.of(np.ones((5, 1)))
    assert "variance is 0" in difference({"a": same, "b": same}, control="a", treatment="b", alpha=0.05).reason
    no_views = Moments.of(np.column_stack([np.arange(5.0), np.zeros(5)]))
    some = Moments.of(np.column_stack([np.arange(5.0), np.arange(5.0) + 1]))
    assert "sum to 0" in difference({"a": no_views, "b": some}, control="a", treatment="b", alpha=0.05, of="ratio").reason


def test_an_unknown_arm_is_refused():
    same = Moments.of(np.ones((5, 1)))
    with pytest.raises(ConfigError, match=r"no arm 'contrl'; did you mean 'control'\?"):
        difference({"control": same, "b": same}, control="contrl", treatment="b", alpha=0.05)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_moments_of_parts_add_to_the_whole(seed, parts):
    x = np.random.default_rng(seed).normal(3, 2, (40, 2))
    cuts = np.sort(np.random.default_rng(seed + 1).integers(0, 41, parts))
    pieces = [Moments.of(piece) for piece in np.split(x, cuts)]
    for order in (pieces, pieces[::-1]):
        found, whole = total(order, 2), Moments.of(x)
        assert found.n == whole.n
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(found.m2, whole.m2, rtol=1e-11, atol=1e-11)


def test_moments_survive_a_large_offset():
    x = np.random.default_rng(1).normal(0, 1, (1000, 1))
    parts = total([Moments.of(piece) for piece in np.split(x + 1e12, 10)], 1)
    assert parts.cov()[0, 0] == pytest.approx(np.var(x + 1e12 - 1e12, ddof=1), rel=1e-3)


def test_moments_of_a_share_are_those_of_zeros_and_ones():
    found, wanted = Moments.of_share(3, 10), Moments.of(np.repeat([1.0, 0.0], [3, 7])[:, None])
    assert found.n == wanted.n
    np.testing.assert_allclose([found.mean[0], found.m2[0, 0]], [wanted.mean[0], wanted.m2[0, 0]])
    assert Moments.of_share(0, 0).n == 0
    assert wanted.select([0]).mean.tolist() == [0.3]
