"""Plan tables: names, comments, keys and rows of the tables that the experiment designer writes."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Final

from sparkds.experiments.plan import Plan
from sparkds.tables import TableSpec

COLUMNS: Final = {
    "plan": {
        **dict.fromkeys(("metric", "role", "source", "claim"), "string"),
        **dict.fromkeys(("baseline", "std", "effect", "relative_effect", "margin", "alpha", "wanted_power"), "double"),
        **dict.fromkeys(("covariate_correlation", "inflation", "variance_factor"), "double"),
        **{"n": "map<string, bigint>", "n_total": "bigint", "decides": "boolean"},
        **{"plan_n": "map<string, bigint>", "plan_n_total": "bigint", "weeks": "int", "n_reached": "bigint"},
        **dict.fromkeys(("power", "mde", "relative_mde", "exact_power"), "double"),
        **dict.fromkeys(("method", "reason"), "string"),
    },
    "power_curve": {
        **{"metric": "string", "effect": "double", "relative_effect": "double", "n_control": "bigint", "n_total": "bigint"},
        **{"power": "double", "method": "string", "reason": "string"},
    },
    "sensitivity": {
        **{"metric": "string", "claim": "string", "power": "double", "n_control": "bigint", "n_total": "bigint", "weeks": "int"},
        **{"mde": "double", "relative_mde": "double", "method": "string", "reason": "string"},
    },
    "balance": {
        **{"covariate": "string", "arm": "string"},
        **dict.fromkeys(("n_control", "n_treatment", "n_null_control", "n_null_treatment"), "bigint"),
        **dict.fromkeys(("mean_control", "mean_treatment", "smd", "variance_ratio", "statistic", "pvalue", "log10_pvalue"), "double"),
        **dict.fromkeys(("method", "status", "reason"), "string"),
    },
}
"""What a table holds to its columns and their types."""

OF_PLAN: Final = ("plan", "power_curve", "sensitivity")
"""Tables that every plan has; the balance is there where it is asked for."""

COMMENTS: Final = {
    "metric": "name of the metric",
    "source": "typed, or measured and of how many units",
    "claim": "what is shown when the null is rejected",
    "baseline": "value under control, in the metric's units",
    "std": "standard deviation between units, before covariates",
    "effect": "true effect, treatment minus control, in the metric's units",
    "relative_effect": "effect over the baseline (share, not percent)",
    "margin": "of a non-inferiority or equivalence claim, in the metric's units; 0 without",
    "alpha": "level of one comparison with the control",
    "wanted_power": "power that was asked for",
    "covariate_correlation": "multiple correlation of the metric with its covariates",
    "inflation": "units of the look plan over those of one fixed look",
    "variance_factor": "what covariates, clusters and looks make of the variance",
    "n": "units per arm that the metric needs",
    "n_total": "units over all arms",
    "n_control": "units in the control arm",
    "decides": "whether this metric needs the most units",
    "plan_n": "units per arm of the whole plan",
    "plan_n_total": "units over all arms of the whole plan",
    "weeks": "whole weeks until the units are there; null if they never are",
    "n_reached": "units over all arms after the planned weeks",
    "power": "probability to show the claim; in the plan at n_reached",
    "mde": "smallest effect, or margin, shown with the wanted power, in the metric's units",
    "relative_mde": "mde over the baseline (share, not percent)",
    "exact_power": "power over all pairs of counts; null if not asked for",
    "covariate": "metric, or metric and its covariate, in the history",
    "arm": "arm that units would have had, against the control",
    "n_treatment": "units in that arm",
    "n_null_control": "units in the control arm that take no part in the metric",
    "n_null_treatment": "units in that arm that take no part in the metric",
    "mean_control": "mean over units, in the metric's units",
    "mean_treatment": "mean over units, in the metric's units",
    "smd": "difference of the means over the root mean square of the standard deviations",
    "variance_ratio": "variance of the arm over that of the control",
    "statistic": "Welch's t",
    "pvalue": "two-sided",
    "log10_pvalue": "its decimal logarithm, where the p-value underflows too",
    "status": "ok; warn for a smd beyond 0.1; fail for a p-value below balance_alpha over the number of tests; not_computable",
    "method": "formula or test, and what it takes into account",
    "reason": "why there is no number; empty if there is",
}
KEYS: Final = {
    "plan": ("metric",),
    "power_curve": ("metric", "effect", "n_total"),
    "sensitivity": ("metric", "n_total", "power"),
    "balance": ("covariate", "arm"),
}
TITLES: Final = {
    "plan": "What each metric of an experiment needs and gets",
    "power_curve": "Power of the primary metric by units and true effect",
    "sensitivity": "Smallest effect or margin of each metric by units and power",
    "balance": "A/A test of the planned arms on the history",
}


def table_names(name: str) -> dict[str, str]:
    """Names of the output tables by what they hold."""
    return {what: f"{name}_{what}" for what in COLUMNS}


def schema_of(what: str) -> str:
    """Columns of a table, as DDL."""
    return ", ".join(f"{column} {dtype}" for column, dtype in COLUMNS[what].items())


def spec_of(what: str, experiment: str) -> TableSpec:
    """Comments and keys of a table."""
    comments = {column: COMMENTS[column] for column in COLUMNS[what] if column in COMMENTS}
    return TableSpec(comment=f"{TITLES[what]}: {experiment}", columns=comments, keys=KEYS[what])


def rows_of(what: str, plan: Plan) -> list[tuple[Any, ...]]:
    """Rows of a table, in the order of `COLUMNS`; what is not a number is null."""
    if what == "plan":
        rows = [_metric_row(plan, place) for place in range(len(plan.metrics))]
    else:
        rows = plan.curve if what == "power_curve" else plan.sensitivity
    return [tuple(_told(row[column]) for column in COLUMNS[what]) for row in rows]


def _metric_row(plan: Plan, place: int) -> dict[str, Any]:
    design, metric = plan.design, plan.metrics[place]
    row = asdict(metric)
    row["n"] = None if metric.n is None else dict(zip((design.control, *design.treatments), metric.n, strict=True))
    row |= {"wanted_power": design.power, "decides": metric.metric == plan.decided_by, "plan_n": plan.n, "plan_n_total": plan.n_total}
    return row | {"weeks": plan.weeks, "n_reached": plan.n_reached}


def _told(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
