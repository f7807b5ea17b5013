"""The plan of a design against closed forms and published numbers, and what it says where there is none."""

import doctest
import math
from datetime import date

import numpy as np
import pytest
from scipy import stats

from sparkds.experiments import plan as module
from sparkds.experiments.metric_plan import Measured, covariate_correlation
from sparkds.experiments.plan import n_after, plan_of, weeks_for
from sparkds.stats.group_moments import GroupMoments
from tests.experiments.designs import DESIGN, PER_VISIT, REVENUE, design, of_mean

Z = stats.norm.isf(0.025) + stats.norm.ppf(0.8)
HISTORY = {"days": 28, "eligible": {"fact": "visits", "where": "true"}}


def moments(x):
    x = np.asarray(x, dtype=float)
    mean = x.mean(axis=0)
    return GroupMoments(np.array([len(x)]), mean[None], ((x - mean).T @ (x - mean))[None])


def measured(n_units=1_000, by_week=(400, 700, 900, 1_000), **of):
    return Measured(date(2026, 5, 1), date(2026, 5, 28), n_units, tuple(by_week), {k: moments(v) for k, v in of.items()})


def test_examples():
    from sparkds.experiments import metric_plan

    assert doctest.testmod(module).failed == doctest.testmod(metric_plan).failed == 0


def test_five_percent_and_ten_percent_relative_need_31234_an_arm():
    # as R's power.prop.test(p1 = .05, p2 = .055, power = .8), which pools the variance under the null only
    pooled = stats.norm.isf(0.025) * math.sqrt(2 * 0.0525 * 0.9475) + stats.norm.ppf(0.8) * math.sqrt(0.05 * 0.95 + 0.055 * 0.945)
    plan = plan_of(design())
    assert plan.n == {"control": 31_234, "green": 31_234} == dict.fromkeys(("control", "green"), math.ceil((pooled / 0.005) ** 2))
    assert (plan.n_total, plan.decided_by, plan.metrics[0].method) == (62_468, "bought", "z pooled")
    unpooled = plan_of(design(proportion_test="unpooled")).metrics[0]
    assert unpooled.n == (math.ceil(Z**2 * (0.05 * 0.95 + 0.055 * 0.945) / 0.005**2),) * 2 == (31_231, 31_231)
    assert unpooled.method == "z unpooled"


def test_duration_is_in_whole_weeks_and_power_is_that_of_the_units_reached():
    plan = plan_of(design())
    assert (plan.weeks, plan.n_reached) == (2, 70_000)
    (row,) = plan.metrics
    assert 0.8 < row.power < 0.9
    assert 0.09 < row.relative_mde < 0.1
    assert row.mde == pytest.approx(row.relative_mde * 0.05)
    exactly = plan_of(design(traffic_per_day=62_468 / 14))
    assert exactly.weeks == 2
    assert exactly.metrics[0].power == pytest.approx(0.8, abs=1e-5)
    assert exactly.metrics[0].relative_mde == pytest.approx(0.1, abs=1e-5)


def test_an_absolute_effect_equals_the_relative_one():
    assert plan_of(design(claim={"kind": "superiority", "mde": {"absolute": 0.005}})).n == plan_of(design()).n


def test_a_metric_where_less_is_better_is_planned_for_a_decrease():
    less = [{**DESIGN["metrics"][0], "direction": "decrease"}]
    (row,) = plan_of(design(metrics=less)).metrics
    assert row.effect == pytest.approx(-0.005)
    assert row.mde < 0
    assert row.n_total < 62_468
    one_sided = plan_of(design(metrics=less, sides="one")).metrics[0]
    assert one_sided.claim == "smaller"
    assert one_sided.n_total < row.n_total


def test_means_need_what_the_normal_formula_says_and_a_unit_or_two_for_t():
    for std in (40.0, 80.0):
        wanted = 2 * Z**2 * std**2 / 2.0**2
        assert plan_of(of_mean(std, mean_test="z")).metrics[0].n[0] == math.ceil(wanted)
        assert 0 <= plan_of(of_mean(std)).metrics[0].n[0] - wanted <= 3


