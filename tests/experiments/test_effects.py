"""Effects, peeking, corrections, checks and decisions from hand-made statistics, without Spark."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sparkds.experiments.checks import checks, sample_ratio_checks
from sparkds.experiments.decisions import decisions
from sparkds.experiments.effects import Statistic, effects, statistic_of
from sparkds.experiments.experiment import Experiment
from sparkds.experiments.metrics import Count, Mean, Proportion, Quantile, Sum
from sparkds.experiments.peeking import Look, is_final, peeked, unplanned_look
from sparkds.stats.always_valid import confidence_sequence, tuning_rho
from sparkds.stats.estimate import estimate
from sparkds.stats.log_histogram import bins
from sparkds.stats.moments import Moments
from sparkds.stats.sequential import Spending, group_sequential

BASE = {
    "name": "e", "arms": {"c": 0.5, "t": 0.5}, "control": "c", "start": "2026-01-01T00:00Z", "alpha": 0.05, "correction": "holm",
    "peeking": {"kind": "fixed"},
}  # fmt: skip
THREE = {"arms": {"c": 0.4, "t": 0.3, "u": 0.3}}
REVENUE = Sum(name="revenue", fact="f", column="x", role="primary")
BOUGHT = Proportion(name="bought", fact="f", role="primary")
LOAD = Mean(name="load", fact="f", column="ms", direction="decrease", role="guardrail", margin=0.05)


def experiment(**changes):
    return Experiment.model_validate({**BASE, **changes})


def statistic(metric, arm, x, **told):
    x = np.asarray(x, dtype=float)
    return Statistic(
        metric.name,
        told.pop("variant", "declared"),
        told.pop("segment", ""),
        told.pop("value", ""),
        arm,
        Moments.of(x.reshape(len(x), -1)),
        **told,
    )


def raw(seed, n, mean, sd=1.0):
    return np.random.default_rng(seed).normal(mean, sd, n)


def only(rows, **wanted):
    (row,) = [r for r in rows if all(getattr(r, k) == v for k, v in wanted.items())]
    return row


def test_a_mean_is_compared_by_welchs_test_and_a_share_by_the_pooled_z_test():
    a, b = raw(1, 300, 10), raw(2, 320, 10.3)
    x, y = np.repeat([1.0, 0.0], [60, 240]), np.repeat([1.0, 0.0], [90, 230])
    rows = effects(
        experiment(), [REVENUE, BOUGHT],
        [statistic(REVENUE, "c", a), statistic(REVENUE, "t", b), statistic(BOUGHT, "c", x), statistic(BOUGHT, "t", y)], ended=True,
    )  # fmt: skip
    mean = only(rows, name="revenue", scale="absolute")
    assert mean.pvalue == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue)
    share = only(rows, name="bought", scale="absolute")
    z = (90 / 320 - 60 / 300) / math.sqrt(150 / 620 * 470 / 620 * (1 / 300 + 1 / 320))
    assert share.pvalue == pytest.approx(2 * stats.norm.sf(z))
    assert "newcombe" in share.method
    assert only(rows, name="revenue", scale="relative").value == pytest.approx(b.mean() / a.mean() - 1)
    assert (share.control_value, share.treatment_value) == (pytest.approx(0.2), pytest.approx(90 / 320))
    assert {r.status for r in rows} == {""}


@pytest.mark.parametrize(
    ("how", "method"),
    [
        ({"variance": "unpooled", "interval": "wald"}, "wald"),
        ({"interval": "agresti_caffo"}, "agresti_caffo"),
        ({"interval": "miettinen_nurminen"}, "miettinen_nurminen"),
        ({"exact": "barnard"}, "barnard"),
        ({"exact": "boschloo"}, "boschloo"),
        ({"continuity": True}, "continuity"),
    ],
)
def test_the_test_of_proportions_is_chosen_and_named(how, method):
    from sparkds.stats.proportions import exact_two_proportions, two_proportions

    x, y = np.repeat([1.0, 0.0], [12, 48]), np.repeat([1.0, 0.0], [22, 40])
    rows = effects(experiment(proportions=how), [BOUGHT], [statistic(BOUGHT, "c", x), statistic(BOUGHT, "t", y)], ended=True)
    row = only(rows, scale="absolute")
    known = two_proportions(12, 60, 22, 62, alpha=0.05, **{k: v for k, v in how.items() if k != "exact"})
    pvalue = known.pvalue if "exact" not in how else exact_two_proportions(12, 60, 22, 62, alpha=0.05, method=how["exact"]).pvalue
    assert (row.low, row.high, row.pvalue) == (known.low, known.high, pvalue)
    assert method in row.method.lower().replace("-", "_")


def test_exact_pvalues_are_never_taken_when_that_is_declared():
    few = [statistic(BOUGHT, "c", [1] + [0] * 29), statistic(BOUGHT, "t", [1] * 6 + [0] * 24)]
    row = only(effects(experiment(proportions={"exact": "never"}), [BOUGHT], few, ended=True), scale="absolute")
    assert "fisher" not in row.method.lower()


def test_fiellers_interval_is_a_choice_for_a_fixed_horizon():
    from sparkds.stats.arm_effects import relative_difference

    a, b = raw(1, 300, 10), raw(2, 320, 10.3)
    told = [statistic(REVENUE, "c", a), statistic(REVENUE, "t", b)]
    row = only(effects(experiment(relative="fieller"), [REVENUE], told, ended=True), scale="relative")
    arms = {"c": Moments.of(a[:, None]), "t": Moments.of(b[:, None])}
    known = relative_difference(arms, control="c", treatment="t", alpha=0.05, method="fieller")
    assert (row.low, row.high) == (known.low, known.high)
    assert "Fieller" in row.method
    with pytest.raises(ValueError, match="fixed horizon only"):
        experiment(relative="fieller", peeking={"kind": "always_valid", "planned_n": 100})


def test_a_guardrails_interval_is_open_on_the_side_that_is_not_tested():
    told = [statistic(LOAD, "c", raw(1, 300, 10)), statistic(LOAD, "t", raw(2, 300, 10))]
    row = only(effects(experiment(), [LOAD], told, ended=True), scale="relative")
    assert row.low == -math.inf
    assert math.isfinite(row.high)


def test_effects_are_post_stratified_by_phases_and_by_a_declared_segment():
    phased = experiment(phases=[{"start": "2026-01-08T00:00Z", "weights": {"c": 0.1, "t": 0.9}}])
    by_phase = [(raw(1, 900, 0), raw(2, 100, 0)), (raw(3, 100, 4), raw(4, 900, 4))]
    cells = [
        statistic(REVENUE, arm, x, segment="(phase)", value=str(i))
        for i, pair in enumerate(by_phase)
        for arm, x in zip("ct", pair, strict=True)
    ]
    cells += [statistic(REVENUE, arm, np.concatenate([pair[i] for pair in by_phase])) for i, arm in enumerate("ct")]
    rows = effects(phased, [REVENUE], cells, ended=True)
    plain = only(rows, variant="declared", scale="absolute", segment="")
    stratified = only(rows, variant="post_stratified", scale="absolute")
    wanted = np.mean([t.mean() - c.mean() for c, t in by_phase])
    assert plain.value > 3
    assert stratified.value == pytest.approx(wanted)
    assert stratified.low < 0 < stratified.high
    assert "over 2 strata" in stratified.method
    renamed = [replace(c, segment="plan") if c.segment else c for c in cells]
    by_plan = effects(experiment(segments=["plan"], strata="plan"), [REVENUE], renamed, ended=True)
    assert only(by_plan, variant="post_stratified", scale="absolute").value == pytest.approx(wanted)
    with pytest.raises(ValueError, match="did you mean 'plan'"):
        experiment(segments=["plan"], strata="plans")


def test_several_arms_are_tested_together_once_and_only_for_a_fixed_horizon():
    data = {"c": raw(1, 200, 5), "t": raw(2, 150, 5.1), "u": raw(3, 180, 5.6)}
    bought = {"c": 20, "t": 30, "u": 45}
    told = [statistic(REVENUE, arm, x) for arm, x in data.items()]
    told += [statistic(BOUGHT, arm, np.repeat([1.0, 0.0], [n, 200 - n])) for arm, n in bought.items()]
    rows = effects(experiment(**THREE), [REVENUE, BOUGHT], told, ended=True)
    share = only(rows, name="bought", variant="omnibus")
    known = stats.chi2_contingency([[n, 200 - n] for n in bought.values()], correction=False)
    assert (share.arm, share.statistic, share.pvalue) == ("", pytest.approx(known.statistic), pytest.approx(known.pvalue))
    mean = only(rows, name="revenue", variant="omnibus")
    assert "analysis of variance" in mean.method
    assert mean.pvalue < 1e-6
    looked = experiment(**THREE, peeking={"kind": "always_valid", "planned_n": 500})
    assert not [r for r in effects(looked, [REVENUE], told[:3], ended=True) if r.variant == "omnibus"]
    assert not [r for r in effects(experiment(), [REVENUE], told[:2], ended=True) if r.variant == "omnibus"]


def test_few_expected_successes_are_tested_exactly():
    rows = effects(
        experiment(), [BOUGHT], [statistic(BOUGHT, "c", [1] + [0] * 29), statistic(BOUGHT, "t", [1] * 6 + [0] * 24)], ended=True
    )  # fmt: skip
    row = only(rows, scale="absolute")
    assert "Fisher" in row.method
    assert row.pvalue == pytest.approx(stats.fisher_exact([[6, 1], [24, 29]])[1])


def test_the_family_is_primary_metrics_times_treatments_and_intervals_agree_with_it():
    made = []
    for metric in (REVENUE, replace_name(REVENUE, "margin_sum")):
        for arm, shift, seed in (("c", 0, 1), ("t", 0.25, 2), ("u", 0.05, 3)):
            made.append(statistic(metric, arm, raw(seed + hash(metric.name) % 7, 400, shift)))
    secondary = Count(name="n", fact="f")
    made += [statistic(secondary, arm, raw(i, 200, 5)) for i, arm in enumerate("ctu")]
    metrics = [REVENUE, replace_name(REVENUE, "margin_sum"), secondary]
    rows = [r for r in effects(experiment(**THREE), metrics, made, ended=True) if r.scale == "absolute"]
    family = [r for r in rows if r.role == "primary"]
    assert len(family) == 4
    order = sorted(family, key=lambda r: r.pvalue)
    worst = 0.0
    for i, row in enumerate(order):
        worst = max(worst, min(1.0, row.pvalue * (4 - i)))
        assert row.adjusted_pvalue == pytest.approx(worst)
        assert (row.adjusted_pvalue < 0.05) == (not row.adjusted_low <= 0 <= row.adjusted_high)
    assert all(math.isnan(r.adjusted_pvalue) for r in rows if r.role == "secondary")


def replace_name(metric, name):
    return metric.model_copy(update={"name": name})


def test_a_guardrail_is_tested_one_sided_against_its_margin_on_the_relative_scale():
    a, b = raw(1, 2000, 100, 5), raw(2, 2000, 101, 5)
    rows = effects(experiment(), [LOAD], [statistic(LOAD, "c", a), statistic(LOAD, "t", b)], ended=True)
    row = only(rows, scale="relative")
    error = math.sqrt(a.var(ddof=1) / a.mean() ** 2 / len(a) + b.var(ddof=1) / b.mean() ** 2 / len(b))
    z = (math.log(b.mean() / a.mean()) - math.log(1.05)) / error
    assert row.pvalue == pytest.approx(stats.norm.cdf(z))
    assert row.low == -1.0 or row.low == -math.inf
    told = decisions(experiment(), [LOAD], rows, [])
    assert only(told, name="load").status == "ship"


def test_a_guardrail_beyond_its_margin_stops_the_treatment():
    made = [statistic(LOAD, "c", raw(1, 2000, 100, 5)), statistic(LOAD, "t", raw(2, 2000, 108, 5))]
    made += [statistic(REVENUE, "c", raw(3, 2000, 1)), statistic(REVENUE, "t", raw(4, 2000, 1.5))]
    rows = effects(experiment(), [LOAD, REVENUE], made, ended=True)
    told = decisions(experiment(), [LOAD, REVENUE], rows, [])
    assert only(told, name="revenue").status == "ship"
    assert only(told, name="load").status == "do_not_ship"
    assert only(told, name="(all metrics)").status == "do_not_ship"


def test_before_the_planned_number_nothing_is_final():
    made = [statistic(REVENUE, "c", raw(3, 200, 1)), statistic(REVENUE, "t", raw(4, 200, 2))]
    early = experiment(peeking={"kind": "fixed", "planned_n": 1000})
    rows = effects(early, [REVENUE], made, ended=False)
    assert {r.status for r in rows} == {"not_final"}
    assert only(decisions(early, [REVENUE], rows, []), name="revenue").status == "inconclusive"
    assert is_final(early.peeking, n=1000, ended=False)
    assert not is_final(experiment().peeking, n=10, ended=False)
    assert is_final(experiment().peeking, n=10, ended=True)


def test_a_worse_primary_metric_is_not_shipped_whichever_way_is_better():
    slow = Mean(name="slow", fact="f", column="ms", direction="decrease", role="primary")
    made = [statistic(slow, "c", raw(3, 500, 1)), statistic(slow, "t", raw(4, 500, 2))]
    rows = effects(experiment(), [slow], made, ended=True)
    assert only(decisions(experiment(), [slow], rows, []), name="(all metrics)").status == "do_not_ship"
    one_sided = effects(experiment(sides="one"), [slow], made, ended=True)
    assert only(one_sided, scale="absolute").pvalue > 0.99


def test_small_segments_and_missing_arms_have_a_reason():
    made = [statistic(REVENUE, "c", raw(1, 30, 1), segment="s", value="v"), statistic(REVENUE, "t", raw(2, 200, 1), segment="s", value="v")]
    row = only(effects(experiment(segments=["s"]), [REVENUE], made, ended=True), segment="s")
    assert (row.status, row.n_control) == ("not_computable", 30)
    assert "smallest_segment" in row.reason
    alone = effects(experiment(), [REVENUE], [statistic(REVENUE, "c", raw(1, 30, 1))], ended=True)
    assert all(r.status == "not_computable" and "0 units" in r.reason for r in alone)
    assert only(decisions(experiment(), [REVENUE], alone, []), name="revenue").status == "inconclusive"


def test_covariates_are_shown_with_and_without():
    metric = REVENUE.model_copy(
        update={"covariates": Sum.model_validate({**REVENUE.model_dump(), "covariates": [{"kind": "pre_period", "days": 7}]}).covariates}
    )
    rng = np.random.default_rng(5)
    made = []
    for arm, shift in (("c", 0.0), ("t", 0.1)):
        before = rng.normal(5, 2, 800)
        made.append(statistic(metric, arm, np.column_stack([before + rng.normal(shift, 1, 800), before, np.zeros(800)])))
    rows = effects(experiment(), [metric], made, ended=True)
    adjusted, plain = only(rows, variant="declared", scale="absolute"), only(rows, variant="unadjusted", scale="absolute")
    assert adjusted.variance_reduction == pytest.approx(0.8, abs=0.05)
    assert adjusted.std_error == pytest.approx(plain.std_error * math.sqrt(1 - adjusted.variance_reduction), rel=0.02)
    found = checks(experiment(), [metric], made, [counts(1000, 1000)[0], counts(1000, 1000)[1]], rows)
    assert only(found, name="pre_period_bias").status == "ok"


def test_quantiles_come_from_the_sketches():
    median = Quantile.model_validate(
        {"kind": "quantile", "name": "median", "of": {"kind": "sum", "fact": "f", "column": "x"}, "share": 0.5}
    )
    made = []
    for arm, seed in (("c", 1), ("t", 2)):
        x = np.exp(raw(seed, 900, 0))
        at, n = np.unique(bins(x), return_counts=True)
        made.append(statistic(median, arm, x, bins=at, counts=n))
    (row,) = effects(experiment(), [median], made, ended=True)
    assert abs(row.value) < 0.3
    assert "Woodruff" in row.method


def test_a_bayesian_row_shrinks_towards_the_prior():
    made = [statistic(REVENUE, "c", raw(3, 500, 10)), statistic(REVENUE, "t", raw(4, 500, 10.2))]
    rows = effects(experiment(prior={"std": 0.01}), [REVENUE], made, ended=True)
    posterior, plain = only(rows, variant="bayesian"), only(rows, variant="declared", scale="relative")
    kept = 1 / (1 + (plain.std_error / 0.01) ** 2)
    assert posterior.value == pytest.approx(kept * plain.value)
    assert posterior.chance_to_beat == pytest.approx(stats.norm.cdf(posterior.value / posterior.std_error))
    assert 0 < posterior.expected_loss < 0.01


# --- peeking


def test_group_sequential_intervals_are_those_of_the_boundaries():
    plan = experiment(peeking={"kind": "group_sequential", "planned_n": 1000, "looks": [0.5, 1], "spending": "obrien_fleming"}).peeking
    now = estimate(0.3, 0.1, alpha=0.05, method="z")
    found = peeked(now, peeking=plan, alpha=0.05, sides="two", null=0.0, n=1000, earlier=[Look(500, 0.2, 0.14)])
    wanted = group_sequential(
        [0.2, 0.3], [0.14, 0.1], information=[0.5, 1.0], alpha=0.05, sides=2, spending=Spending(kind="obrien-fleming")
    )[-1]
    assert (found.low, found.high, found.pvalue) == (pytest.approx(wanted.low), pytest.approx(wanted.high), pytest.approx(wanted.pvalue))
    assert found.high - found.low > now.high - now.low
    assert unplanned_look(plan, n=700) == pytest.approx(0.7)
    assert unplanned_look(plan, n=505) is None


def test_a_one_sided_test_downwards_mirrors_the_one_upwards():
    plan = experiment(peeking={"kind": "always_valid", "planned_n": 1000}).peeking
    up = peeked(estimate(0.3, 0.1, alpha=0.05, method="z"), peeking=plan, alpha=0.05, sides="greater", null=0.0, n=800)
    down = peeked(estimate(-0.3, 0.1, alpha=0.05, method="z"), peeking=plan, alpha=0.05, sides="less", null=0.0, n=800)
    assert (down.low, down.high) == (-up.high, -up.low)
    assert down.pvalue == pytest.approx(up.pvalue)


def test_always_valid_intervals_are_the_confidence_sequence():
    plan = experiment(peeking={"kind": "always_valid", "planned_n": 1000}).peeking
    found = peeked(estimate(0.3, 0.1, alpha=0.05, method="z"), peeking=plan, alpha=0.05, sides="two", null=0.0, n=800)
    wanted = confidence_sequence([0.3], [0.1], [800], alpha=0.05, rho=tuning_rho(1000, alpha=0.05))
    assert (found.low, found.high) == (pytest.approx(wanted.low[0]), pytest.approx(wanted.high[0]))
    fixed = experiment().peeking
    now = estimate(0.3, 0.1, alpha=0.05, method="z")
    assert peeked(now, peeking=fixed, alpha=0.05, sides="two", null=0.0, n=800) is now


# --- checks


def counts(n_c, n_t, segment="", value="", crossed=0):
    return [
        {"experiment": "e", "segment": segment, "segment_value": value, "arm": arm, "exposed": n, "analysed": n, "n_crossover": crossed}
        for arm, n in (("c", n_c), ("t", n_t))
    ]


def test_a_small_but_certain_mismatch_warns_and_a_large_one_fails():
    told = {n: only(sample_ratio_checks(experiment(), counts(*n)), name="sample_ratio", variant="analysed").status for n in
            ((1000, 1010), (1_000_000, 1_008_000), (1000, 1300))}  # fmt: skip
    assert told == {(1000, 1010): "ok", (1_000_000, 1_008_000): "warn", (1000, 1300): "fail"}


def test_days_are_tested_together_and_one_by_one():
    rows = counts(3000, 3000)
    for i in range(30):
        rows += counts(100, 100, "(day)", f"2026-01-{i + 1:02}")
    rows += counts(100, 250, "(day)", "2026-02-01")
    found = sample_ratio_checks(experiment(), rows)
    worst = only(found, name="sample_ratio_by_day")
    assert (worst.segment_value, worst.status) == ("2026-02-01", "fail")
    assert only(found, name="sample_ratio_sequential").status in ("ok", "warn", "fail")


def test_segments_are_corrected_and_phases_have_their_own_weights():
    rows = counts(2000, 2000) + counts(1000, 1000, "s", "x") + counts(500, 900, "s", "y")
    found = sample_ratio_checks(experiment(segments=["s"]), rows)
    by_value = {r.segment_value: r.status for r in found if r.name == "sample_ratio_by_segment"}
    assert by_value == {"x": "ok", "y": "fail"}
    changed = experiment(phases=[{"start": "2026-01-10T00:00Z", "weights": {"c": 0.2, "t": 0.8}}])
    rows = counts(1200, 1800) + counts(1000, 1000, "(phase)", "0") + counts(200, 800, "(phase)", "1")
    assert only(sample_ratio_checks(changed, rows), name="sample_ratio", variant="analysed").status == "ok"
    assert only(sample_ratio_checks(experiment(), rows), name="sample_ratio", variant="analysed").status == "fail"


def test_an_arm_of_weight_zero_with_units_fails_hard():
    found = sample_ratio_checks(experiment(arms={"c": 1.0, "t": 0.0}), counts(1000, 3))
    assert only(found, name="sample_ratio", variant="exposed").status == "fail"
    assert "weight 0" in only(found, name="sample_ratio", variant="exposed").reason


def test_what_is_wrong_with_a_metric_is_told():
    made = [statistic(REVENUE, "c", raw(1, 900, 1), n_not_observed=100), statistic(REVENUE, "t", raw(2, 600, 1), n_not_observed=400)]
    rows = effects(experiment(), [REVENUE], made, ended=True)
    found = checks(experiment(), [REVENUE], made, counts(1000, 1000, crossed=30), rows, intake={"n_after_end": 7})
    assert only(found, name="not_observed").status == "fail"
    assert only(found, name="crossover").status == "warn"
    assert only(found, name="left_out").value == 7
    same = [statistic(REVENUE, arm, np.ones(50)) for arm in "ct"]
    found = checks(experiment(), [REVENUE], same, counts(50, 50), effects(experiment(), [REVENUE], same, ended=True))
    assert only(found, name="zero_variance").status == "fail"
    assert only(found, name="small_n").status == "warn"


def test_segments_that_contradict_the_whole_and_effects_that_fade_are_told():
    declared = experiment(segments=["s"], novelty_days=6)
    made = [statistic(REVENUE, "c", raw(1, 4000, 1)), statistic(REVENUE, "t", raw(2, 4000, 1.2))]
    for value, seed in (("x", 3), ("y", 5)):
        made += [statistic(REVENUE, "c", raw(seed, 2000, 1), segment="s", value=value)]
        made += [statistic(REVENUE, "t", raw(seed + 1, 2000, 0.8), segment="s", value=value)]
    for day in range(6):
        made += [statistic(REVENUE, "c", raw(20 + day, 3000, 1), variant=f"day_{day}")]
        made += [statistic(REVENUE, "t", raw(40 + day, 3000, 1.6 - 0.1 * day), variant=f"day_{day}")]
    rows = effects(declared, [REVENUE], made, ended=True)
    found = checks(declared, [REVENUE], made, counts(4000, 4000), rows)
    assert only(found, name="simpson").status == "fail"
    novelty = only(found, name="novelty")
    assert novelty.status == "warn"
    assert novelty.value == pytest.approx(-0.1, abs=0.02)


def test_a_failing_sample_ratio_leaves_everything_inconclusive():
    made = [statistic(REVENUE, "c", raw(3, 2000, 1)), statistic(REVENUE, "t", raw(4, 2000, 1.5))]
    rows = effects(experiment(), [REVENUE], made, ended=True)
    found = checks(experiment(), [REVENUE], made, counts(2000, 2600), rows)
    told = decisions(experiment(), [REVENUE], rows, found)
    assert {r.status for r in told} == {"inconclusive"}
    assert "sample_ratio" in only(told, name="(all metrics)").reason


def test_a_statistic_is_read_from_its_row():
    row = {
        "metric": "m", "variant": "declared", "segment": "", "segment_value": "", "arm": "c", "n": 3, "mean": [1.0, 2.0],
        "m2": [1.0, 0.5, 0.5, 2.0], "n_not_observed": 1, "n_incomplete": 2, "n_capped": 0, "bins": [{"bin": 5, "n": 2}, {"bin": 1, "n": 1}],
    }  # fmt: skip
    found = statistic_of(row)
    assert found.moments.m2.tolist() == [[1.0, 0.5], [0.5, 2.0]]
    assert (found.bins.tolist(), found.counts.tolist()) == ([1, 5], [1, 2])
    assert replace(found, arm="t").arm == "t"


def test_what_a_unit_without_a_row_means_can_be_written_in_yaml():
    import yaml

    told = yaml.safe_load("{kind: sum, name: m, fact: f, column: x, absent: not_observed}")
    assert Sum.model_validate(told).absent == "not_observed"
    assert Mean(name="m", fact="f", column="x").absent == "not_observed"


@pytest.mark.parametrize(("n_units", "n_randomised", "n_split", "status"), [(10, 10, 0, "ok"), (30, 10, 0, "warn"), (30, 10, 2, "fail")])
def test_a_unit_finer_than_what_was_randomised_is_told(n_units, n_randomised, n_split, status):
    from sparkds.experiments.checks import randomised_checks

    told = [{"experiment": "e", "n_units": n_units, "n_randomised": n_randomised, "n_split": n_split}]
    (row,) = randomised_checks(experiment(), told)
    assert (row.status, row.value) == (status, n_units / n_randomised)
    assert randomised_checks(experiment(), []) == []


def test_no_change_is_shown_by_two_one_sided_tests():
    same = Sum(name="revenue", fact="f", column="x", role="primary", equivalence=0.02)
    a, b = raw(1, 20000, 10), raw(2, 20000, 10)
    rows = effects(experiment(), [same], [statistic(same, "c", a), statistic(same, "t", b)], ended=True)
    row = only(rows, variant="equivalence")
    plain = only(rows, variant="declared", scale="relative")
    above = stats.norm.sf((plain.value + 0.02) / plain.std_error)
    below = stats.norm.cdf((plain.value - 0.02) / plain.std_error)
    assert row.pvalue == pytest.approx(max(above, below))
    assert row.pvalue < 1e-6
    assert row.high - row.low == pytest.approx(2 * stats.norm.isf(0.05) * plain.std_error)
    assert "TOST" in row.method
    few = effects(experiment(), [same], [statistic(same, "c", a[:50]), statistic(same, "t", b[:50] + 1)], ended=True)
    assert only(few, variant="equivalence").pvalue > 0.9
    with pytest.raises(ValueError, match="leave it out"):
        Mean(name="load", fact="f", column="ms", role="guardrail", margin=0.05, equivalence=0.1)
