"""Metric plan: how many units one metric of a design needs, and what it can show with those it gets.

Takes a design, a metric of it and what was measured of its history, if anything; gives the question that is put to
`sparkds.stats.power` and its answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal, NamedTuple

import numpy as np

from sparkds.experiments.design import (
    AnyLook,
    Design,
    Equivalence,
    FixedLook,
    MeanBaseline,
    NonInferiority,
    PlannedLooks,
    ProportionBaseline,
    RatioBaseline,
    Superiority,
    kind_of,
)
from sparkds.experiments.metrics import Metric
from sparkds.stats import always_valid, designs
from sparkds.stats.designs import Hypothesis, MeanDesign, ProportionDesign, RatioDesign
from sparkds.stats.group_moments import GroupMoments
from sparkds.stats.power import minimum_detectable_effect, minimum_margin, sample_size
from sparkds.stats.power import power as power_of
from sparkds.stats.rejection import exact_power
from sparkds.stats.sequential import Spending, boundaries, inflation_factor


@dataclass(frozen=True, eq=False)
class Measured:
    """What the history says.

    Attributes
    ----------
    first, last : date
        Days that were looked at, both included.
    n_units : int
        Eligible units.
    units_by_week : tuple of int
        Eligible units that had come by the end of the first, second, … whole week.
    moments : mapping of str to GroupMoments
        Metric to the moments of all units with a value, one group: value (or numerator, denominator), then covariates.
    """

    first: date
    last: date
    n_units: int
    units_by_week: tuple[int, ...]
    moments: Mapping[str, GroupMoments]


@dataclass(frozen=True, kw_only=True)
class MetricPlan:
    """What one metric needs, and what it gets.

    Attributes
    ----------
    metric, role : str
    source : str
        ``typed``, or ``measured`` with the number of units.
    claim : str
        Kind of `sparkds.stats.designs.Hypothesis`.
    baseline, std : float
        Value under control, and standard deviation between units before covariates; of a ratio, of its linearisation.
    effect, margin : float
        True effect that is planned for, treatment minus control, and margin (0 without); in the metric's units.
    alpha : float
        Level of each comparison with the control.
    covariate_correlation, inflation, variance_factor : float
        `variance_factor` is what covariates, clusters and looks (`inflation`) leave of, or add to, the variance.
    n : tuple of int, optional
        Units per arm that the metric needs, control first; None if not computable.
    n_total : int, optional
    power, mde, relative_mde : float
        At the units of the whole plan. The mde of a claim with a margin is the smallest margin that can be shown.
    exact_power : float
        Over all pairs of counts; NaN if not asked for.
    method, reason : str
        `reason` is not empty if and only if `n` is None.
    """

    metric: str
    role: str
    source: str
    claim: str
    baseline: float
    std: float
    effect: float
    relative_effect: float
    margin: float
    alpha: float
    covariate_correlation: float
    inflation: float
    variance_factor: float
    n: tuple[int, ...] | None
    n_total: int | None
    power: float = math.nan
    mde: float = math.nan
    relative_mde: float = math.nan
    exact_power: float = math.nan
    method: str
    reason: str = ""


class Question(NamedTuple):
    """A metric's question to `sparkds.stats.power`, and what it needs.

    Attributes
    ----------
    metric : Metric
    design : ProportionDesign, MeanDesign or RatioDesign
    hypothesis : Hypothesis, optional
        None where no claim can be made of this baseline.
    effect : float
    row : MetricPlan
        Without what the metric gets.
    """

    metric: Metric
    design: designs.Design
    hypothesis: Hypothesis | None
    effect: float
    row: MetricPlan


def question_of(design: Design, metric: Metric, measured: Measured | None) -> Question:
    """Baseline, hypothesis and units of one metric.

    Parameters
    ----------
    design : Design
    metric : Metric
        Primary, or a guardrail.
    measured : Measured, optional
        Needed for a metric without a typed baseline.
    """
    statistic, correlation, source = _statistic(design, metric, measured)
    hypothesis, effect, reason = _hypothesis(design, metric, statistic.baseline)
    inflation = 1.0
    if hypothesis is not None:
        if hypothesis.has_margin and isinstance(statistic, ProportionDesign):
            statistic = replace(statistic, test="unpooled")
        inflation = _inflation(design, hypothesis)
        statistic = replace(statistic, inflation=inflation)
        found = sample_size(statistic, hypothesis, power=design.power, effect=effect, weights=design.weights)
        reason = found.reason
    row = MetricPlan(
        metric=metric.name,
        role=metric.role,
        source=source,
        claim=hypothesis.kind if hypothesis is not None else _claim_kind(design, metric),
        baseline=statistic.baseline,
        std=_std(statistic),
        effect=effect,
        relative_effect=_over(effect, statistic.baseline),
        margin=hypothesis.margin if hypothesis is not None else math.nan,
        alpha=hypothesis.alpha_per_comparison(len(design.treatments)) if hypothesis is not None else math.nan,
        covariate_correlation=correlation,
        inflation=inflation,
        variance_factor=statistic.variance_factor,
        n=found.n if hypothesis is not None else None,
        n_total=found.n_total if hypothesis is not None else None,
        method=_method(design, statistic),
        reason=reason,
    )
    return Question(metric, statistic, hypothesis, effect, row)


def _statistic(design: Design, metric: Metric, measured: Measured | None) -> tuple[designs.Design, float, str]:
    """Baseline and noise of a metric, the correlation with its covariates, and where they are from."""
    clusters = design.clusters
    sampling: dict[str, Any] = {}
    if clusters is not None:
        sampling = {"cluster_size": clusters.size, "icc": clusters.icc, "cluster_size_cv": clusters.size_cv}
    baseline = design.baselines.get(metric.name)
    if baseline is not None:
        sampling["covariate_correlation"] = baseline.covariate_correlation
        if isinstance(baseline, ProportionBaseline):
            values: tuple[float, ...] = (baseline.share,)
        elif isinstance(baseline, MeanBaseline):
            values = (baseline.mean, baseline.std)
        else:
            assert isinstance(baseline, RatioBaseline)
            covariance = baseline.correlation * baseline.numerator_std * baseline.denominator_std
            values = (
                baseline.numerator_mean, baseline.denominator_mean, baseline.numerator_std**2, baseline.denominator_std**2, covariance
            )  # fmt: skip
        return _made(design, metric, values, sampling), baseline.covariate_correlation, "typed"
    moments = measured.moments.get(metric.name) if measured is not None else None
    n = int(moments.n[0]) if moments is not None else 0
    if moments is None or n < 2:
        unknown = (math.nan,) * {"proportion": 1, "mean": 2, "ratio": 5}[kind_of(metric)]
        return _made(design, metric, unknown, sampling), 0.0, f"measured, {n} units"
    mean, covariance_matrix = moments.mean[0], moments.m2[0] / (n - 1)
    correlation = covariate_correlation(mean, covariance_matrix, n_values=len(metric.values))
    sampling["covariate_correlation"] = correlation
    if kind_of(metric) == "proportion":
        values = (min(1.0, max(0.0, float(mean[0]))),)
    elif kind_of(metric) == "mean":
        values = (float(mean[0]), math.sqrt(covariance_matrix[0, 0]))
    else:
        c = covariance_matrix
        values = (float(mean[0]), float(mean[1]), float(c[0, 0]), float(c[1, 1]), float(c[0, 1]))
    return _made(design, metric, values, sampling), correlation, f"measured, {n} units"


def _made(design: Design, metric: Metric, values: Sequence[float], sampling: Mapping[str, Any]) -> designs.Design:
    kind = kind_of(metric)
    if kind == "proportion":
        return ProportionDesign(baseline=values[0], test=design.proportion_test, continuity=design.continuity, **sampling)
    if kind == "mean":
        return MeanDesign(baseline=values[0], std=values[1], test=design.mean_test, **sampling)
    names = ("mean_numerator", "mean_denominator", "variance_numerator", "variance_denominator", "covariance")
    return RatioDesign(**dict(zip(names, values, strict=True)), **sampling)


def covariate_correlation(mean: Any, covariance: Any, *, n_values: int) -> float:
    """Multiple correlation of a metric with its covariates, in [0, 1].

    Parameters
    ----------
    mean : (k,) array
        Of value (or numerator, denominator), then covariates.
    covariance : (k, k) array
    n_values : {1, 2}
        2 for a ratio, which is linearised as ``numerator − R denominator``.

    Returns
    -------
    float
        ``√(S_xy' S_xx⁺ S_xy / S_yy)``; 0 without covariates or variance. CUPED with the declared covariates leaves ``1 − that²`` of the
        variance (Deng, Xu, Kohavi, Walker 2013, sec. 3.3).

    Examples
    --------
    >>> covariate_correlation(np.zeros(2), np.array([[4.0, 1.0], [1.0, 1.0]]), n_values=1)
    0.5
    """
    weights = np.array([1.0])
    if n_values == 2:
        if mean[1] == 0:
            return 0.0
        weights = np.array([1.0, -mean[0] / mean[1]])
    xx, xy = covariance[n_values:, n_values:], covariance[n_values:, :n_values] @ weights
    yy = float(weights @ covariance[:n_values, :n_values] @ weights)
    scale = np.sqrt(np.where(np.diag(xx) > 0, np.diag(xx), 1.0))
    if len(xy) == 0 or yy <= 0:
        return 0.0
    explained = (xy / scale) @ np.linalg.pinv(xx / np.outer(scale, scale), rcond=1e-10, hermitian=True) @ (xy / scale)
    return math.sqrt(min(1.0, max(0.0, float(explained) / yy)))


def _hypothesis(design: Design, metric: Metric, baseline: float) -> tuple[Hypothesis | None, float, str]:
    """Claim about a metric and true effect that is planned for, or why there is none."""
    better: Literal["larger", "smaller"] = "larger" if metric.direction == "increase" else "smaller"
    sign = 1.0 if better == "larger" else -1.0
    if metric.role == "guardrail":
        margin = abs(baseline) * (metric.margin or 0.0)
        if not margin > 0:
            return None, 0.0, _no_size("margin", baseline)
        return Hypothesis(kind="non-inferiority", alpha=design.alpha, margin=margin, better=better, n_comparisons=1), 0.0, ""
    alpha, correction = _corrected(design)
    claim = design.claim
    size = claim.mde.of(baseline) if isinstance(claim, Superiority) else claim.margin.of(baseline)
    if not size > 0:
        return None, math.nan, _no_size("effect" if isinstance(claim, Superiority) else "margin", baseline)
    if isinstance(claim, Superiority):
        kind: designs.Kind = "two-sided" if design.sides == "two" else better
        return Hypothesis(kind=kind, alpha=alpha, correction=correction), sign * size, ""
    kind = "non-inferiority" if isinstance(claim, NonInferiority) else "equivalence"
    return Hypothesis(kind=kind, alpha=alpha, margin=size, better=better, correction=correction), 0.0, ""


def _no_size(what: str, baseline: float) -> str:
    if math.isnan(baseline):
        return "the baseline is not known: fewer than two units with a value, or no denominator; look at the history, or type it"
    return f"the {what} is relative to a baseline of {baseline:g} and has no size; give an absolute one, or another metric"


def _claim_kind(design: Design, metric: Metric) -> str:
    if metric.role == "guardrail" or isinstance(design.claim, NonInferiority):
        return "non-inferiority"
    return "equivalence" if isinstance(design.claim, Equivalence) else "superiority"


def _corrected(design: Design) -> tuple[float, designs.Correction]:
    """Level and correction of the strictest step: Bonferroni's for Holm, Hochberg and Benjamini-Hochberg, Šidák's for Holm-Šidák."""
    m = len(design.treatments)
    if design.correction in ("sidak", "holm_sidak"):
        return design.alpha, "sidak"
    if design.correction == "by":  # Benjamini, Yekutieli 2001: alpha / (m (1 + 1/2 + … + 1/m)) for the least p-value
        return design.alpha / sum(1 / i for i in range(1, m + 1)), "bonferroni"
    return design.alpha, "none" if design.correction == "none" else "bonferroni"


def _inflation(design: Design, hypothesis: Hypothesis) -> float:
    """Maximal units of the look plan over those of one fixed look."""
    looks = design.looks
    if isinstance(looks, FixedLook):
        return 1.0
    alpha = hypothesis.alpha_per_comparison(len(design.treatments))
    # both tests of an equivalence reject with probability `power` when each does with (1 + power) / 2
    power = (1 + design.power) / 2 if hypothesis.kind == "equivalence" else design.power
    if isinstance(looks, AnyLook):
        return always_valid.inflation_factor(alpha=alpha, power=power, sides=sides_of(hypothesis))
    boundary = boundaries(looks.looks, alpha=alpha, sides=sides_of(hypothesis), spending=spending_of(looks))
    return max(1.0, inflation_factor(boundary, alpha=alpha, power=power))


def sides_of(hypothesis: Hypothesis) -> Literal[1, 2]:
    """Sides of each of a hypothesis's tests."""
    return 2 if hypothesis.kind == "two-sided" else 1


def spending_of(looks: PlannedLooks) -> Spending:
    """Spending function of planned looks."""
    if looks.spending == "power":
        return Spending(kind="power", parameter=looks.rho)
    return Spending(kind="obrien-fleming" if looks.spending == "obrien_fleming" else "pocock")


def _method(design: Design, statistic: designs.Design) -> str:
    """Formula, and what was taken into account."""
    told = [statistic.method]
    if statistic.covariate_correlation:
        told.append(f"CUPED with correlation {statistic.covariate_correlation:.4g}")
    if statistic.cluster_size > 1:
        told.append(f"clusters of {statistic.cluster_size:g} with icc {statistic.icc:g}")
    if isinstance(design.looks, PlannedLooks):
        told.append(f"{len(design.looks.looks)} looks, {design.looks.spending} spending")
    elif isinstance(design.looks, AnyLook):
        told.append(f"{design.looks.method}, z at the planned units")
    return ", ".join(told)


def _std(statistic: designs.Design) -> float:
    if isinstance(statistic, ProportionDesign):
        return math.sqrt(statistic.baseline * (1 - statistic.baseline))
    if isinstance(statistic, MeanDesign):
        return statistic.std
    return math.sqrt(statistic.variance) if statistic.mean_denominator else math.nan


def _over(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def answered(question: Question, design: Design, n: tuple[float, ...]) -> MetricPlan:
    """Row of a metric with the power and the smallest effect that so many units per arm give."""
    if question.hypothesis is None or question.row.reason:
        return question.row
    got = power_of(question.design, question.hypothesis, n=n, effect=question.effect)
    absolute, relative, _ = smallest(question, n, design.power)
    return replace(question.row, power=got.value, mde=absolute, relative_mde=relative, exact_power=_exact_power(question, design, n))


def _exact_power(question: Question, design: Design, n: tuple[float, ...]) -> float:
    """Power over all pairs of counts; NaN where it is not asked for or not defined."""
    statistic = question.design
    if not design.exact or not isinstance(statistic, ProportionDesign) or len(n) > 2:
        return math.nan
    if statistic.variance_factor != 1 or statistic.test == "arcsine" or question.hypothesis is None:
        return math.nan
    return exact_power(statistic, question.hypothesis, n=(math.floor(n[0]), math.floor(n[1])), effect=question.effect).value


def smallest(question: Question, n: tuple[float, ...], power: float) -> tuple[float, float, str]:
    """Smallest effect that so many units per arm show with a power; of a claim with a margin, the smallest margin.

    Returns
    -------
    (float, float, str)
        Absolute, relative to the baseline, and why there is none (then both are NaN).
    """
    hypothesis = question.hypothesis
    assert hypothesis is not None
    if hypothesis.has_margin:
        found = minimum_margin(question.design, hypothesis, n=n, power=power)
    elif power <= question.row.alpha:
        return math.nan, math.nan, "every effect reaches this power; ask for more"
    else:
        found = minimum_detectable_effect(question.design, hypothesis, n=n, power=power, direction=question.metric.direction)
    return found.absolute, found.relative, found.reason
