"""Rules: which columns carry too little, too much of themselves, or what another column carries already.

Takes figures of columns and gives the rule and the reason of each drop; no rule looks at rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sparkds.features.select.declaration import Rules

COUNTED_KINDS: Final = ("string", "tinyint", "smallint", "int", "bigint")
"""Types of columns that can be ids."""


class ColumnFigures(NamedTuple):
    """What the rules look at.

    Attributes
    ----------
    column : str
    dtype : str
        Spark's name of the type.
    n : int
        Rows with a label.
    n_null : int
        Of those, rows without a value; NaN and infinities are none.
    n_distinct : float
        Different values, null not among them; an estimate where there are more rows than the sample has.
    top : float
        Rows with the most frequent value.
    second : float
        Rows with the second; 0 if there is one value only.
    single : bool
        Whether all values are the same; null is no value.
    presence_skill : float
        Of `sparkds.stats.relevance.Relevance`.
    qvalue : float
    """

    column: str
    dtype: str
    n: int
    n_null: int
    n_distinct: float
    top: float
    second: float
    single: bool
    presence_skill: float = math.nan
    qvalue: float = math.nan

    @property
    def null_share(self) -> float:
        """Share of rows without a value."""
        return self.n_null / self.n if self.n else math.nan

    @property
    def frequency_ratio(self) -> float:
        """How many times as frequent as the second the most frequent value is; infinite with one value, NaN with none."""
        return math.nan if self.top == 0 else math.inf if self.second == 0 else self.top / self.second

    @property
    def distinct_share(self) -> float:
        """Different values per row with a label, rows without a value among them."""
        return self.n_distinct / self.n if self.n else math.nan

    @property
    def id_share(self) -> float:
        """Different values per row with a value; NaN without one."""
        known = self.n - self.n_null
        return min(self.n_distinct / known, 1.0) if known else math.nan


class Drop(NamedTuple):
    """Why a column is dropped: the name of the rule, and a sentence with the figures."""

    rule: str
    reason: str


def dropped_by(figures: ColumnFigures, rules: Rules) -> Drop | None:
    """First rule that drops a column, in the order in which they stand here; None if none does.

    - ``null_share``: more than 0.95 of the rows have no value. Exactly 0.95 is kept. No value at all is dropped whatever the threshold.
    - ``single_value``: all values are the same. Null is no value, so null and one value are a single value: what such a column can
      tell is only whether it has a value (`presence_skill`), for which a truth value derived from it is the right feature.
    - ``near_zero_variance``: the most frequent value is more than 95/5 times as frequent as the second, and there are fewer different
      values than 10 % of the rows (Kuhn, Johnson 2013, section 3.5). Exactly 95/5, or exactly 10 %, is kept.
    - ``id_like``: of a text or whole number, the different values are at least 0.9 of the rows with a value. Exactly 0.9 is dropped.
    - ``not_relevant``: the q-value is at least the false-discovery rate; exactly that is dropped, as Benjamini and Hochberg keep
      what lies below. A column whose p-value cannot be computed is left to the rules above.

    Parameters
    ----------
    figures : ColumnFigures
    rules : Rules

    References
    ----------
    Kuhn, Johnson (2013), Applied Predictive Modeling, section 3.5; Benjamini, Hochberg (1995).

    Examples
    --------
    >>> column = ColumnFigures("fax", "string", n=100, n_null=96, n_distinct=4, top=1, second=1, single=False)
    >>> dropped_by(column, Rules())
    Drop(rule='null_share', reason='96 of 100 rows (96 %) have no value; more than 95 % is too many')
    >>> dropped_by(column._replace(n_null=95, n_distinct=3), Rules()) is None
    True
    """
    f = figures
    if f.n_null == f.n:
        return Drop("null_share", f"none of {f.n} rows has a value")
    if rules.null_share is not None and f.null_share > rules.null_share:
        told = f"{f.n_null} of {f.n} rows ({percent(f.null_share)}) have no value; more than {percent(rules.null_share)} is too many"
        return Drop("null_share", told)
    if f.single:
        only = "; only whether it has one can tell anything: derive a truth value from that" if f.n_null else ""
        return Drop("single_value", f"all values are the same{only}")
    many = rules.frequency_ratio is not None and f.frequency_ratio > rules.frequency_ratio
    if many and f.distinct_share < rules.distinct_share:
        told = (
            f"the most frequent value is {f.frequency_ratio:.4g} times as frequent as the second (more than {rules.frequency_ratio:.4g}), "
            f"with {percent(f.distinct_share)} different values (below {percent(rules.distinct_share)})"
        )
        return Drop("near_zero_variance", told)
    if rules.id_share is not None and f.dtype in COUNTED_KINDS and f.id_share >= rules.id_share:
        told = f"{percent(f.id_share)} of its values are different (from {percent(rules.id_share)} on it names rows)"
        return Drop("id_like", told)
    if rules.false_discovery_rate is not None and f.qvalue >= rules.false_discovery_rate:
        return Drop("not_relevant", f"q-value {f.qvalue:.4g} is not below the false-discovery rate {rules.false_discovery_rate:g}")
    return None


class Correlated(NamedTuple):
    """A kept column that makes another superfluous, and their correlation."""

    column: str
    correlation: float


def correlated_drops(
    columns: Sequence[str],
    relevance: Mapping[str, float],
    correlations: Mapping[tuple[str, str], float],
    *,
    limit: float,
    first: Sequence[str] = (),
) -> dict[str, Correlated]:
    """Columns that are dropped since a kept one correlates with them by more than `limit` in absolute value.

    Columns are gone through from the most relevant to the least, equally relevant ones in the order of the table; each is kept unless it
    correlates with one that is kept already. So of a hub and its spokes, which do not correlate with each other, the hub alone stays if
    it is the most relevant; else spokes stay as long as the hub goes. A correlation of exactly `limit` drops nothing.

    Parameters
    ----------
    columns : sequence of str
        In the order of the table.
    relevance : mapping of str to float
        Say, mutual information; NaN is the least.
    correlations : mapping of (str, str) to float
        Of pairs, each in one order or the other; pairs that are not given do not correlate.
    limit : float
    first : sequence of str
        Columns that are kept in any case and gone through before all others.

    Returns
    -------
    dict of str to Correlated
        Dropped column to the most correlated of the kept ones.

    Examples
    --------
    >>> pairs = {("a", "hub"): 0.97, ("b", "hub"): -0.96}
    >>> sorted(correlated_drops(["a", "hub", "b"], {"a": 0.1, "hub": 0.3, "b": 0.2}, pairs, limit=0.95))
    ['a', 'b']
    >>> sorted(correlated_drops(["a", "hub", "b"], {"a": 0.4, "hub": 0.3, "b": 0.2}, pairs, limit=0.95))
    ['hub']
    """
    near: dict[str, list[Correlated]] = {name: [] for name in columns}
    for (left, right), r in correlations.items():
        if abs(r) > limit and left in near and right in near:
            near[left].append(Correlated(right, r))
            near[right].append(Correlated(left, r))
    place = {name: i for i, name in enumerate(columns)}

    def order(name: str) -> tuple[bool, float, int]:
        told = relevance.get(name, math.nan)
        return name not in first, math.inf if math.isnan(told) else -told, place[name]

    kept: set[str] = set()
    dropped = {}
    for name in sorted(columns, key=order):
        rivals = [other for other in near[name] if other.column in kept]
        if rivals and name not in first:
            dropped[name] = min(rivals, key=lambda other: (-abs(other.correlation), place[other.column]))
        else:
            kept.add(name)
    return {name: dropped[name] for name in columns if name in dropped}


def percent(share: float) -> str:
    """Share as percent with up to four digits.

    Examples
    --------
    >>> percent(0.95), percent(0.999951)
    ('95 %', '99.9951 %')
    """
    return f"{share * 100:.6g} %"