def test_covariates_clusters_and_looks_change_the_units_by_their_factors():
    plain = plan_of(of_mean(400.0, mean_test="z")).n_total
    covariates = {"covariates": [{"kind": "pre_period", "days": 14}]}
    cuped = plan_of(of_mean(400.0, metric=covariates, baseline={"covariate_correlation": 0.6}, mean_test="z"))
    assert cuped.n_total == pytest.approx(plain * 0.64, rel=1e-4)
    assert "CUPED with correlation 0.6" in cuped.metrics[0].method
    clustered = plan_of(of_mean(400.0, clusters={"size": 5, "icc": 0.1}, mean_test="z"))
    assert clustered.n_total == pytest.approx(plain * 1.4, rel=1e-4)
    always = plan_of(of_mean(400.0, looks={"kind": "always_valid"}, mean_test="z"))
    assert always.n_total == pytest.approx(plain * 1.9148, rel=1e-4)
    assert always.looks == ()


@pytest.mark.parametrize("sides", ["two", "one"])
def test_the_looks_together_have_the_wanted_power(sides):
    looks = {"kind": "group_sequential", "looks": [0.2, 0.4, 0.6, 0.8, 1.0], "spending": "power", "rho": 2}
    plan = plan_of(of_mean(400.0, looks=looks, sides=sides, mean_test="z"))
    assert plan.n_total > 1.05 * plan_of(of_mean(400.0, sides=sides, mean_test="z")).n_total
    rng = np.random.default_rng(3)
    units = np.diff([0, *(look.n_total / 2 for look in plan.looks)])  # per arm, since the look before
    sums = np.cumsum(rng.normal(2.0 * units, 400.0 * np.sqrt(2 * units), (400_000, 5)), axis=1)
    z = sums / (400.0 * np.sqrt(2 * np.cumsum(units)))
    rejected = (z >= [look.z for look in plan.looks]).any(axis=1).mean()
    assert rejected == pytest.approx(0.8, abs=0.002)


def test_covariates_of_unknown_gain_are_told():
    plan = plan_of(of_mean(40.0, metric={"covariates": [{"kind": "pre_period", "days": 14}]}))
    assert plan.warnings == ("metric 'revenue' has covariates whose gain is not known; the plan counts none",)


def test_looks_have_units_weeks_and_boundaries():
    looks = {"kind": "group_sequential", "looks": [0.5, 1.0], "spending": "obrien_fleming"}
    plan = plan_of(design(looks=looks))
    first, last = plan.looks
    assert (first.z, last.z) == (pytest.approx(2.963, abs=1e-3), pytest.approx(1.969, abs=1e-3))
    assert (first.n_total, last.n_total) == (math.ceil(plan.n_total / 2), plan.n_total)
    assert (first.week, last.week, last.spent) == (1, 2, pytest.approx(0.05))


def test_the_guardrail_that_needs_more_decides_and_is_planned_one_sided_at_no_effect():
    plan = plan_of(
        design(metrics=[*DESIGN["metrics"], REVENUE], baselines={**DESIGN["baselines"], "revenue": {"kind": "mean", "mean": 20, "std": 40}})
    )
    bought, revenue = plan.metrics
    assert plan.decided_by == "revenue"
    assert (revenue.claim, revenue.margin, revenue.effect, revenue.alpha) == ("non-inferiority", pytest.approx(0.4), 0.0, 0.05)
    normal = 2 * (stats.norm.isf(0.05) + stats.norm.ppf(0.8)) ** 2 * (40 / 0.4) ** 2
    assert 0 <= revenue.n[0] - normal <= 3
    assert plan.n["green"] == revenue.n[1] > bought.n[1]
    assert bought.power > 0.999
    assert plan.joint_power == pytest.approx(1 - (1 - bought.power) - (1 - revenue.power))


def test_several_arms_share_alpha_and_units_by_their_weights():
    arms = {"a": 0.25, "control": 0.5, "b": 0.25}
    plan = plan_of(of_mean(400.0, arms=arms, correction="bonferroni", mean_test="z"))
    z = stats.norm.isf(0.0125) + stats.norm.ppf(0.8)
    wanted = z**2 * 400**2 * (1 + 2) / 2.0**2
    assert plan.n == {"a": math.ceil(math.ceil(wanted) / 2), "control": math.ceil(wanted), "b": math.ceil(math.ceil(wanted) / 2)}
    assert list(plan.n) == list(arms)
    totals = {
        c: plan_of(of_mean(400.0, arms=arms, correction=c)).n_total for c in ("none", "sidak", "holm", "hochberg", "bh", "by", "holm_sidak")
    }
    assert totals["holm"] == totals["hochberg"] == totals["bh"]
    assert totals["none"] < totals["sidak"] == totals["holm_sidak"] < totals["holm"] < totals["by"]


