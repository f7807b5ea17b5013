"""Finding: what a look at a table for leaks and shifts found, how bad it is, and what is to be done.

Takes figures that other modules computed and gives sentences in one shape; says which findings stop a gate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["skipped", "ok", "info", "warning", "error"]
Level = Literal["info", "warning", "error"]
Gate = Literal["none", "info", "warning", "error"]

ORDER: Final[tuple[Severity, ...]] = ("skipped", "ok", "info", "warning", "error")

Kind = Literal[
    "feature_time",
    "known_after_label",
    "known_after_time",
    "label_before_time",
    "window_overlap",
    "label_reaches_test",
    "single_feature",
    "presence",
    "id_like",
    "lag_collapse",
    "entity_overlap",
    "duplicate_rows",
    "copied_rows",
    "column_missing",
    "type_differs",
    "missing_categories",
    "null_share",
    "psi",
    "ks",
    "target_rate",
]

SEVERITY: Final[dict[Kind, Level]] = {
    "feature_time": "error",
    "known_after_label": "error",
    "known_after_time": "error",
    "label_before_time": "error",
    "window_overlap": "error",
    "label_reaches_test": "warning",
    "single_feature": "error",
    "presence": "warning",
    "id_like": "warning",
    "lag_collapse": "warning",
    "entity_overlap": "error",
    "duplicate_rows": "error",
    "copied_rows": "warning",
    "column_missing": "error",
    "type_differs": "error",
    "missing_categories": "warning",
    "null_share": "warning",
    "psi": "warning",
    "ks": "warning",
    "target_rate": "warning",
}
"""Severity of each kind where the declaration says no other."""

TITLES: Final[dict[Kind, str]] = {
    "feature_time": "features timed at or after the label",
    "known_after_label": "values known only after the label began",
    "known_after_time": "values known only after the row's time",
    "label_before_time": "labels that begin or are over before the row's time",
    "window_overlap": "feature windows that reach into the label's period",
    "label_reaches_test": "labels of training rows made of days of the test part",
    "single_feature": "single features that tell the label too well",
    "presence": "nulls that tell the label",
    "id_like": "columns that name rows or entities",
    "lag_collapse": "features whose skill is gone one period back",
    "entity_overlap": "entities on both sides of the split",
    "duplicate_rows": "the same row on both sides of the split",
    "copied_rows": "rows of the test part whose features and label stand in the training part under another key",
    "column_missing": "columns that a part lacks",
    "type_differs": "columns of another type in a part",
    "missing_categories": "categories that the training part has not seen",
    "null_share": "shares of nulls that differ between parts",
    "psi": "distributions that differ between parts (population stability index)",
    "ks": "distributions that differ between parts (Kolmogorov-Smirnov distance)",
    "target_rate": "labels that differ between parts",
}
"""What each kind looks for, in the order of a report."""


@dataclass(frozen=True)
class Finding:
    """One finding, or one check that found nothing.

    Attributes
    ----------
    kind : str
        A key of `TITLES`.
    severity : {"skipped", "ok", "info", "warning", "error"}
        ``ok``: looked at and nothing found; the figure is then the largest one. ``skipped``: not looked at, `what` says why.
    column : str
        Empty when it is of rows and of no single column.
    part : str
        Part that is compared with the training part; empty when it is of all rows.
    figure : float
        Its unit is `measure`; NaN where there is none.
    measure : str
        ``share of rows``, ``AUC``, ``absolute correlation``, ``PSI`` …
    threshold : float
        From which on the figure is a finding; NaN where any row is one.
    qvalue : float
        Chance of a figure like this without a leak, corrected for the number of columns (Benjamini-Hochberg); NaN where exact.
    n_rows : int
        Rows that are concerned: the offending ones of an exact check, else those that the figure rests on.
    what, to_do : str
        One sentence each.
    """

    kind: Kind
    severity: Severity
    column: str = ""
    part: str = ""
    figure: float = math.nan
    measure: str = ""
    threshold: float = math.nan
    qvalue: float = math.nan
    n_rows: int = 0
    what: str = ""
    to_do: str = ""


COLUMNS: Final[dict[str, str]] = {
    "kind": "what was looked for",
    "severity": "error, warning, info; ok: looked at and nothing found; skipped: not looked at",
    "column": "column concerned; empty for rows as a whole",
    "part": "part compared with the training part; empty for all rows",
    "figure": "figure in the unit of measure; of a check without a finding the largest one",
    "measure": "unit of the figure",
    "threshold": "from which on the figure is a finding",
    "qvalue": "chance of such a figure without a leak, corrected for the number of columns; null where the figure is exact",
    "n_rows": "offending rows of an exact check, else rows that the figure rests on",
    "what": "what was found",
    "to_do": "what to do about it",
}
"""Columns of the findings table with their comments."""


def found(findings: Iterable[Finding]) -> list[Finding]:
    """Findings proper, the worst first, then in the order of `TITLES`."""
    kinds = list(TITLES)
    kept = [one for one in findings if rank(one.severity) >= rank("info")]
    return sorted(kept, key=lambda one: (-rank(one.severity), kinds.index(one.kind)))


def stopping(findings: Iterable[Finding], gate: Gate) -> list[Finding]:
    """Findings at or above the level of a gate, the worst first; none for the gate ``none``.

    Examples
    --------
    >>> warning = Finding("psi", "warning", "age", figure=0.4)
    >>> len(stopping([warning], "warning")), len(stopping([warning], "error"))
    (1, 0)
    """
    return [] if gate == "none" else [one for one in found(findings) if rank(one.severity) >= rank(gate)]


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Number of findings by severity, the worst first.

    Examples
    --------
    >>> counts([Finding("psi", "ok")])
    {'error': 0, 'warning': 0, 'info': 0, 'ok': 1, 'skipped': 0}
    """
    return {severity: sum(one.severity == severity for one in findings) for severity in reversed(ORDER)}


def rank(severity: Severity) -> int:
    """Place of a severity in `ORDER`."""
    return ORDER.index(severity)
