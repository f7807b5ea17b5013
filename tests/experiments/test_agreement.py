"""Agreement of effects with tea-tasting and with regressions, on the same units without Spark."""

import math

import numpy as np
import pytest
from scipy import stats

from sparkds.experiments.effects import effects
from sparkds.experiments.metrics import Attribute, Count, Proportion, RatioOfMeans, Sum
from sparkds.experiments.unit_values import OfCount
from sparkds.stats.sample_ratio import sample_ratio

from .test_effects import experiment, only, statistic

tt = pytest.importorskip("tea_tasting")

REVENUE = Sum(name="revenue", fact="f", column="x", role="primary")
ADJUSTED = Sum(name="adjusted", fact="f", column="x", role="primary", covariates=(Attribute(column="before"),))
CLICKS = RatioOfMeans(name="clicks", numerator=OfCount(fact="f"), denominator=OfCount(fact="g"))
BOUGHT = Proportion(name="bought", fact="f")


@pytest.fixture(scope="module")
def units():
    """2 000 units: revenue with a covariate that explains most of it, clicks of views, whether something was bought."""
    import pandas as pd

    rng = np.random.default_rng(1)
    n = 2000
    arm, before, views = rng.choice(["c", "t"], n), rng.gamma(2, 3, n), rng.poisson(3, n) + 1.0
    clicks = rng.binomial(views.astype(int), 0.2) * 1.0
    revenue = 0.8 * before + rng.normal(0, 2, n) + 0.4 * (arm == "t")
    bought = (clicks > 0) * 1.0
    return pd.DataFrame({"arm": arm, "before": before, "views": views, "clicks": clicks, "revenue": revenue, "bought": bought})


@pytest.fixture(scope="module")
def theirs(units):
    metrics = {
        "revenue": tt.Mean("revenue"),
        "adjusted": tt.Mean("revenue", "before"),
        "clicks": tt.RatioOfMeans("clicks", "views"),
        "bought": tt.Proportion("bought", correction=False),
        "split": tt.SampleRatio(method="norm", correction=False),
    }
    return tt.Experiment(metrics, variant="arm").analyze(units, control="c")


@pytest.fixture(scope="module")
def ours(units):
    known = np.zeros(len(units))
    columns = {
        REVENUE: units[["revenue"]].to_numpy(),
        ADJUSTED: np.column_stack([units["revenue"], units["before"], known]),
        CLICKS: units[["clicks", "views"]].to_numpy(),
        BOUGHT: units[["bought"]].to_numpy(),
    }
    told = [statistic(metric, arm, x[units["arm"] == arm]) for metric, x in columns.items() for arm in "ct"]
    return effects(experiment(correction="none"), list(columns), told, ended=True)


@pytest.mark.parametrize("name", ["revenue", "clicks"])
def test_differences_and_relative_changes_agree_with_tea_tasting(ours, theirs, name):
    absolute = only(ours, name=name, scale="absolute", variant="declared")
    relative = only(ours, name=name, scale="relative", variant="declared")
    known = theirs[name]
    assert (absolute.control_value, absolute.treatment_value) == pytest.approx((known.control, known.treatment), rel=1e-12)
    assert absolute.value == pytest.approx(known.effect_size, rel=1e-12)
    assert relative.value == pytest.approx(known.rel_effect_size, rel=1e-12)
    # Student's t there throughout; ratios and relative changes are on the normal distribution here: two parts in a thousand at this n
    close = 1e-9 if name == "revenue" else 3e-3
    assert (absolute.low, absolute.high) == pytest.approx((known.effect_size_ci_lower, known.effect_size_ci_upper), rel=close)
    assert absolute.pvalue == pytest.approx(known.pvalue, rel=close)
    assert (relative.low, relative.high) == pytest.approx((known.rel_effect_size_ci_lower, known.rel_effect_size_ci_upper), rel=5e-3)


def test_cuped_agrees_with_tea_tasting_and_with_the_regression_on_the_covariate(ours, theirs, units):
    sm = pytest.importorskip("statsmodels.api")
    row, known = only(ours, name="adjusted", scale="absolute", variant="declared"), theirs["adjusted"]
    design = np.column_stack([np.ones(len(units)), units["arm"] == "t", units["before"]]).astype(float)
    fit = sm.OLS(units["revenue"].to_numpy(), design).fit()
    assert row.value == pytest.approx(fit.params[1], rel=1e-9)  # theta is that of the regression within arms
    assert row.std_error == pytest.approx(fit.bse[1], rel=2e-3)
    assert row.value == pytest.approx(known.effect_size, rel=2e-3)  # theta there is over all units, not within arms
    assert (row.low, row.high) == pytest.approx((known.effect_size_ci_lower, known.effect_size_ci_upper), rel=5e-3)
    correlation = units.groupby("arm")[["revenue", "before"]].corr().iloc[0::2]["before"].mean()
    assert row.variance_reduction == pytest.approx(correlation**2, rel=0.02)
    relative = only(ours, name="adjusted", scale="relative", variant="declared")
    assert relative.value == pytest.approx(known.rel_effect_size, rel=2e-3)
    assert (relative.low, relative.high) == pytest.approx((known.rel_effect_size_ci_lower, known.rel_effect_size_ci_upper), rel=1e-2)


def test_shares_agree_with_tea_tasting_in_test_and_values(ours, theirs):
    row, known = only(ours, name="bought", scale="absolute"), theirs["bought"]
    assert row.value == pytest.approx(known.effect_size, rel=1e-9)
    assert row.pvalue == pytest.approx(known.pvalue, rel=1e-9)


def test_the_sample_ratio_agrees_with_tea_tasting(theirs, units):
    counts = [int((units["arm"] == arm).sum()) for arm in "ct"]
    found = sample_ratio(counts, [0.5, 0.5], alpha=0.001)
    assert found.pvalue == pytest.approx(theirs["split"].pvalue, rel=1e-9)
    assert found.pvalue == pytest.approx(stats.chisquare(counts).pvalue, rel=1e-9)


def test_a_count_is_a_mean_like_any_other(units):
    metric = Count(name="n", fact="f")
    told = [statistic(metric, arm, units.loc[units["arm"] == arm, ["clicks"]].to_numpy()) for arm in "ct"]
    row = only(effects(experiment(), [metric], told, ended=True), scale="absolute")
    a, b = (units.loc[units["arm"] == arm, "clicks"] for arm in "ct")
    assert row.pvalue == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue, rel=1e-9)
    assert math.isfinite(row.log10_pvalue)