def test_a_ratio_is_planned_by_its_linearised_variance():
    baseline = {"kind": "ratio", "numerator_mean": 20, "numerator_std": 40, "denominator_mean": 4, "denominator_std": 3, "correlation": 0.5}
    (row,) = plan_of(design(metrics=[PER_VISIT], baselines={"per_visit": baseline})).metrics
    variance = (40**2 - 2 * 5 * 0.5 * 40 * 3 + 25 * 9) / 16
    assert row.baseline == 5.0
    assert row.std == pytest.approx(math.sqrt(variance))
    assert row.n[0] == math.ceil(2 * Z**2 * variance / 0.5**2)


@pytest.mark.parametrize(("kind", "z"), [("noninferiority", stats.norm.ppf(0.8)), ("equivalence", stats.norm.ppf(0.9))])
def test_claims_with_a_margin_are_planned_at_no_effect(kind, z):
    plan = plan_of(of_mean(400.0, claim={"kind": kind, "margin": {"relative": 0.1}}, mean_test="z"))
    (row,) = plan.metrics
    assert row.margin == pytest.approx(2.0)
    assert abs(row.n[0] - 2 * (stats.norm.isf(0.05) + z) ** 2 * 400**2 / 2.0**2) <= 1
    assert row.mde <= 2.0
    assert row.mde == pytest.approx(2.0, rel=0.02)
    assert len(plan.warnings) == 1
    proportion = plan_of(design(claim={"kind": kind, "margin": {"absolute": 0.005}})).metrics[0]
    assert proportion.method == "z unpooled"


def test_exact_power_of_a_proportion_stands_beside_the_formula():
    (row,) = plan_of(design(baselines={"bought": {"kind": "proportion", "share": 0.3}}, claim={"kind": "superiority", "mde": {"absolute": 0.1}}, exact=True, traffic_per_day=10)).metrics  # fmt: skip
    assert row.exact_power == pytest.approx(row.power, abs=0.01)
    assert row.exact_power != row.power


def test_measured_moments_become_baseline_variance_and_correlation():
    rng = np.random.default_rng(1)
    pre = rng.gamma(2.0, 10.0, 5_000)
    x = np.stack([pre + rng.normal(0, 20, 5_000), pre, rng.random(5_000) < 0.1], axis=1)
    metric = {**REVENUE, "role": "primary", "margin": None, "covariates": [{"kind": "pre_period", "days": 14}]}
    declared = design(metrics=[metric], baselines={}, history=HISTORY, traffic_per_day=None)
    plan = plan_of(declared, measured(revenue=x))
    (row,) = plan.metrics
    assert row.baseline == pytest.approx(x[:, 0].mean())
    assert row.std == pytest.approx(x[:, 0].std(ddof=1))
    design_matrix = np.column_stack([np.ones(len(x)), x[:, 1:]])
    residual = x[:, 0] - design_matrix @ np.linalg.lstsq(design_matrix, x[:, 0], rcond=None)[0]
    assert row.covariate_correlation**2 == pytest.approx(1 - residual.var() / x[:, 0].var(), rel=1e-9)
    assert row.variance_factor == pytest.approx(residual.var() / x[:, 0].var(), rel=1e-9)
    assert row.source == "measured, 5000 units"
    assert plan.warnings == ()


def test_a_measured_share_and_a_measured_ratio_are_those_of_their_typed_baselines():
    rng = np.random.default_rng(2)
    bought = (rng.random(1_000) < 0.2).astype(float)[:, None]
    declared = design(baselines={}, history=HISTORY)
    typed = plan_of(design(baselines={"bought": {"kind": "proportion", "share": bought.mean()}}))
    assert plan_of(declared, measured(bought=bought)).n == typed.n
    visits = rng.poisson(3, 1_000) + 1.0
    amount = visits * rng.gamma(2.0, 5.0, 1_000)
    c = np.cov(amount, visits)
    baseline = {"kind": "ratio", "numerator_mean": amount.mean(), "numerator_std": math.sqrt(c[0, 0]), "denominator_mean": visits.mean(),
                "denominator_std": math.sqrt(c[1, 1]), "correlation": np.corrcoef(amount, visits)[0, 1]}  # fmt: skip
    found = plan_of(design(metrics=[PER_VISIT], baselines={}, history=HISTORY), measured(per_visit=np.stack([amount, visits], axis=1)))
    assert found.n == plan_of(design(metrics=[PER_VISIT], baselines={"per_visit": baseline})).n


