"""Selection tables: schema, comments and keys of the table of decisions, and its rows as values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from sparkds.features.select.decisions import COMMENTS, ColumnDecision
from sparkds.tables import TableSpec

TEXTS: Final = ("column", "dtype", "rule", "reason", "skill_kind", "correlated_with")
WHOLE: Final = ("n", "position", "importance_rank", "elimination_rank")
ABOUT: Final = {
    "label": "column to be predicted",
    "importance_of": "unit of importance; empty where it was not judged",
    "n_sampled": "rows of the sample on which importance was judged; 0 where it was not",
    "seed": "of that sample",
}
SCHEMA: Final = (
    ", ".join(
        f"`{name}` {'string' if name in TEXTS else 'bigint' if name in WHOLE else 'boolean' if name == 'kept' else 'double'}"
        for name in ColumnDecision._fields
    )
    + ", label string, importance_of string, n_sampled bigint, seed bigint"
)


def decision_values(
    rows: Iterable[ColumnDecision], *, label: str, importance_of: str, n_sampled: int, seed: int | None
) -> list[tuple[object, ...]]:
    """Decisions in the columns of `SCHEMA`, as plain Python values; what is not finite is null."""
    return [(*(_value(value) for value in row), label, importance_of, n_sampled, seed) for row in rows]


def _value(value: object) -> object:
    value = value.item() if hasattr(value, "item") else value  # a scalar of numpy, which a classic session does not take
    return None if isinstance(value, float) and not math.isfinite(value) else value


def selection_spec(table: str, label: str) -> TableSpec:
    """One row per candidate column."""
    return TableSpec(
        comment=f"Which columns of {table} are features for {label}, and why the others are not",
        columns={**COMMENTS, **ABOUT},
        keys=("column",),
    )
