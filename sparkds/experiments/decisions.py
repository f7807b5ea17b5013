"""Decisions: a line per metric and one per treatment that follow the declared rules and name what they rest on.

Pure: takes effects and checks; a failed check of the assignment, or a look before the planned end, leaves everything inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence

from sparkds.experiments.effects import better
from sparkds.experiments.experiment import Experiment
from sparkds.experiments.metrics import Metric
from sparkds.experiments.result_rows import Result, Status

OVERALL = "(all metrics)"
BLOCKING = ("sample_ratio", "sample_ratio_sequential")


def decisions(experiment: Experiment, metrics: Sequence[Metric], effects: Sequence[Result], checks: Sequence[Result]) -> list[Result]:
    """Decision per treatment and metric, then per treatment.

    A primary or secondary metric: *ship* when the corrected (primary) or plain p-value is below alpha and the effect is for the
    better, *do not ship* when it is for the worse, else *inconclusive*. A guardrail: *ship* when it is shown not to be worse than
    its margin, *do not ship* when the interval of the change lies beyond the margin, else *inconclusive*. A treatment: *do not ship*
    when a primary metric or a guardrail says so, *ship* when a primary metric does and every guardrail holds, else *inconclusive*.
    Anything is inconclusive while a sample ratio check fails or a fixed horizon has not been reached.
    """
    blocked = next((c for c in checks if c.name in BLOCKING and c.status == "fail"), None)
    found: list[Result] = []
    for treatment in experiment.treatments:
        lines = [_of_metric(experiment, metric, effects, treatment, blocked) for metric in metrics]
        found += lines
        found.append(_overall(experiment, treatment, lines, blocked))
    return found


def _of_metric(experiment: Experiment, metric: Metric, effects: Sequence[Result], treatment: str, blocked: Result | None) -> Result:
    def row(status: Status, reason: str) -> Result:
        return Result(experiment.name, "decision", metric.name, arm=treatment, role=metric.role, status=status, reason=reason)

    mine = {r.scale: r for r in effects if (r.name, r.variant, r.arm, r.segment) == (metric.name, "declared", treatment, "")}
    effect = mine.get("relative" if metric.role == "guardrail" else "absolute")
    if effect is None:
        return row("inconclusive", "there is no unit with this metric")
    if effect.reason:
        return row("inconclusive", effect.reason)
    if blocked is not None:
        return row("inconclusive", f"the check {blocked.name} fails: {blocked.reason}")
    if effect.status == "not_final":
        return row("inconclusive", "not final: the planned number of units, or the end, has not been reached")
    sign = 1 if better(metric) == "greater" else -1
    if metric.role == "guardrail" and metric.margin is not None:
        return row(*_of_guardrail(experiment, metric.margin, effect, sign))
    corrected = effect.adjusted_pvalue == effect.adjusted_pvalue
    pvalue = effect.adjusted_pvalue if corrected else effect.pvalue
    told = f"{'corrected ' if corrected else ''}p {pvalue:.3g} against alpha {experiment.alpha:g}"
    if pvalue >= experiment.alpha:
        return row("inconclusive", told)
    return row("ship", f"better, {told}") if effect.value * sign > 0 else row("do_not_ship", f"worse, {told}")


def _of_guardrail(experiment: Experiment, margin: float, effect: Result, sign: int) -> tuple[Status, str]:
    if effect.pvalue < experiment.alpha:
        return "ship", f"not worse than the margin of {margin:.1%}, p {effect.pvalue:.3g}"
    reach = (effect.value - effect.low) if sign > 0 else (effect.high - effect.value)
    if sign * effect.value + reach < -margin:
        return "do_not_ship", f"worse than the margin of {margin:.1%}: relative change {effect.value:+.2%}"
    return "inconclusive", f"neither within nor beyond the margin of {margin:.1%}, p {effect.pvalue:.3g}"


def _overall(experiment: Experiment, treatment: str, lines: Sequence[Result], blocked: Result | None) -> Result:
    primary = [line for line in lines if line.role == "primary"]
    guardrails = [line for line in lines if line.role == "guardrail"]
    status: Status
    bad = [line.name for line in (*primary, *guardrails) if line.status == "do_not_ship"]
    good = [line.name for line in primary if line.status == "ship"]
    open_guardrails = [line.name for line in guardrails if line.status != "ship"]
    if blocked is not None:
        status, reason = "inconclusive", f"the check {blocked.name} fails: {blocked.reason}"
    elif bad:
        status, reason = "do_not_ship", f"worse: {', '.join(bad)}"
    elif not primary:
        status, reason = "inconclusive", "no metric is declared as primary"
    elif not good:
        status, reason = "inconclusive", f"no primary metric is shown to be better ({', '.join(line.name for line in primary)})"
    elif open_guardrails:
        status, reason = "inconclusive", f"better: {', '.join(good)}; not shown to hold: {', '.join(open_guardrails)}"
    else:
        status, reason = "ship", f"better: {', '.join(good)}" + (f"; hold: {', '.join(g.name for g in guardrails)}" if guardrails else "")
    return Result(experiment.name, "decision", OVERALL, arm=treatment, status=status, reason=reason)
