"""Checks: what could be wrong with an experiment, as result rows with a status and what to do.

Pure: takes counts of units, statistics and effects; a check that cannot be computed says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from sparkds.experiments.effects import Statistic, cells
from sparkds.experiments.experiment import Experiment
from sparkds.experiments.metrics import Metric, PrePeriod, RatioOfMeans
from sparkds.experiments.peeking import unplanned_look
from sparkds.experiments.result_rows import Result, Status
from sparkds.stats.arm_effects import difference
from sparkds.stats.heterogeneity import cochran_q, simpson, trend
from sparkds.stats.moments import Moments
from sparkds.stats.multiplicity import adjust
from sparkds.stats.proportions import two_proportions
from sparkds.stats.sample_ratio import phased_sample_ratio, sample_ratio, sequential_sample_ratio

PRACTICAL_DEVIATION: Final = 0.01
"""Relative deviation of an arm's share from its plan from which a sample ratio mismatch matters."""
CROSSOVER_WARN: Final = 0.01
CROSSOVER_FAIL: Final = 0.1
CHECK_ALPHA: Final = 0.001
"""Level of checks that are made many times over."""
SMALL_N: Final = 100

MISMATCH: Final = "find out why before reading any effect: assignment, redirects, bots, logging of one arm"


def checks(
    experiment: Experiment,
    metrics: Sequence[Metric],
    statistics: Iterable[Statistic],
    counts: Iterable[Mapping[str, Any]],
    effects: Sequence[Result],
    *,
    intake: Mapping[str, int] | None = None,
) -> list[Result]:
    """All checks of an experiment.

    Parameters
    ----------
    experiment, metrics
    statistics : iterable of Statistic
    counts : iterable of rows
        As `sparkds.experiments.analysis.counts_frame` gives them.
    effects : sequence of Result
        From `sparkds.experiments.effects.effects`.
    intake : mapping of str to int, optional
        Rows that were left out, by reason.
    """
    rows = [row for row in counts if row["experiment"] == experiment.name]
    by_cell = cells(statistics)
    found = sample_ratio_checks(experiment, rows)
    found += _crossover(experiment, rows)
    found += _unplanned(experiment, rows)
    for metric in metrics:
        found += _of_metric(experiment, metric, by_cell, effects)
    found += _left_out(experiment, intake or {})
    return found


def _check(experiment: Experiment, name: str, status: Status, **told: Any) -> Result:
    return Result(experiment.name, "check", name, status=status, **told)


def _by_arm(experiment: Experiment, rows: Iterable[Mapping[str, Any]], column: str) -> list[int]:
    n = {row["arm"]: int(row[column]) for row in rows}
    return [n.get(arm, 0) for arm in experiment.arms]


