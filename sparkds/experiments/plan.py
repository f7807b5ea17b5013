"""Plan: how many units, how long and with which looks a design needs, and what it can and cannot show.

Takes a design and what was measured of its metrics' history, if anything, and gives the plan: numbers, and rows for tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sparkds.experiments.design import AnyLook, Design, Equivalence, NonInferiority, PlannedLooks
from sparkds.experiments.metric_plan import Measured, MetricPlan, Question, answered, question_of, sides_of, smallest, spending_of
from sparkds.stats.power import duration_weeks, power_curve
from sparkds.stats.sequential import Spending, boundaries

POWERS: Final = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Powers of the sensitivity table, beside the one that is wanted."""
SHARES: Final = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
"""Parts of the planned units in the sensitivity table."""
CURVE: Final = tuple(i / 20 for i in range(1, 41))
"""Parts of the planned units in the power curve."""
EFFECTS: Final = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Parts of the minimum detectable effect in the power curve."""


class Look(NamedTuple):
    """One planned look.

    Attributes
    ----------
    fraction : float
        Of the planned units.
    n_total : int
    week : int, optional
        By whose end the units are there.
    z : float
        What the primary metric's statistic must reach; NaN if not computable.
    spent : float
        Part of alpha used by this look and those before.
    """

    fraction: float
    n_total: int
    week: int | None
    z: float
    spent: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan of an experiment.

    Attributes
    ----------
    design : Design
    metrics : tuple of MetricPlan
        Primary metric first.
    n : dict of str to int
        Arm to its units; empty if the primary metric's are not computable.
    n_total : int
    decided_by : str
        Metric that needs the most units.
    weeks : int, optional
        Whole weeks until the units are there; None if they never are.
    n_reached : int
        Units after those weeks, `n_total` or more; `n_total` where `weeks` is None.
    joint_power : float
        Lower bound of the chance that the primary metric and all guardrails show what is claimed.
    looks : tuple of Look
        Empty if every look is allowed.
    curve, sensitivity : list of dict
        Power by units and effect of the primary metric; smallest effect (or margin) of every metric by units and power.
    warnings : tuple of str
    measured : Measured, optional
    reason : str
        Not empty if and only if there is no `n`.
    """

    design: Design
    metrics: tuple[MetricPlan, ...]
    n: dict[str, int]
    n_total: int
    decided_by: str
    weeks: int | None
    n_reached: int
    joint_power: float
    looks: tuple[Look, ...]
    curve: list[dict[str, Any]] = field(repr=False)
    sensitivity: list[dict[str, Any]] = field(repr=False)
    warnings: tuple[str, ...]
    measured: Measured | None = None
    reason: str = ""


def plan_of(design: Design, measured: Measured | None = None) -> Plan:
    """Plan of a design.

    Parameters
    ----------
    design : Design
    measured : Measured, optional
        What the history says of the metrics without a typed baseline, and of the traffic if that is not typed.

    Returns
    -------
    Plan
        Control gets the smallest whole number of units with which every computable metric has the wanted power; the other arms by
        their weights, rounded up. Without a computable primary metric there is no plan but a reason.

    Notes
    -----
    The formulas are those of `sparkds.stats.rejection`; each row says which. A relative effect or margin is turned into an absolute
    one by the baseline, which is taken as known. Guardrails are non-inferiority tests at `alpha` each, at a true effect of 0. Looks
    inflate the variance by the maximal sample size of the sequential plan over that of a fixed one, at the level of one comparison.
    """
    asked = [question_of(design, metric, measured) for metric in design.planned]
    needed = [q.row for q in asked if q.row.n is not None]
    warnings = [f"metric '{q.row.metric}' takes no part in the plan: {q.row.reason}" for q in asked if q.row.reason]
    primary = asked[0]
    if primary.row.n is None:
        reason = f"metric '{primary.row.metric}': {primary.row.reason}"
        rows = tuple(q.row for q in asked)
        return Plan(
            design=design, metrics=rows, n={}, n_total=0, decided_by="", weeks=None, n_reached=0, joint_power=math.nan, looks=(),
            curve=[], sensitivity=[], warnings=(), measured=measured, reason=reason,
        )  # fmt: skip
    largest = max(needed, key=lambda row: row.n_total or 0)
    assert largest.n is not None
    n_total = sum(largest.n)
    n = dict(zip((design.control, *design.treatments), largest.n, strict=True))
    weeks = weeks_for(design, measured, n_total)
    n_reached = n_total if weeks is None else max(n_total, n_after(design, measured, weeks))
    if weeks is None:
        warnings.append(f"{n_total} units never come: no new ones in the last week of the history; plan for a larger effect")
    shares = _by_weights(design, n_reached)
    reached = tuple(max(float(least), share) for least, share in zip(largest.n, shares, strict=True))
    rows = tuple(answered(q, design, reached) for q in asked)
    warnings += _doubts(design, rows)
    return Plan(
        design=design,
        metrics=rows,
        n={arm: n[arm] for arm in design.arms},
        n_total=n_total,
        decided_by=largest.metric,
        weeks=weeks,
        n_reached=n_reached,
        joint_power=max(0.0, 1 - sum(1 - row.power for row in rows if not row.reason)),
        looks=_looks(design, measured, primary, n_total),
        curve=_curve(primary, design, largest.n[0]),
        sensitivity=[row for q in asked if not q.row.reason for row in _sensitivity(q, design, measured, n_total)],
        warnings=tuple(warnings),
        measured=measured,
    )


