"""Decisions: for every candidate column whether it is kept or why not, with the figures behind it.

Takes the figures of rules, relevance, correlation and importance, and gives one row per column; what was kept is a list made from the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

RULES: Final = (
    "unusable_type", "null_share", "single_value", "near_zero_variance", "id_like", "not_relevant", "correlated", "elimination",
    "low_importance",
)  # fmt: skip
"""Rules by which a column is dropped, in the order in which they are asked."""


class ColumnDecision(NamedTuple):
    """Decision about one column.

    Attributes
    ----------
    column : str
    position : int
        Among the columns of the table, from 0.
    dtype : str
        Spark's name of the type.
    kept : bool
    rule : str
        Of `RULES`, empty if the column is kept.
    reason : str
        A sentence with the figures, for kept columns too.
    n : int
        Rows with a label.
    null_share, n_distinct, distinct_share, frequency_ratio
        See `sparkds.features.select.rules.ColumnFigures`; NaN where there is none, infinite for a single value.
    skill, skill_kind, skill_bound, mutual_information, pvalue, qvalue, presence_skill
        See `sparkds.stats.relevance.Relevance`.
    correlated_with : str
        Of the columns kept over this one, the most correlated; empty if the column was not dropped for that.
    correlation : float
        With that column.
    importance, importance_sd : float
        Mean and standard deviation over folds and seeds; NaN where it was not judged.
    importance_rank : int
        1 for the most important; 0 where it was not judged.
    selected_in : float
        Share of folds and seeds in whose own selection the column is.
    elimination_rank : int
        1 for the columns that recursive elimination keeps, then by the round in which they went, the last first; 0 without it.
    """

    column: str
    position: int
    dtype: str
    kept: bool
    rule: str
    reason: str
    n: int = 0
    null_share: float = math.nan
    n_distinct: float = math.nan
    distinct_share: float = math.nan
    frequency_ratio: float = math.nan
    skill: float = math.nan
    skill_kind: str = ""
    skill_bound: float = math.nan
    mutual_information: float = math.nan
    pvalue: float = math.nan
    qvalue: float = math.nan
    presence_skill: float = math.nan
    correlated_with: str = ""
    correlation: float = math.nan
    importance: float = math.nan
    importance_sd: float = math.nan
    importance_rank: int = 0
    selected_in: float = math.nan
    elimination_rank: int = 0


COMMENTS: Final = {
    "column": "candidate",
    "position": "among the columns of the table, from 0",
    "dtype": "type of the column",
    "kept": "whether it is a feature",
    "rule": "rule that dropped it; empty if kept",
    "reason": "why, with figures",
    "n": "rows with a label",
    "null_share": "share of them without a value, in [0, 1]",
    "n_distinct": "different values; an estimate beyond the sample",
    "distinct_share": "different values per row, in [0, 1]",
    "frequency_ratio": "most frequent value over the second; null for a single value",
    "skill": "AUC in [0.5, 1] or adjusted R² in [0, 1] of the column alone",
    "skill_kind": "auc, auc_one_vs_rest or r2",
    "skill_bound": "how far the AUC without bins can be from skill",
    "mutual_information": "with the label, in nats",
    "pvalue": "of the chi-square test of independence",
    "qvalue": "p-value after Benjamini and Hochberg over all candidates",
    "presence_skill": "skill of the bare fact that there is a value",
    "correlated_with": "kept column that makes it superfluous",
    "correlation": "Pearson correlation with that column",
    "importance": "mean over folds and seeds, in the unit of importance_of",
    "importance_sd": "standard deviation over folds and seeds",
    "importance_rank": "1 for the most important; 0 where not judged",
    "selected_in": "share of folds and seeds whose own selection has it",
    "elimination_rank": "1 for what recursive elimination keeps; 0 without it",
}
"""Column of the table of decisions to its comment."""


def selected_columns(rows: Iterable[ColumnDecision | Mapping[str, Any]]) -> tuple[str, ...]:
    """Columns that are kept, in the order of the table: the feature list.

    Parameters
    ----------
    rows : iterable of ColumnDecision, or of mappings with ``column``, ``position`` and ``kept``

    Examples
    --------
    >>> selected_columns([ColumnDecision("b", 1, "int", True, "", ""), ColumnDecision("a", 0, "int", False, "id_like", "")])
    ('b',)
    """
    told = [row._asdict() if isinstance(row, ColumnDecision) else row for row in rows]
    return tuple(row["column"] for row in sorted(told, key=lambda row: row["position"]) if row["kept"])


def counts_by_rule(rows: Sequence[ColumnDecision]) -> dict[str, int]:
    """Columns dropped by each rule, in the order of `RULES`; rules that dropped none are left out.

    Examples
    --------
    >>> counts_by_rule([ColumnDecision("a", 0, "int", False, "id_like", ""), ColumnDecision("b", 1, "int", True, "", "")])
    {'id_like': 1}
    """
    found = {rule: sum(row.rule == rule for row in rows) for rule in RULES}
    return {rule: n for rule, n in found.items() if n}
