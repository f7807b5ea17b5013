"""Effects: from the statistics of every arm to estimates with intervals and p-values, for all metrics and segments of an experiment.

Pure: takes statistics, wherever they come from, and gives result rows; a metric that cannot be computed has a row with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np

from sparkds.experiments.experiment import Experiment, ProportionTest
from sparkds.experiments.metrics import EventQuantile, Metric, Quantile, RatioOfMeans
from sparkds.experiments.peeking import Look, is_final, peeked
from sparkds.experiments.result_rows import Result, Status
from sparkds.stats.arm_effects import Of, adjusted, difference, relative_difference
from sparkds.stats.bayesian import normal_effect
from sparkds.stats.estimate import Estimate, Sides, equivalence, on_ratio_scale
from sparkds.stats.moments import Moments
from sparkds.stats.multiplicity import adjust
from sparkds.stats.omnibus import several_arms
from sparkds.stats.proportions import chi_square_arms, exact_two_proportions, two_proportions
from sparkds.stats.quantile_difference import clustered_quantile_difference, quantile_difference
from sparkds.stats.stratified import post_stratified

Scale = Literal["absolute", "relative"]
SCALES: Final[tuple[Scale, ...]] = ("absolute", "relative")
SMALLEST_EXPECTED: Final = 5
"""Successes or failures expected under the null below which proportions are tested exactly."""


@dataclass(frozen=True, eq=False)
class Statistic:
    """Statistics of one arm in one cell; a row of the statistics table.

    Attributes
    ----------
    metric, variant, segment, segment_value, arm : str
    moments : Moments
        Over the metric's terms.
    n_not_observed, n_incomplete, n_capped : int
    bins, counts : (n_bins,) int64
        Log histogram, for quantiles.
    """

    metric: str
    variant: str
    segment: str
    segment_value: str
    arm: str
    moments: Moments
    n_not_observed: int = 0
    n_incomplete: int = 0
    n_capped: int = 0
    bins: Any = None
    counts: Any = None


def statistic_of(row: Mapping[str, Any]) -> Statistic:
    """Statistic from a row of the statistics table."""
    k = len(row["mean"])
    moments = Moments(row["n"], np.array(row["mean"], dtype=np.float64), np.array(row["m2"], dtype=np.float64).reshape(k, k))
    sketch = sorted((item["bin"], item["n"]) for item in row["bins"] or ())
    return Statistic(
        row["metric"], row["variant"], row["segment"], row["segment_value"], row["arm"], moments,
        row["n_not_observed"], row["n_incomplete"], row["n_capped"],
        np.array([b for b, _ in sketch], dtype=np.int64), np.array([n for _, n in sketch], dtype=np.int64),
    )  # fmt: skip


Cell = tuple[str, str, str, str]
Test = Callable[[float], Estimate]
"""Level to estimate at that level."""


def cells(statistics: Iterable[Statistic]) -> dict[Cell, dict[str, Statistic]]:
    """Statistics by (metric, variant, segment, value), then by arm."""
    found: dict[Cell, dict[str, Statistic]] = {}
    for row in statistics:
        found.setdefault((row.metric, row.variant, row.segment, row.segment_value), {})[row.arm] = row
    return found


def effects(
    experiment: Experiment,
    metrics: Sequence[Metric],
    statistics: Iterable[Statistic],
    *,
    ended: bool,
    earlier: Mapping[tuple[str, str, str], Sequence[Look]] | None = None,
) -> list[Result]:
    """Effects of every treatment on every metric, absolute and relative, in all and by segment.

    Parameters
    ----------
    experiment : Experiment
    metrics : sequence of metrics
        Those of the experiment.
    statistics : iterable of Statistic
    ended : bool
        Whether the experiment's end has passed.
    earlier : mapping of (metric, arm, scale) to looks, optional
        What earlier looks saw, for group sequential and always-valid results.

    Returns
    -------
    list of Result
        The corrected columns are filled for primary metrics (over metrics × treatments, per scale) and, per metric, for
        segments (over values × treatments); guardrails are tested one-sided against their margin on the relative scale.
    """
    by_name = {metric.name: metric for metric in metrics}
    rows: list[tuple[Result, Test | None]] = []
    by_cell = cells(statistics)
    for (name, variant, segment, value), arms in by_cell.items():
        metric = by_name.get(name)
        if metric is None:
            continue
        for treatment in experiment.treatments:
            where = Result(experiment.name, "effect", name, variant, treatment, segment, value, role=metric.role)
            rows += _of_cell(experiment, metric, where, arms, ended=ended, earlier=earlier or {})
    told = _corrected(experiment, rows)
    beside = [row for metric in metrics for row in (*_stratified(experiment, metric, by_cell), *_omnibus(experiment, metric, by_cell))]
    beside += [row for metric in metrics for row in _equivalent(experiment, metric, told)]
    ended_or_planned = {(row.name, row.arm): row.status for row in told if row.variant == "declared" and not row.segment}
    return told + [replace(row, status=row.status or _shared(ended_or_planned, row)) for row in beside]


def _shared(status: Mapping[tuple[str, str], Status], row: Result) -> Status:
    """Whether a row beside the declared one is final: as that is."""
    same = [told for (name, arm), told in status.items() if name == row.name and row.arm in ("", arm)]
    return "not_final" if "not_final" in same else ""


def _stratified(experiment: Experiment, metric: Metric, by_cell: Mapping[Cell, Mapping[str, Statistic]]) -> list[Result]:
    """Effects of the treatments post-stratified by the declared segment or by phases; without covariates."""
    stratum = experiment.strata or ("(phase)" if experiment.phases else None)
    if stratum is None or isinstance(metric, Quantile | EventQuantile) or experiment.peeking.kind == "group_sequential":
        return []
    mine = sorted(key for key in by_cell if key[:3] == (metric.name, "declared", stratum))
    strata = [{arm: told.moments for arm, told in by_cell[key].items()} for key in mine]
    rows = []
    for treatment in experiment.treatments if strata else ():
        n = sum(m.n for one in strata for m in one.values())
        where = Result(experiment.name, "effect", metric.name, "post_stratified", treatment, role=metric.role, n_units=n)
        for scale in SCALES:
            sides, null = _hypothesis(experiment, metric, scale)

            compared = partial(
                post_stratified,
                strata,
                control=experiment.control,
                treatment=treatment,
                sides=sides,
                of=_of(metric),
                scale=scale,
                null=null,
            )

            def at(alpha: float, compared: Callable[..., Estimate] = compared) -> Estimate:
                return compared(alpha=alpha)

            test = _with_peeking(at, experiment, scale=scale, sides=sides, null=null, n=n, looks=())
            rows.append(replace(where, scale=scale).with_estimate(test(experiment.alpha)))
    return rows


def _equivalent(experiment: Experiment, metric: Metric, rows: Sequence[Result]) -> list[Result]:
    """Two one-sided tests of the declared relative effects, for a fixed horizon; the interval has level ``1 - 2 alpha``."""
    if metric.equivalence is None or experiment.peeking.kind != "fixed":
        return []
    found = []
    for row in rows:
        if (row.name, row.variant, row.scale, row.segment) == (metric.name, "declared", "relative", "") and not row.reason:
            effect = Estimate(
                row.value,
                row.std_error,
                row.low,
                row.high,
                row.statistic,
                row.pvalue,
                row.log10_pvalue,
                row.n_control,
                row.n_treatment,
                row.method,
            )
            told = equivalence(effect, margin=metric.equivalence, alpha=experiment.alpha)
            plain = replace(row, adjusted_pvalue=math.nan, adjusted_low=math.nan, adjusted_high=math.nan)
            found.append(replace(plain.with_estimate(told), variant="equivalence"))
    return found


def _omnibus(experiment: Experiment, metric: Metric, by_cell: Mapping[Cell, Mapping[str, Statistic]]) -> list[Result]:
    """Test of all arms together, where there are more than two and the horizon is fixed."""
    arms = by_cell.get((metric.name, "declared", "", ""))
    if len(experiment.arms) < 3 or isinstance(metric, Quantile | EventQuantile) or experiment.peeking.kind != "fixed" or arms is None:
        return []
    moments = [arms[arm].moments if arm in arms else Moments.zero(len(metric.terms)) for arm in experiment.arms]
    where = Result(experiment.name, "effect", metric.name, "omnibus", role=metric.role, n_units=sum(m.n for m in moments))
    if metric.binary:
        found = chi_square_arms([round(float(m.mean[0]) * m.n) for m in moments], [m.n for m in moments])
        told = replace(where, method="chi-square over all arms")
        if found.reason:
            return [replace(told, status="not_computable", reason=found.reason)]
        return [replace(told, statistic=found.statistic, pvalue=found.pvalue, log10_pvalue=found.log10_pvalue)]
    tested = several_arms(moments, of=_of(metric))
    told = replace(where, method=tested.method, reason=tested.reason, status="not_computable" if tested.reason else "")
    return [replace(told, statistic=tested.statistic, pvalue=tested.pvalue, log10_pvalue=tested.log10_pvalue)]


def _of_cell(
    experiment: Experiment,
    metric: Metric,
    where: Result,
    arms: Mapping[str, Statistic],
    *,
    ended: bool,
    earlier: Mapping[tuple[str, str, str], Sequence[Look]],
) -> list[tuple[Result, Test | None]]:
    """Absolute and relative effect of one treatment in one cell, and those without covariates beside."""
    control, treatment = experiment.control, where.arm
    k = len(metric.terms)
    moments = {arm: arms[arm].moments if arm in arms else Moments.zero(k) for arm in experiment.arms}
    smallest = min(moments[control].n, moments[treatment].n)
    if where.segment and smallest < experiment.smallest_segment:
        reason = f"fewer than {experiment.smallest_segment} units in an arm (smallest_segment); merge the segment's values"
        n_c, n_t = moments[control].n, moments[treatment].n
        return [(replace(where, scale="absolute", status="not_computable", reason=reason, n_control=n_c, n_treatment=n_t), None)]
    n = sum(m.n for m in moments.values())
    final = is_final(experiment.peeking, n=n, ended=ended)
    found: list[tuple[Result, Test | None]] = []
    adjusts = [True, False] if metric.covariates and where.variant == "declared" and not where.segment else [bool(metric.covariates)]
    for covariates in adjusts:
        variant = where.variant if covariates or not metric.covariates else "unadjusted"
        told = replace(where, variant=variant, n_units=n, status="" if final else "not_final")
        told = _with_values(told, metric, moments, covariates, control)
        for scale in ("absolute", "relative"):
            if isinstance(metric, Quantile | EventQuantile) and scale == "relative":
                continue
            sides, null = _hypothesis(experiment, metric, scale)
            plain = _test(experiment, metric, moments, arms, treatment, scale=scale, sides=sides, null=null, covariates=covariates)
            looks = earlier.get((metric.name, treatment, scale), ()) if variant == "declared" and not where.segment else ()
            test = _with_peeking(plain, experiment, scale=scale, sides=sides, null=null, n=n, looks=looks)
            found.append((replace(told, scale=scale).with_estimate(test(experiment.alpha)), test))
            if scale == "relative" and variant == "declared" and not where.segment and experiment.prior is not None:
                found.append((_bayesian(experiment, metric, replace(told, scale=scale), plain(experiment.alpha)), None))
    return found


def _bayesian(experiment: Experiment, metric: Metric, where: Result, relative: Estimate) -> Result:
    """Posterior of the relative effect under the experiment's normal prior; it holds whenever one looks, as far as the prior does."""
    assert experiment.prior is not None
    row = replace(where, variant="bayesian", status="", n_control=relative.n_control, n_treatment=relative.n_treatment)
    if relative.reason:
        return replace(row, status="not_computable", reason=relative.reason, method=relative.method)
    prior = experiment.prior
    found = normal_effect(relative.value, relative.std_error, prior_mean=prior.mean, prior_std=prior.std, level=1 - experiment.alpha)
    if found.reason:
        return replace(row, status="not_computable", reason=found.reason, method=found.method)
    up = better(metric) == "greater"
    return replace(
        row,
        value=found.mean,
        std_error=found.std,
        low=found.low,
        high=found.high,
        chance_to_beat=found.chance_to_beat if up else 10.0**found.log10_chance_to_lose,
        expected_loss=found.loss_treatment if up else found.loss_control,
        method=found.method,
    )