def test_constant_and_collinear_covariates_do_no_harm():
    covariance = np.array([[4.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert covariate_correlation(np.zeros(4), covariance, n_values=1) == pytest.approx(0.5)
    assert covariate_correlation(np.zeros(1), np.zeros((1, 1)), n_values=1) == 0.0
    assert covariate_correlation(np.zeros(3), np.eye(3), n_values=2) == 0.0


def test_units_by_week_follow_the_history_and_then_its_last_week():
    declared = design(history=HISTORY, traffic_per_day=None)
    told = measured()
    assert [n_after(declared, told, w) for w in range(7)] == [0, 400, 700, 900, 1_000, 1_100, 1_200]
    assert [weeks_for(declared, told, n) for n in (1, 400, 401, 1_000, 1_001, 1_100, 1_101)] == [1, 1, 2, 4, 5, 5, 6]
    half = design(history=HISTORY, traffic_per_day=None, coverage=0.5)
    assert (n_after(half, told, 2), weeks_for(half, told, 500), weeks_for(half, told, 501)) == (350, 4, 5)
    short = Measured(date(2026, 5, 1), date(2026, 5, 3), 300, (), {})
    assert (n_after(declared, short, 2), weeks_for(declared, short, 1_401)) == (1_400, 3)


def test_units_that_never_come_are_told():
    plan = plan_of(design(history=HISTORY, traffic_per_day=None), measured(by_week=(900, 1_000, 1_000)))
    assert (plan.weeks, plan.n_reached) == (None, 62_468)
    assert "62468 units never come" in plan.warnings[0]


def test_rows_of_the_curve_and_the_table_agree_with_the_plan():
    plan = plan_of(design(traffic_per_day=62_468 / 14))
    curve = {(round(r["relative_effect"], 3), r["n_total"]): r["power"] for r in plan.curve}
    assert curve[0.1, 62_468] == pytest.approx(0.8, abs=1e-5)
    assert {effect for effect, _ in curve} == {0.05, 0.075, 0.1, 0.125, 0.15}
    for effect in (0.05, 0.1, 0.15):
        powers = [p for (e, _), p in sorted(curve.items()) if e == effect]
        assert powers == sorted(powers)
        assert len(powers) == 40
    (row,) = [r for r in plan.sensitivity if (r["n_total"], r["power"]) == (62_468, 0.8)]
    assert row["relative_mde"] == pytest.approx(0.1, abs=1e-5)
    assert (row["weeks"], row["method"]) == (2, "z pooled")
    (more,) = [r for r in plan.sensitivity if (r["n_total"], r["power"]) == (4 * 62_468, 0.8)]
    assert more["mde"] == pytest.approx(row["mde"] / 2, rel=0.02)


@pytest.mark.parametrize(
    ("baseline", "reason"),
    [
        ({"kind": "proportion", "share": 0.0}, "relative to a baseline of 0 and has no size; give an absolute one"),
        ({"kind": "proportion", "share": 0.95}, "is not a share in"),
    ],
)
def test_a_primary_metric_that_cannot_be_planned_leaves_a_reason(baseline, reason):
    plan = plan_of(design(baselines={"bought": baseline}))
    assert (plan.n, plan.curve, plan.sensitivity) == ({}, [], [])
    assert reason in plan.reason
    assert reason in plan.metrics[0].reason


def test_a_constant_metric_and_a_history_without_units_leave_a_reason():
    assert "does not vary between units" in plan_of(of_mean(0.0)).reason
    declared = design(baselines={}, history=HISTORY)
    assert "the baseline is not known" in plan_of(declared, measured()).reason
    assert "the baseline is not known" in plan_of(declared, measured(bought=[[1.0]])).reason


def test_a_guardrail_that_cannot_be_planned_is_told_and_does_not_stop_the_plan():
    plan = plan_of(
        design(metrics=[*DESIGN["metrics"], REVENUE], baselines={**DESIGN["baselines"], "revenue": {"kind": "mean", "mean": 0, "std": 40}})
    )
    assert plan.n_total == 62_468
    assert plan.metrics[1].n is None
    assert "metric 'revenue' takes no part in the plan: the margin is relative to a baseline of 0" in plan.warnings[0]
    assert plan.joint_power == plan.metrics[0].power
