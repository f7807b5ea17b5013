"""Column state: everything that is kept of one column in one slice of a table; states of disjoint rows add.

Takes values of a block as arrays and gives a small state; the profile is a function of such states alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final, Literal

import numpy as np

from sparkds.errors import DataError
from sparkds.features.profile.distinct import Distinct
from sparkds.features.profile.frequent import Frequent
from sparkds.features.profile.moments import Central, Pairs
from sparkds.features.profile.row_sample import RowSample
from sparkds.features.profile.value_bins import BinCounts

Kind = Literal["number", "decimal", "integer", "boolean", "date", "timestamp", "timestamp_ntz", "string", "binary", "other"]
NUMERIC: Final = ("number", "decimal", "integer", "boolean")
"""Kinds with moments that mean something, and correlations."""
TEXTUAL: Final = ("string", "binary")
"""Kinds of which the lengths are measured (characters, bytes)."""
TEMPORAL: Final = ("date", "timestamp", "timestamp_ntz")
MICROSECONDS_A_DAY: Final = 86_400_000_000

Exact = int | float | Decimal


@dataclass(frozen=True, eq=False)
class ColumnState:
    """State of a column.

    Attributes
    ----------
    kind : str
    n : int
        Rows.
    nulls, nans, infinities : int
        Rows with null, NaN, or an infinite number; these take no part in what follows.
    zeros, negatives : int
        Values that are 0, or below; for texts the empty ones.
    low, high : int, float or Decimal, optional
        Smallest and largest finite value, exact: days since 1970 of dates, microseconds of instants, lengths of texts.
    moments : Central
        Of the finite values; of the lengths of texts.
    bins : BinCounts
        Likewise; of dates and instants by day.
    distinct, frequent : Distinct, Frequent
    sample : RowSample
        Of numeric columns.
    pairs : Pairs
        With the numeric columns whose number is larger.
    """

    kind: Kind
    n: int = 0
    nulls: int = 0
    nans: int = 0
    infinities: int = 0
    zeros: int = 0
    negatives: int = 0
    low: Exact | None = None
    high: Exact | None = None
    moments: Central = field(default_factory=Central)
    bins: BinCounts = field(default_factory=BinCounts.none)
    distinct: Distinct = field(default_factory=lambda: Distinct.none(2048))
    frequent: Frequent = field(default_factory=lambda: Frequent.none(4096))
    sample: RowSample = field(default_factory=lambda: RowSample.none(0))
    pairs: Pairs = field(default_factory=Pairs.none)

    def __add__(self, other: ColumnState) -> ColumnState:
        """State of disjoint rows together.

        Raises
        ------
        DataError
            The column had another kind of type there.
        """
        if self.kind != other.kind:
            if self.n == self.nulls:
                return replace(other, n=self.n + other.n, nulls=self.nulls + other.nulls)
            if other.n == other.nulls:
                return replace(self, n=self.n + other.n, nulls=self.nulls + other.nulls)
            raise DataError(f"a column was of kind {self.kind} in some slices and is {other.kind} in others; profile the table anew")
        return ColumnState(
            kind=self.kind,
            n=self.n + other.n,
            nulls=self.nulls + other.nulls,
            nans=self.nans + other.nans,
            infinities=self.infinities + other.infinities,
            zeros=self.zeros + other.zeros,
            negatives=self.negatives + other.negatives,
            low=_chosen(min, self.low, other.low),
            high=_chosen(max, self.high, other.high),
            moments=self.moments + other.moments,
            bins=self.bins + other.bins,
            distinct=self.distinct + other.distinct,
            frequent=self.frequent + other.frequent,
            sample=self.sample + other.sample,
            pairs=self.pairs + other.pairs,
        )

    @property
    def values(self) -> int:
        """Rows that have a value: neither null nor NaN."""
        return self.n - self.nulls - self.nans

    @property
    def all_distinct(self) -> bool:
        """Whether no value is known to occur twice."""
        return self.distinct.estimate >= self.values * (1 - 3 * self.distinct.relative_error)


def _chosen(choice: Callable[[Exact, Exact], Exact], a: Exact | None, b: Exact | None) -> Exact | None:
    if a is None or b is None:
        return b if a is None else a
    return choice(a, b)


def with_exact(state: ColumnState, low: Decimal | None, high: Decimal | None) -> ColumnState:
    """State that also knows exact bounds of further rows."""
    return replace(state, low=_chosen(min, state.low, low), high=_chosen(max, state.high, high))


def day_bins(x: np.ndarray[tuple[int], np.dtype[np.int64]], kind: Kind) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Bins of dates (days) or instants (microseconds): the day since 1970-01-01, in UTC."""
    return x if kind == "date" else np.floor_divide(x, MICROSECONDS_A_DAY)
