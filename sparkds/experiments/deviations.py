"""Deviations: where an analysis is no longer the one that was declared when the experiment was first analysed.

Pure: takes the declaration as it was recorded then, and as it is now, and gives check rows that name both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sparkds.experiments.experiment import Experiment, FixedHorizon
from sparkds.experiments.metrics import Metric
from sparkds.experiments.result_rows import Result

BOUND: Final = (
    "control", "arms", "start", "end", "alpha", "sides", "correction", "peeking", "phases", "trigger", "crossover",
    "proportions", "relative", "strata",
)  # fmt: skip
"""Fields that are decided before the data are seen."""
MORE_UNITS: Final = 1.1
"""Units by the planned number from which a fixed horizon was passed over."""


def recorded(experiment: Experiment, metrics: Sequence[Metric]) -> dict[str, Any]:
    """What is written down about an experiment at its first analysis.

    Defaults are left out, so that a field which a later version of the package adds is no deviation.
    """
    told = experiment.model_dump(mode="json", exclude_defaults=True)
    return {**{name: told.get(name) for name in BOUND}, "metrics": {m.name: [_definition(m), m.role] for m in metrics}}


def _definition(metric: Metric) -> str:
    told = {"kind": metric.kind, **metric.model_dump(mode="json", exclude_defaults=True)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def deviations(experiment: Experiment, metrics: Sequence[Metric], before: Mapping[str, Any] | None, *, n: int) -> list[Result]:
    """Check rows, one per bound field or metric that is not what it was, and one for units beyond the plan.

    Parameters
    ----------
    experiment, metrics
        As they are now.
    before : mapping, optional
        As `recorded` gave it at the first analysis; None at that one.
    n : int
        Units that are analysed, over all arms.

    Returns
    -------
    list of Result
        Status ``warn``; one row ``ok`` where there is nothing to tell and something to compare with.
    """
    found = _changed(experiment, metrics, before) if before is not None else []
    if before is not None and not found:
        found.append(Result(experiment.name, "check", "deviation_from_plan", status="ok", reason="as at the first analysis"))
    planned = experiment.peeking.planned_n if isinstance(experiment.peeking, FixedHorizon) else None
    if planned is not None and n > MORE_UNITS * planned:
        reason = f"{n} units are analysed where {planned} were planned"
        action = "decide on the result at the planned number; looking on and on with a fixed horizon finds effects that are not there"
        found.append(_row(experiment, "planned_units", reason, action, value=n / planned))
    return found


def _changed(experiment: Experiment, metrics: Sequence[Metric], before: Mapping[str, Any]) -> list[Result]:
    now = recorded(experiment, metrics)
    action = "a plan binds: report both analyses, and say why it changed"
    found = []
    for name in BOUND:
        if name in before and before[name] != now[name]:
            found.append(_row(experiment, name, f"{name} was {before[name]} at the first analysis and is {now[name]}", action))
    old, new = before.get("metrics", {}), now["metrics"]
    for name in dict.fromkeys((*old, *new)):
        if name not in new:
            found.append(_row(experiment, name, f"metric '{name}' was there at the first analysis and is not declared any more", action))
        elif name not in old:
            role = new[name][1]
            late = f"{role} metric '{name}' was not there at the first analysis"
            found.append(_row(experiment, name, late, "read a metric that came later as exploratory"))
        elif list(old[name]) != list(new[name]):
            found.append(_row(experiment, name, f"metric '{name}' is defined in another way than at the first analysis", action))
    return found


def _row(experiment: Experiment, variant: str, reason: str, action: str, **told: Any) -> Result:
    return Result(experiment.name, "check", "deviation_from_plan", variant=variant, status="warn", reason=reason, action=action, **told)
