"""States: what the passes over a table found, small and without Spark, from which every finding follows.

Takes nothing; names the figures that the Spark modules fetch and the pure modules judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sparkds.features.leakage.finding import Kind


@dataclass(frozen=True)
class TimeCount:
    """Rows that break one rule about time.

    Attributes
    ----------
    kind : str
    column : str
        Column that breaks it, or the features of a window.
    n_bad, n_known : int
        Rows that break it, and rows in which both times are there.
    first, last : str
        Smallest and largest of the offending values, as text; empty without one.
    most_days : float
        How far the worst of them lies beyond, in days; NaN without one.
    declared : bool
        Whether the check names the column; one that was only found by its type is at most a warning.
    against : str
        What it is held against, for sentences.
    """

    kind: Kind
    column: str
    n_bad: int
    n_known: int
    first: str = ""
    last: str = ""
    most_days: float = math.nan
    declared: bool = True
    against: str = "the label's first instant"


@dataclass(frozen=True)
class Distinct:
    """Distinct values of a column, estimated.

    Attributes
    ----------
    column : str
    n_known : int
        Rows with a value.
    n_distinct : float
    n_with_key : float
        Distinct pairs of entity and value.
    n_entities : float
    low, high : float
        Range of a whole number; NaN of a text.
    """

    column: str
    n_known: int
    n_distinct: float
    n_with_key: float
    n_entities: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class LabelMoments:
    """Number, mean and variance of a numeric label in a part."""

    n: int
    mean: float
    variance: float


@dataclass(frozen=True)
class Overview:
    """What one aggregation found.

    Attributes
    ----------
    n_rows : int
    parts : mapping of str to int
        Rows of the training and the test part, or of all under ``train``.
    n_others, n_no_part, n_no_label, n_no_time : int
        Rows of known parts that are not compared, without a part, and (of the compared parts) without a label or time.
    times : tuple of TimeCount
    label : mapping of part to LabelMoments
        Of a regression.
    """

    n_rows: int
    parts: Mapping[str, int]
    n_others: int
    n_no_part: int
    n_no_label: int
    n_no_time: int
    times: tuple[TimeCount, ...]
    label: Mapping[str, LabelMoments] = field(default_factory=dict)


@dataclass(frozen=True)
class Overlap:
    """What is on both sides of a split.

    Attributes
    ----------
    n_entities_train, n_entities_test, n_entities_both : int
    n_rows_of_both : int
        Test rows of entities that are on both sides.
    n_duplicates : int
        Test rows that stand in the training part with all their values, key and time included.
    n_copied : int
        Test rows whose features and label stand in the training part under another key or time (duplicates left out).
    n_repeated_train : int
        Training rows whose features and label stand in the training part more than once.
    n_train, n_test : int
        Rows.
    """

    n_entities_train: int
    n_entities_test: int
    n_entities_both: int
    n_rows_of_both: int
    n_duplicates: int
    n_copied: int
    n_repeated_train: int
    n_train: int
    n_test: int


@dataclass(frozen=True)
class Categories:
    """Categories of a text in a compared part that the training part has not.

    Attributes
    ----------
    column, part : str
    n : int
        Rows of the part with a value.
    n_unseen : int
        Of these, rows whose value the training part has not.
    n_values : int
        Distinct values of the part that the training part has not.
    example : str
        The first of them by its characters.
    n_train : int
        Training rows with a value.
    n_once, n_twice : int
        Values that occur once, and twice, in the training part.
    """

    column: str
    part: str
    n: int
    n_unseen: int
    n_values: int
    example: str
    n_train: int
    n_once: int
    n_twice: int


@dataclass(frozen=True)
class Lagged:
    """Skill of a feature and of the same entity's value one period back, on the same rows.

    Attributes
    ----------
    column : str
    n : int
        Rows with a previous row.
    n_smaller : int
        Rows of the smaller class; of a regression, of all.
    skill, skill_before : float
        ``2 AUC - 1``, or correlation ratio; in [0, 1].
    """

    column: str
    n: int
    n_smaller: int
    skill: float
    skill_before: float


@dataclass(frozen=True)
class AlignmentRow:
    """Figures of a column in a part against the training part; NaN where there is none, and `reason` says why.

    Attributes
    ----------
    column, part, reference : str
    kind : {"number", "text", "time"}
    n : int
        Rows of the part.
    null_share, null_share_reference : float
    null_share_qvalue : float
    psi, psi_expected, psi_qvalue : float
    ks, ks_bound, ks_qvalue : float
    n_groups : int
        Groups that the index is of.
    unseen_share, unseen_share_expected : float
    reason : str
    """

    column: str
    part: str
    reference: str
    kind: str
    n: int
    null_share: float
    null_share_reference: float
    null_share_qvalue: float = math.nan
    psi: float = math.nan
    psi_expected: float = math.nan
    psi_qvalue: float = math.nan
    ks: float = math.nan
    ks_bound: float = math.nan
    ks_qvalue: float = math.nan
    n_groups: int = 0
    unseen_share: float = math.nan
    unseen_share_expected: float = math.nan
    reason: str = ""


ALIGNMENT_COLUMNS = {
    "column": "column; the label too",
    "part": "part that is compared",
    "reference": "part it is compared with",
    "kind": "number, text or time",
    "n": "rows of the part",
    "null_share": "share of nulls (NaN and infinities too) in the part",
    "null_share_reference": "share of nulls in the reference",
    "null_share_qvalue": "q-value of their difference",
    "psi": "population stability index over n_groups groups, without nulls",
    "psi_expected": "its expectation without a shift",
    "psi_qvalue": "q-value of the chi-squared test over the same groups",
    "ks": "largest difference of the distribution functions at the edges of bins",
    "ks_bound": "the distance without bins is at most this",
    "ks_qvalue": "q-value of the distance; conservative",
    "n_groups": "groups of the index",
    "unseen_share": "share of the part's rows with a category that the reference has not",
    "unseen_share_expected": "share to be expected without a shift",
    "reason": "why figures are missing",
}
"""Columns of the alignment table with their comments."""