def n_after(design: Design, measured: Measured | None, weeks: int) -> int:
    """Units in the experiment after some whole weeks: as typed, or as in the history and after its end as in its last week."""
    if design.traffic_per_day is not None:
        return math.floor(design.traffic_per_day * design.coverage * 7 * weeks + 1e-9)
    assert measured is not None
    by_week, gain = _by_week(measured)
    known = min(weeks, len(by_week))
    units = (by_week[known - 1] if known else 0) + gain * (weeks - known)
    return math.floor(units * design.coverage + 1e-9)


def weeks_for(design: Design, measured: Measured | None, n_total: int) -> int | None:
    """Whole weeks until so many units are in the experiment; None if they never are."""
    if design.traffic_per_day is not None:
        return duration_weeks(n_total, units_per_day=design.traffic_per_day * design.coverage)
    assert measured is not None
    by_week, gain = _by_week(measured)
    for week in range(1, len(by_week) + 1):
        if n_after(design, measured, week) >= n_total:
            return week
    if gain <= 0:
        return None
    week = len(by_week) + math.ceil((n_total - n_after(design, measured, len(by_week))) / (gain * design.coverage))
    return week if n_after(design, measured, week) >= n_total else week + 1


def _by_week(measured: Measured) -> tuple[Sequence[float], float]:
    """Units by the end of each week of the history, at least one, and new units in each week after it."""
    if not measured.units_by_week:
        days = (measured.last - measured.first).days + 1
        week = measured.n_units / days * 7
        return (week,), week
    by_week = measured.units_by_week
    return by_week, by_week[-1] - (by_week[-2] if len(by_week) > 1 else 0)


def _by_weights(design: Design, n_total: int) -> tuple[float, ...]:
    """Units per arm, control first; not rounded."""
    total = sum(design.weights)
    return tuple(n_total * weight / total for weight in design.weights)


def _looks(design: Design, measured: Measured | None, primary: Question, n_total: int) -> tuple[Look, ...]:
    """Planned looks with the primary metric's boundaries."""
    assert primary.hypothesis is not None
    if isinstance(design.looks, AnyLook):
        return ()
    fractions = design.looks.looks if isinstance(design.looks, PlannedLooks) else (1.0,)
    spending = spending_of(design.looks) if isinstance(design.looks, PlannedLooks) else Spending(kind="pocock")
    found = boundaries(fractions, alpha=primary.row.alpha, sides=sides_of(primary.hypothesis), spending=spending)
    units = [math.ceil(fraction * n_total - 1e-9) for fraction in fractions]
    return tuple(
        Look(fraction, count, weeks_for(design, measured, count), z, spent)
        for fraction, count, z, spent in zip(fractions, units, found.z, found.spent, strict=True)
    )


def _curve(primary: Question, design: Design, n_control: int) -> list[dict[str, Any]]:
    """Power of the primary metric by units and true effect."""
    assert primary.hypothesis is not None
    size = primary.hypothesis.margin if primary.hypothesis.has_margin else primary.effect
    parts: tuple[float, ...] = EFFECTS
    if primary.hypothesis.has_margin:
        parts = (0.0, 0.25, 0.5) if primary.hypothesis.kind == "equivalence" else (-0.5, -0.25, 0.0, 0.25, 0.5)
        size *= 1.0 if primary.hypothesis.better == "larger" else -1.0
    counts = sorted({max(2, math.ceil(n_control * part)) for part in CURVE})
    rows = power_curve(
        primary.design, primary.hypothesis, n_control=counts, effects=[size * part for part in parts], weights=design.weights
    )
    return [{"metric": primary.row.metric, **row} for row in rows]


def _sensitivity(question: Question, design: Design, measured: Measured | None, n_total: int) -> list[dict[str, Any]]:
    """Smallest effect or margin of a metric by units and power."""
    assert question.hypothesis is not None
    rows = []
    for share in SHARES:
        count = max(2 * len(design.arms), math.ceil(n_total * share))
        n = _by_weights(design, count)
        for power in sorted({*POWERS, design.power}):
            absolute, relative, reason = smallest(question, n, power)
            row: dict[str, Any] = {"metric": question.row.metric, "claim": question.row.claim, "power": power}
            row |= {"n_control": math.floor(n[0]), "n_total": count}
            row |= {"weeks": weeks_for(design, measured, count), "mde": absolute, "relative_mde": relative}
            rows.append(row | {"method": question.row.method, "reason": reason})
    return rows


def _doubts(design: Design, rows: Sequence[MetricPlan]) -> list[str]:
    """What a reader of the plan should know."""
    told = []
    if isinstance(design.claim, Equivalence):
        level = 1 - 2 * rows[0].alpha
        margin = rows[0].margin
        told.append(f"equivalence is shown if the interval at level {level:g} lies within ± {margin:g}; the analysis tests a difference")
    if isinstance(design.claim, NonInferiority):
        told.append(f"metric '{design.primary.name}' is analysed as a guardrail, whose margin is what the claim asks")
    for metric, row in zip(design.planned, rows, strict=True):
        if metric.covariates and row.covariate_correlation == 0 and not row.reason:
            told.append(f"metric '{metric.name}' has covariates whose gain is not known; the plan counts none")
        if row.source != "typed" and metric.cap is not None and metric.cap.kind == "percentile":
            told.append(f"metric '{metric.name}' was measured without its percentile cap; its variance is that or less")
    return told
