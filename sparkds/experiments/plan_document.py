"""Plan document: a plan as the analysis reads it, and as people do.

Takes a plan and gives the declaration of the analysis, which holds the planned units, looks, metrics and rules, and a text in Markdown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from sparkds.experiments.design import AnyLook, Design, Equivalence, NonInferiority, PlannedLooks
from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.metric_plan import MetricPlan
from sparkds.experiments.plan import Plan

SPENDING = {"obrien_fleming": "O'Brien-Fleming", "pocock": "Pocock", "power": "alpha t^rho"}


def analysis_of(plan: Plan) -> ExperimentSet:
    """Declaration of the analysis that a plan binds.

    A non-inferiority claim makes the primary metric a guardrail with the planned margin as a share of the baseline.
    """
    margin = None
    if isinstance(plan.design.claim, NonInferiority):
        primary = plan.metrics[0]
        margin = primary.margin / abs(primary.baseline) if primary.baseline else None
    return plan.design.experiment_set(plan.n_total, margin=margin)


def markdown(plan: Plan) -> str:
    """Plan for people: what is claimed, how many units, how long, with which looks and rules.

    Parameters
    ----------
    plan : Plan
        With units.

    Examples
    --------
    >>> markdown(plan).splitlines()[0]  # doctest: +SKIP
    '# Plan of experiment button'
    """
    design = plan.design
    parts = [
        f"# Plan of experiment {design.name}\n\n{design.hypothesis}\n",
        f"Design {design.definition_hash}.\n",
        "## What is shown\n",
        *(f"- {_claimed(design, row)}" for row in plan.metrics),
        "",
        "## Units and time\n",
        _table(
            ("arm", "", "share", "units"),
            [(arm, "control" if arm == design.control else "", f"{design.arms[arm]:g}", f"{n:,}") for arm, n in plan.n.items()]
            + [("all", "", "1", f"{plan.n_total:,}")],
        ),
        *_time(plan),
        "## Metrics\n",
        _table(
            ("metric", "baseline", "std", "from", "planned for", "level", "units needed", "power", "shows at least", "method"),
            [_metric_row(row) for row in plan.metrics],
        ),
        f"Power and the smallest effect (or margin) shown are those at {plan.n_reached:,} units. The primary metric and all guardrails "
        f"together show what is claimed with probability {_percent(plan.joint_power)} at least, if it is true.\n",
        "## Looks\n",
        *_looks(plan),
        "## Rules\n",
        *(f"- {rule}" for rule in _rules(plan)),
        "",
        "## What fewer or more units show\n",
        f"Smallest effect or margin with power {_percent(design.power)}.\n",
        _table(
            ("metric", "units", "weeks", "absolute", "relative"),
            [
                (row["metric"], f"{row['n_total']:,}", str(row["weeks"] or "never"), _number(row["mde"]), _percent(row["relative_mde"]))
                for row in plan.sensitivity
                if row["power"] == design.power
            ],
        ),
    ]
    if plan.warnings:
        parts += ["## Notes\n", *(f"- {warning}" for warning in plan.warnings), ""]
    return "\n".join(parts)


def _claimed(design: Design, row: MetricPlan) -> str:
    """What the test of one metric shows."""
    name = f"**{row.metric}** ({row.role}): "
    if row.reason:
        return name + row.reason
    margin = f"{_number(row.margin)} ({_percent(row.margin / abs(row.baseline) if row.baseline else math.nan)} of the baseline)"
    if row.claim == "non-inferiority":
        return name + f"not worse than the control by more than {margin}."
    if row.claim == "equivalence":
        return name + f"neither better nor worse than the control by more than {margin}."
    where = {"two-sided": "differs from", "larger": "is larger than", "smaller": "is smaller than"}[row.claim]
    planned = f"{row.effect:+.6g} ({100 * row.relative_effect:+.4g} %)" if math.isfinite(row.relative_effect) else f"{row.effect:+.6g}"
    return name + f"{where} the control; an effect of {planned} is not missed with probability {_percent(design.power)}."


def _time(plan: Plan) -> Iterable[str]:
    design = plan.design
    if plan.weeks is None:
        yield f"{plan.decided_by} needs the most units. They never come at the present traffic.\n"
        return
    zone = ZoneInfo(design.time_zone)
    end = design.start.astimezone(zone) + timedelta(weeks=plan.weeks)
    days = max((m.stretch.end or 0) / 86_400e6 for m in design.planned)
    begin = design.start.astimezone(zone)
    told = f"{plan.decided_by} needs the most units. They come within **{_counted(plan.weeks, 'whole week')}**, "
    told += f"from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} ({design.time_zone}), in which {plan.n_reached:,} are expected"
    if design.traffic_per_day is None and plan.measured is not None:
        told += f", as from {plan.measured.first} to {plan.measured.last}"
    elif design.traffic_per_day is not None:
        told += f" of {design.traffic_per_day:g} a day"
    if design.coverage < 1:
        told += f", with {_percent(design.coverage)} of the eligible units in the experiment"
    yield told + ".\n"
    if days:
        yield f"The last unit's window is complete on {end + timedelta(days=days):%Y-%m-%d %H:%M}.\n"


def _metric_row(row: MetricPlan) -> tuple[str, ...]:
    planned = _number(row.effect) if row.claim in ("two-sided", "larger", "smaller", "superiority") else f"margin {_number(row.margin)}"
    needed = f"{row.n_total:,}" if row.n_total is not None else "–"
    shown = f"{_number(row.mde)} ({_percent(row.relative_mde)})" if math.isfinite(row.relative_mde) else _number(row.mde)
    power = _percent(row.power) + (f" (exact {_percent(row.exact_power)})" if math.isfinite(row.exact_power) else "")
    values = (row.metric, _number(row.baseline), _number(row.std), row.source, planned, _number(row.alpha))
    return (*values, needed, power, shown, row.reason or row.method)


def _looks(plan: Plan) -> Iterable[str]:
    looks = plan.design.looks
    if isinstance(looks, AnyLook):
        name = {"confidence_sequence": "an asymptotic confidence sequence", "msprt": "an mSPRT"}[looks.method]
        yield f"Every look is allowed: intervals and p-values are those of {name}, narrowest at {plan.n_total:,} units.\n"
        return
    if isinstance(looks, PlannedLooks):
        yield f"Spending function: {SPENDING[looks.spending]}. {plan.design.primary.name} must reach the boundary at a look:\n"
    rows = [
        (str(i), f"{look.n_total:,}", str(look.week or "never"), _boundary(plan, look.z), f"{look.spent:.4g}")
        for i, look in enumerate(plan.looks, 1)
    ]
    yield _table(("look", "units", "week", "boundary", "alpha used"), rows)


def _boundary(plan: Plan, z: float) -> str:
    if not math.isfinite(z):
        return "none"
    return f"z ≤ −{z:.4f} or z ≥ {z:.4f}" if plan.metrics[0].claim == "two-sided" else f"z ≥ {z:.4f} towards the claim"


def _rules(plan: Plan) -> Iterable[str]:
    design = plan.design
    names = [row.metric for row in plan.metrics[1:] if not row.reason]
    if isinstance(design.looks, AnyLook):
        yield f"Stop at any time; without a result at {plan.n_total:,} units the experiment is inconclusive."
    elif isinstance(design.looks, PlannedLooks):
        yield "Stop at the first look that reaches its boundary, or at the last. A look that is not in the plan gets its own boundary."
        yield "At the last look all of alpha is used; one past the planned units is the last that may reject."
    else:
        yield f"Nothing is concluded before {plan.n_total:,} units; an earlier result is not final."
    claim = "is shown as claimed"
    if isinstance(design.claim, Equivalence):
        claim = f"has its interval at level {1 - 2 * plan.metrics[0].alpha:g} within the margin"
    shown = f" and {_listed(names)} {'is' if len(names) == 1 else 'are'} shown not to be worse by the margin" if names else ""
    yield f"Ship if {design.primary.name} {claim}{shown}."
    m = len(design.treatments)
    if m > 1:
        level = f"level of one comparison {plan.metrics[0].alpha:.6g}"
        yield f"{m} arms are compared with {design.control}: correction {design.correction}, {level}."
    yield f"Units are assigned by SHA-256 with the salt `{design.assignment.arm_salt}`; a sample ratio mismatch voids the result."
    yield "A change of metrics, arms, looks or units after the start is a deviation, and is reported as one."


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %" if math.isfinite(share) else "–"
