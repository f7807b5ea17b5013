"""Evaluation tables: names, schemas, comments and keys of the tables that the evaluation suite writes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sparkds.models.evaluation import COLUMNS, EvaluationRow
from sparkds.models.gates import COLUMNS as GATE_COLUMNS
from sparkds.models.gates import Verdict
from sparkds.tables import TableSpec

TEXTS = frozenset({"kind", "model", "other_model", "group", "group_value", "name", "method", "reason"})
ABOUT = {"evaluation": "digest of models, rows and declaration", "model_uri": "version that was judged"}
EVALUATION_SCHEMA = "evaluation string, model_uri string, " + ", ".join(
    f"`{name}` {'string' if name in TEXTS else 'double'}" for name in COLUMNS
)
GATE_SCHEMA = (
    "evaluation string, model_uri string, gate string, model string, figure double, comparison string, threshold double, "
    "status string, reason string"
)


def table_names(name: str) -> dict[str, str]:
    """Names of the output tables by what they hold."""
    return {what: f"{name}_{what}" for what in ("scored", "evaluation", "gates")}


def evaluation_values(evaluation: str, uri: str, rows: Iterable[EvaluationRow]) -> list[tuple[object, ...]]:
    """Rows in the columns of `EVALUATION_SCHEMA`; NaN is null."""
    return [(evaluation, uri, *(_value(value) for value in row.as_dict().values())) for row in rows]


def gate_values(evaluation: str, uri: str, verdicts: Iterable[Verdict]) -> list[tuple[object, ...]]:
    """Rows in the columns of `GATE_SCHEMA`."""
    return [(evaluation, uri, v.gate, v.model, _value(v.figure), v.comparison, float(v.threshold), v.status, v.reason) for v in verdicts]


def _value(value: str | float) -> str | float | None:
    if isinstance(value, str):
        return value
    return None if math.isnan(value) else float(value)


def scored_spec(keys: Sequence[str]) -> TableSpec:
    """Rows that were evaluated."""
    told = "Rows of the last evaluation with the score of every model; written over by every run"
    return TableSpec(comment=told, columns={"evaluated_label": "1 or 0, or the number; null is not evaluated"}, keys=tuple(keys))


def evaluation_spec() -> TableSpec:
    """Every figure of every model."""
    return TableSpec(
        comment="Figures of models on labelled rows, with intervals and reasons",
        columns={**ABOUT, **COLUMNS},
        keys=("evaluation", "kind", "model", "other_model", "group", "group_value", "name", "at"),
        cluster_by=("evaluation",),
    )


def gates_spec() -> TableSpec:
    """Verdict of every gate."""
    return TableSpec(
        comment="Verdicts of the gates that a model must pass to take over",
        columns={**ABOUT, **GATE_COLUMNS},
        keys=("evaluation", "gate", "model"),
        cluster_by=("evaluation",),
    )