def sample_ratio_checks(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Sample ratio: of all exposed and of the analysed units, anytime-valid over days, by segment with Holm's correction."""
    found = []
    overall = [row for row in rows if row["segment"] == ""]
    phases = [row for row in rows if row["segment"] == "(phase)"]
    plan = experiment.weights_by_phase()
    for variant in ("exposed", "analysed"):
        if len(plan) > 1:
            parts = []
            for number, (_, planned) in enumerate(plan):
                here = [row for row in phases if row["segment_value"] == str(number)]
                parts.append((_by_arm(experiment, here, variant), [planned[arm] for arm in experiment.arms]))
            test = phased_sample_ratio(parts, alpha=experiment.srm_alpha)
        else:
            test = sample_ratio(_by_arm(experiment, overall, variant), list(experiment.arms.values()), alpha=experiment.srm_alpha)
        found.append(_sample_ratio_row(experiment, "sample_ratio", variant, test))
    if len(plan) == 1:
        found += _by_day(experiment, rows)
    weights = list(experiment.arms.values()) if len(plan) == 1 else _expected_shares(experiment, overall)
    for segment in experiment.segments:
        values = sorted({row["segment_value"] for row in rows if row["segment"] == segment})
        tests = []
        for value in values:
            here = [row for row in rows if row["segment"] == segment and row["segment_value"] == value]
            tests.append(sample_ratio(_by_arm(experiment, here, "analysed"), weights, alpha=experiment.srm_alpha))
        corrected = adjust([test.pvalue for test in tests], method="holm", alpha=experiment.srm_alpha)
        for value, test, pvalue in zip(values, tests, corrected.pvalues, strict=True):
            row = _sample_ratio_row(experiment, "sample_ratio_by_segment", "analysed", replace(test, pvalue=float(pvalue)))
            found.append(replace(row, segment=segment, segment_value=value, pvalue=test.pvalue, adjusted_pvalue=float(pvalue)))
    return found


def _expected_shares(experiment: Experiment, overall: Sequence[Mapping[str, Any]]) -> list[float]:
    """Shares of all units, for segments of an experiment whose weights have changed."""
    n = _by_arm(experiment, overall, "analysed")
    return [count / sum(n) for count in n] if sum(n) else list(experiment.arms.values())


def _sample_ratio_row(experiment: Experiment, name: str, variant: str, test: Any) -> Result:
    if test.zero_weight_traffic:
        return _check(
            experiment, name, "fail", variant=variant, value=test.largest_deviation, method=test.method,
            action="stop: an arm with weight 0 has units; mend the assignment", reason="units on an arm with weight 0",
        )  # fmt: skip
    told = {"value": test.largest_deviation, "statistic": test.statistic, "pvalue": test.pvalue, "log10_pvalue": test.log10_pvalue}
    if test.reason:
        return _check(experiment, name, "not_computable", variant=variant, method=test.method, reason=test.reason)
    mismatch = test.pvalue < experiment.srm_alpha
    status: Status = ("fail" if test.largest_deviation > PRACTICAL_DEVIATION else "warn") if mismatch else "ok"
    reason = f"largest deviation of a share from its plan {test.largest_deviation:.2%}"
    return _check(
        experiment, name, status, variant=variant, method=test.method, action=MISMATCH if mismatch else "", reason=reason, **told
    )  # fmt: skip


def _by_day(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Anytime-valid test over the cumulative counts by day, and the worst single day with Holm's correction."""
    days = sorted({row["segment_value"] for row in rows if row["segment"] == "(day)"})
    daily = np.array(
        [_by_arm(experiment, [r for r in rows if r["segment"] == "(day)" and r["segment_value"] == d], "exposed") for d in days]
    )
    if not len(daily):
        return []
    weights = list(experiment.arms.values())
    sequence = sequential_sample_ratio(np.cumsum(daily, axis=0), weights)
    found = [_sample_ratio_row(experiment, "sample_ratio_sequential", "exposed", sequence)]
    tests = [sample_ratio(n.tolist(), weights, alpha=experiment.srm_alpha) for n in daily]
    corrected = adjust([test.pvalue for test in tests], method="holm", alpha=experiment.srm_alpha).pvalues
    if not np.isfinite(corrected).any():
        return found
    worst = int(np.nanargmin(corrected))
    least = float(corrected[worst])
    row = _sample_ratio_row(experiment, "sample_ratio_by_day", "exposed", replace(tests[worst], pvalue=least))
    at_day = replace(row, segment="(day)", segment_value=days[worst], pvalue=tests[worst].pvalue, adjusted_pvalue=least)
    return [*found, at_day]


def _crossover(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> list[Result]:
    overall = [row for row in rows if row["segment"] == ""]
    exposed, crossed = sum(r["exposed"] for r in overall), sum(r["n_crossover"] for r in overall)
    if not exposed:
        return [_check(experiment, "units", "not_computable", reason="no unit was exposed; look at name, start and end of the experiment")]
    share = crossed / exposed
    status: Status = "fail" if share > CROSSOVER_FAIL else "warn" if share > CROSSOVER_WARN else "ok"
    told = {"exclude": "they are left out", "first": "they count in their first arm", "error": "they are refused"}[experiment.crossover]
    action = "look for units whose id changes, or for an assignment that is not sticky" if status != "ok" else ""
    return [
        _check(
            experiment, "crossover", status, value=share, action=action, n_treatment=crossed, n_control=exposed,
            reason=f"{crossed} of {exposed} units were seen in several arms; {told}",
        )
    ]  # fmt: skip


def randomised_checks(experiment: Experiment, rows: Iterable[Mapping[str, Any]]) -> list[Result]:
    """Whether the unit of the analysis is finer than what was randomised.

    Parameters
    ----------
    experiment : Experiment
    rows : iterable of rows
        As `sparkds.experiments.analysis.randomised_frame` gives them.

    Returns
    -------
    list of Result
        ``fail`` where units of one randomised thing are in several arms; ``warn`` where there are more units than randomised things, since
        the units of one are alike and errors come out too small.
    """
    mine = [row for row in rows if row["experiment"] == experiment.name]
    if not mine:
        return []
    units, randomised, split = (int(mine[0][name]) for name in ("n_units", "n_randomised", "n_split"))
    told: dict[str, Any] = {"value": units / randomised, "n_control": randomised, "n_treatment": units}
    if split:
        reason = f"{split} of {randomised} that were randomised have units in several arms"
        return [
            _check(
                experiment, "randomisation_unit", "fail", reason=reason, action="look at the assignment; it is not by that column", **told
            )
        ]
    if units > randomised:
        reason = f"{units} units, but only {randomised} were randomised; errors by unit are too small"
        action = "take what was randomised as the unit, and a mean per finer unit as ratio_of_means"
        return [_check(experiment, "randomisation_unit", "warn", reason=reason, action=action, **told)]
    return [_check(experiment, "randomisation_unit", "ok", reason="every unit was randomised by itself", **told)]


def _unplanned(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> list[Result]:
    n = sum(row["analysed"] for row in rows if row["segment"] == "")
    fraction = unplanned_look(experiment.peeking, n=n)
    if fraction is None:
        return []
    reason = f"this look is at information {fraction:.3f}, which is not in the plan"
    action = "the spending function keeps alpha; look when planned, or change the plan in words before"
    return [_check(experiment, "unplanned_look", "warn", value=fraction, reason=reason, action=action)]


def _of_metric(
    experiment: Experiment, metric: Metric, by_cell: Mapping[tuple[str, str, str, str], Mapping[str, Statistic]], effects: Sequence[Result]
) -> list[Result]:
    arms = by_cell.get((metric.name, "declared", "", ""), {})
    mine = [row for row in effects if row.name == metric.name]
    found = []
    for treatment in experiment.treatments:
        pair = (arms.get(experiment.control), arms.get(treatment))
        about = {"variant": metric.name, "arm": treatment}
        if pair[0] is None or pair[1] is None:
            reason = "an arm has no unit with this metric"
            found.append(_check(experiment, "units_of_metric", "not_computable", reason=reason, **about))
            continue
        found += _enough(experiment, metric, pair[0], pair[1], about)
        found += _pre_period_bias(experiment, metric, arms, treatment, about)
        found += _outliers(experiment, mine, treatment, about)
        found += _segments_agree(experiment, mine, treatment, about)
        found += _novelty(experiment, mine, treatment, about)
    return found


def _enough(experiment: Experiment, metric: Metric, control: Statistic, treatment: Statistic, about: dict[str, Any]) -> list[Result]:
    """Units, variance, units without an observation, windows that are not complete."""
    found = []
    smallest = min(control.moments.n, treatment.moments.n)
    if smallest < SMALL_N:
        action = "wait for more units, or read the exact tests only"
        found.append(_check(experiment, "small_n", "warn", value=smallest, action=action, reason=f"{smallest} units in an arm", **about))
    if smallest > 1 and control.moments.m2[0, 0] == 0 and treatment.moments.m2[0, 0] == 0:
        reason = "all units have the same value"
        found.append(_check(experiment, "zero_variance", "fail", value=0.0, action="look at the metric's filter", reason=reason, **about))
    allowed = [a.moments.n + a.n_not_observed for a in (control, treatment)]
    if control.n_not_observed + treatment.n_not_observed:
        test = two_proportions(control.n_not_observed, allowed[0], treatment.n_not_observed, allowed[1], alpha=CHECK_ALPHA, sides="two")
        share = (control.n_not_observed + treatment.n_not_observed) / sum(allowed)
        differs = not test.reason and test.pvalue < CHECK_ALPHA
        action = "the arms differ in who is observed, so that the means compare different people; use absent: zero" if differs else ""
        status: Status = "fail" if differs else "ok"
        reason = f"{share:.1%} of the units have no observation"
        found.append(_check(experiment, "not_observed", status, value=share, pvalue=test.pvalue, action=action, reason=reason, **about))
    waiting, all_units = control.n_incomplete + treatment.n_incomplete, sum(allowed) + control.n_incomplete + treatment.n_incomplete
    if waiting:
        reason = f"{waiting} of {all_units} units wait for the end of their window"
        found.append(_check(experiment, "incomplete_windows", "ok", value=waiting / all_units, reason=reason, **about))
    return found


def _pre_period_bias(
    experiment: Experiment, metric: Metric, arms: Mapping[str, Statistic], treatment: str, about: dict[str, Any]
) -> list[Result]:
    """The metric before the exposure as if it were an outcome: it cannot differ between arms but by chance."""
    if not any(isinstance(c, PrePeriod) for c in metric.covariates):
        return []
    first = metric.terms.index(next(t for t in metric.terms if t.startswith("pre_")))
    ratio = isinstance(metric, RatioOfMeans)
    columns = [first, first + 1] if ratio else [first]
    before: dict[str, Moments] = {arm: statistic.moments.select(columns) for arm, statistic in arms.items()}
    test = difference(before, control=experiment.control, treatment=treatment, alpha=CHECK_ALPHA, of="ratio" if ratio else "mean")
    if test.reason:
        return [_check(experiment, "pre_period_bias", "not_computable", method=test.method, reason=test.reason, **about)]
    biased = test.pvalue < CHECK_ALPHA
    action = "the arms differed before the experiment; look at the assignment, and read only effects with covariates" if biased else ""
    row = _check(experiment, "pre_period_bias", "fail" if biased else "ok", action=action, **about)
    return [replace(row.with_estimate(test), status=row.status)]


def _declared(rows: Iterable[Result], treatment: str, *, variant: str = "declared", scale: str = "absolute") -> Result | None:
    return next((r for r in rows if (r.variant, r.arm, r.segment, r.scale) == (variant, treatment, "", scale)), None)


def _outliers(experiment: Experiment, rows: Sequence[Result], treatment: str, about: dict[str, Any]) -> list[Result]:
    """Whether the cap decides: sign or significance differ without it."""
    capped, uncapped = _declared(rows, treatment), _declared(rows, treatment, variant="uncapped")
    if capped is None or uncapped is None or capped.reason or uncapped.reason:
        return []
    flips = capped.value * uncapped.value < 0 or (capped.pvalue < experiment.alpha) != (uncapped.pvalue < experiment.alpha)
    action = "a few large units decide; look at them, and state the cap before the next experiment" if flips else ""
    reason = f"effect {capped.value:.4g} with the cap, {uncapped.value:.4g} without"
    status: Status = "warn" if flips else "ok"
    moved = uncapped.value - capped.value
    return [_check(experiment, "outlier_influence", status, value=moved, action=action, reason=reason, **about)]


def _segments_agree(experiment: Experiment, rows: Sequence[Result], treatment: str, about: dict[str, Any]) -> list[Result]:
    """Cochran's Q over the values of each segment, and whether the whole says something that no part says."""
    whole, found = _declared(rows, treatment), []
    for segment in (*experiment.segments, *(("(phase)",) if experiment.phases else ())):
        parts = [r for r in rows if r.segment == segment and r.arm == treatment and r.scale == "absolute" and not r.reason]
        if whole is None or whole.reason or len(parts) < 2:
            continue
        test = cochran_q([p.value for p in parts], [p.std_error for p in parts])
        differs = test.pvalue < experiment.alpha
        found.append(
            _check(
                experiment, "heterogeneity", "warn" if differs else "ok", segment=segment, statistic=test.statistic, pvalue=test.pvalue,
                log10_pvalue=test.log10_pvalue, value=test.i_squared, method=test.method,
                action="the effect differs between the values of this segment; read them one by one" if differs else "", **about,
            )
        )  # fmt: skip
        flip = simpson(whole.value, whole.pvalue, [p.value for p in parts], [p.pvalue for p in parts], alpha=experiment.alpha)
        if flip:
            action = "read the values of this segment, not the whole; if the allocation changed, stratify by phase"
            found.append(_check(experiment, "simpson", "fail", segment=segment, value=whole.value, action=action, reason=flip, **about))
        else:
            found.append(_check(experiment, "simpson", "ok", segment=segment, value=whole.value, **about))
    return found


def _novelty(experiment: Experiment, rows: Sequence[Result], treatment: str, about: dict[str, Any]) -> list[Result]:
    """Trend of the effect over the days since exposure."""
    days = [
        (int(r.variant.removeprefix("day_")), r)
        for r in rows
        if r.variant.startswith("day_") and r.arm == treatment and not r.segment and r.scale == "absolute" and not r.reason
    ]
    if len(days) < 3:
        return []
    test = trend([r.value for _, r in days], [r.std_error for _, r in days], [day for day, _ in days])
    moves = test.pvalue < experiment.alpha
    action = "the effect changes with the days since exposure (novelty or primacy); let it run until it settles" if moves else ""
    told = {"value": test.slope, "std_error": test.std_error, "pvalue": test.pvalue, "log10_pvalue": test.log10_pvalue}
    return [_check(experiment, "novelty", "warn" if moves else "ok", action=action, method=test.method, **told, **about)]


def _left_out(experiment: Experiment, intake: Mapping[str, int]) -> list[Result]:
    """Rows of the sources that took no part; the counts are of all experiments together."""
    told = {
        "n_null_unit_or_time": "exposures without unit or time",
        "n_after_end": "exposures from an experiment's end on",
        "n_before_start": "exposures before an experiment's start",
    }
    found = []
    for name, what in told.items():
        n = int(intake.get(name, 0))
        if n:
            reason, action = f"{n} {what} were left out (all experiments together)", "look at the logging of exposures"
            found.append(_check(experiment, "left_out", "warn", variant=name, value=n, action=action, reason=reason))
    return found