def _with_values(where: Result, metric: Metric, moments: Mapping[str, Moments], covariates: bool, control: str) -> Result:
    if isinstance(metric, Quantile | EventQuantile):
        return where
    values = adjusted(moments, of=_of(metric), covariates=covariates)
    return replace(
        where,
        variance_reduction=values.variance_reduction if metric.covariates and covariates else math.nan,
        control_value=values.value.get(control, math.nan),
        treatment_value=values.value.get(where.arm, math.nan),
    )


def _of(metric: Metric) -> Of:
    return "ratio" if isinstance(metric, RatioOfMeans) else "mean"


def better(metric: Metric) -> Sides:
    """Side on which an effect is for the better."""
    return "greater" if metric.direction == "increase" else "less"


def _hypothesis(experiment: Experiment, metric: Metric, scale: Scale) -> tuple[Sides, float]:
    """Alternative and null: two-sided or towards the better against 0; a guardrail's relative change against its margin."""
    if metric.role == "guardrail" and scale == "relative" and metric.margin is not None:
        return better(metric), -metric.margin if metric.direction == "increase" else metric.margin
    return ("two" if experiment.sides == "two" else better(metric)), 0.0


def _test(
    experiment: Experiment,
    metric: Metric,
    moments: Mapping[str, Moments],
    arms: Mapping[str, Statistic],
    treatment: str,
    *,
    scale: Scale,
    sides: Sides,
    null: float,
    covariates: bool,
) -> Test:
    control = experiment.control

    def at(alpha: float) -> Estimate:
        if isinstance(metric, Quantile | EventQuantile):
            c, t = arms.get(control), arms.get(treatment)
            empty = np.zeros(0, dtype=np.int64)
            sketches = [(empty, empty) if a is None else (a.bins, a.counts) for a in (c, t)]
            if isinstance(metric, Quantile):
                return quantile_difference(sketches[0], sketches[1], share=metric.share, alpha=alpha, sides=sides)
            n = moments[control].n, moments[treatment].n
            return clustered_quantile_difference(sketches[0], sketches[1], share=metric.share, n=n, alpha=alpha, sides=sides)
        if scale == "relative":
            return relative_difference(
                moments, control=control, treatment=treatment, alpha=alpha, sides=sides, of=_of(metric), covariates=covariates, null=null,
                method=experiment.relative,
            )  # fmt: skip
        if metric.binary and not (metric.covariates and covariates):
            return _proportions(moments[control], moments[treatment], experiment.proportions, alpha=alpha, sides=sides)
        return difference(moments, control=control, treatment=treatment, alpha=alpha, sides=sides, of=_of(metric), covariates=covariates)

    return at


def _proportions(control: Moments, treatment: Moments, how: ProportionTest, *, alpha: float, sides: Sides) -> Estimate:
    """z-test with its interval; an exact p-value where it is declared, or where few successes or failures are expected."""
    x_c, x_t = (round(m.mean[0] * m.n) for m in (control, treatment))
    found = two_proportions(
        x_c, control.n, x_t, treatment.n, alpha=alpha, sides=sides, variance=how.variance, continuity=how.continuity, interval=how.interval
    )
    n = control.n + treatment.n
    pooled = (x_c + x_t) / n if n else 0.0
    expected = min((m.n * share for m in (control, treatment) for share in (pooled, 1 - pooled)), default=0.0)
    if found.reason or how.exact == "never" or (how.exact == "auto" and expected >= SMALLEST_EXPECTED):
        return found
    exactly = "fisher" if how.exact == "auto" else how.exact
    exact = exact_two_proportions(x_c, control.n, x_t, treatment.n, alpha=alpha, sides=sides, method=exactly)
    if exact.reason:
        return found
    return replace(found, pvalue=exact.pvalue, log10_pvalue=exact.log10_pvalue, method=f"{found.method}; p-value: {exact.method}")


def _with_peeking(plain: Test, experiment: Experiment, *, scale: Scale, sides: Sides, null: float, n: int, looks: Sequence[Look]) -> Test:
    if experiment.peeking.kind == "fixed":
        return plain

    def at(alpha: float) -> Estimate:
        found = plain(alpha)
        if found.reason:
            return found
        if scale == "absolute":
            return peeked(found, peeking=experiment.peeking, alpha=alpha, sides=sides, null=null, n=n, earlier=looks)
        logarithm = replace(found, value=math.log1p(found.value), std_error=found.std_error / (1 + found.value))
        before = [Look(look.n, math.log1p(look.value), look.std_error / (1 + look.value)) for look in looks if look.value > -1]
        null_log = math.log1p(null)
        return on_ratio_scale(peeked(logarithm, peeking=experiment.peeking, alpha=alpha, sides=sides, null=null_log, n=n, earlier=before))

    return at


def _corrected(experiment: Experiment, rows: list[tuple[Result, Test | None]]) -> list[Result]:
    """Fill the corrected columns family by family."""
    families: dict[tuple[str, ...], list[int]] = {}
    for i, (row, test) in enumerate(rows):
        if test is None or row.variant != "declared" or row.role == "guardrail":
            continue
        if row.segment:
            families.setdefault(("segment", row.name, row.segment, row.scale), []).append(i)
        elif row.role == "primary":
            families.setdefault(("primary", row.scale), []).append(i)
    told = [row for row, _ in rows]
    for members in families.values():
        found = adjust([told[i].pvalue for i in members], method=experiment.correction, alpha=experiment.alpha)
        for i, pvalue, level in zip(members, found.pvalues, found.levels, strict=True):
            test = rows[i][1]
            if test is None or math.isnan(told[i].pvalue):
                continue
            at_level = test(float(level)) if 0 < float(level) < 1 else None
            low, high = (at_level.low, at_level.high) if at_level is not None else (-math.inf, math.inf)
            told[i] = replace(told[i], adjusted_pvalue=float(pvalue), adjusted_low=low, adjusted_high=high)
    return told
