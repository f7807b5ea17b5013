"""Unit kernel: from the sorted exposures and facts of whole units to one row per unit and experiment, on arrays.

Every measure of every exposure is two look-ups in a prefix sum over the unit's facts, so that the cost of facts and of
exposures add and do not multiply; doubles are summed over their range, never by subtracting prefixes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkds.experiments.measures import Measure, Stretch
from sparkds.stats.log_histogram import bins

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class FactRows:
    """Rows of one fact table for a block of units, ascending by (unit, time).

    Attributes
    ----------
    unit : (n_rows,) int64
        Number of the unit in the block, ascending.
    time : (n_rows,) int64
        Microseconds.
    where : dict of str to (n_rows,) bool
        Predicate to the rows for which it is true.
    values : dict of str to (array (n_rows,), (n_rows,) bool)
        Column to its values (int64 or float64) and which of them exist.
    codes : dict of str to (array (n_rows,), (n_rows,) bool)
        Column to whole numbers that are equal where its values are, and which of them exist.
    """

    unit: Ints
    time: Ints
    where: dict[str, Bools] = field(default_factory=dict)
    values: dict[str, tuple[Numbers, Bools]] = field(default_factory=dict)
    codes: dict[str, tuple[Numbers, Bools]] = field(default_factory=dict)


@dataclass(frozen=True)
class FirstExposures:
    """One row per (unit, experiment) of a block, ascending by unit.

    Attributes
    ----------
    row : (n,) int64
        Row of the first exposure among the exposures.
    unit, experiment, arm, time : (n,) int64
        `arm` and `time` of the first exposure; at the same instant the smallest arm.
    n_exposures, n_arms : (n,) int64
    """

    row: Ints
    unit: Ints
    experiment: Ints
    arm: Ints
    time: Ints
    n_exposures: Ints
    n_arms: Ints


def first_exposures(unit: Ints, experiment: Ints, arm: Ints, time: Ints) -> FirstExposures:
    """First exposure of every unit to every experiment.

    Parameters
    ----------
    unit, experiment, arm, time : (n_exposures,) int64
        In any order.
    """
    order = np.lexsort((arm, time, experiment, unit))
    u, e, a = unit[order], experiment[order], arm[order]
    new = np.ones(len(u), dtype=bool)
    new[1:] = (u[1:] != u[:-1]) | (e[1:] != e[:-1])
    start = np.flatnonzero(new)
    n = np.diff(np.append(start, len(u)))
    by_arm = np.lexsort((a, np.repeat(np.arange(len(start)), n)))
    sorted_arm = a[by_arm]
    change = np.zeros(len(u), dtype=np.int64)
    change[1:] = sorted_arm[1:] != sorted_arm[:-1]
    change[start] = 1
    n_arms = np.add.reduceat(change, start) if len(start) else np.zeros(0, dtype=np.int64)
    return FirstExposures(order[start], u[start], e[start], a[start], time[order][start], n.astype(np.int64), n_arms)


class Ranges:
    """Fact rows of every exposure inside stretches of time.

    Parameters
    ----------
    facts : FactRows
    unit, time : (n,) int64
        Unit and anchor (µs) of every exposure.
    until : (n,) int64
        Instant at which an open stretch ends.
    floor : (n,) int64, optional
        Facts before this instant do not count; a stored state stands for them.
    """

    def __init__(self, facts: FactRows, unit: Ints, time: Ints, until: Ints, floor: Ints | None = None) -> None:
        self.facts, self.unit, self.time, self.until, self.floor = facts, unit, time, until, floor
        self.low = int(facts.time.min()) if len(facts.time) else 0
        self.span = (int(facts.time.max()) if len(facts.time) else 0) - self.low + 2
        n_units = int(max(facts.unit.max(initial=0), unit.max(initial=0))) + 1
        if n_units * self.span >= 2**62:
            raise OverflowError(f"{n_units} units over {self.span} microseconds do not fit into one block; lower the units of a block")
        self.place = facts.unit * self.span + (facts.time - self.low)
        self._found: dict[Stretch, tuple[Ints, Ints]] = {}

    def rows(self, stretch: Stretch) -> tuple[Ints, Ints]:
        """First row of each exposure's stretch, and the row after its last: (n,) each."""
        if stretch not in self._found:
            ends = self.until if stretch.end is None else self.time + stretch.end
            begins = self.time + stretch.start
            first = self._position(begins if self.floor is None else np.maximum(begins, self.floor))
            self._found[stretch] = first, np.maximum(first, self._position(ends))
        return self._found[stretch]

    def whole(self) -> tuple[Ints, Ints]:
        """Rows from each exposure on until its end: (n,) each."""
        return self.rows(Stretch())

    def _position(self, instant: Ints) -> Ints:
        wanted = self.unit * self.span + np.clip(instant - self.low, 0, self.span - 1)
        return np.searchsorted(self.place, wanted, side="left").astype(np.int64)


def measured(facts: FactRows, ranges: Ranges, measures: Iterable[Measure]) -> dict[Measure, npt.NDArray[np.float64]]:
    """Every measure of every exposure: (n,) each.

    Sums of integers are exact; sums of doubles are right to about 1e-15 of the sum of the absolute values.

    Raises
    ------
    OverflowError
        A sum of integers does not fit in 64 bits.
    """
    masked = _Masked(facts)
    answers: dict[Measure, npt.NDArray[np.float64]] = {}
    for measure in measures:
        first, after = ranges.rows(measure.stretch)
        if measure.aggregate == "histogram":
            continue
        if measure.aggregate == "steps":
            answers[measure] = steps_done(facts, measure.where, first, after).astype(np.float64)
        elif measure.aggregate == "distinct":
            codes, exists = facts.codes[measure.column]
            answers[measure] = distinct_in_ranges(facts.unit, codes, exists & masked.rows(measure.where), first, after).astype(np.float64)
        elif measure.aggregate == "sum" and facts.values[measure.column][0].dtype.kind == "f":
            answers[measure] = range_sums(masked.values(measure.column, measure.where), first, after)
        else:
            prefix = masked.prefix(measure)
            answers[measure] = (prefix[after] - prefix[first]).astype(np.float64)
    return answers


class _Masked:
    """Columns with the rows that a predicate leaves out made 0, each made once."""

    def __init__(self, facts: FactRows) -> None:
        self.facts = facts
        self._values: dict[tuple[str, tuple[str, ...]], Numbers] = {}
        self._prefixes: dict[tuple[str, str, tuple[str, ...]], Ints] = {}

    def rows(self, where: tuple[str, ...]) -> Bools:
        return self.facts.where[where[0]] if where else np.ones(len(self.facts.unit), dtype=bool)

    def values(self, column: str, where: tuple[str, ...]) -> Numbers:
        if (column, where) not in self._values:
            values, exists = self.facts.values[column]
            self._values[column, where] = np.where(exists & self.rows(where), values, 0)
        return self._values[column, where]

    def prefix(self, measure: Measure) -> Ints:
        key = measure.aggregate, measure.column, measure.where
        if key not in self._prefixes:
            if measure.aggregate == "rows":
                values: Numbers = self.rows(measure.where)
            elif measure.aggregate == "values":
                values = self.facts.values[measure.column][1] & self.rows(measure.where)
            else:
                values = self.values(measure.column, measure.where)
                if np.abs(values.astype(np.float64)).sum() >= 2.0**62:
                    raise OverflowError(f"the sum of column '{measure.column}' does not fit in 64 bits; declare it as double")
            self._prefixes[key] = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
        return self._prefixes[key]


def stored_rows(unit: Ints, experiment: Ints, time: Ints, first: FirstExposures) -> Ints:
    """Row of the stored state of every exposure, -1 where there is none with the same first exposure: (n,).

    Parameters
    ----------
    unit, experiment, time : (n_stored,) int64
        At most one row per unit and experiment; `time` is the first exposure.
    """
    if len(unit) == 0 or len(first.unit) == 0:
        return np.full(len(first.unit), -1, dtype=np.int64)
    n_experiments = int(max(experiment.max(), first.experiment.max())) + 1
    key = unit * n_experiments + experiment
    order = np.argsort(key)
    wanted = first.unit * n_experiments + first.experiment
    at = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
    row = order[at]
    same = (key[row] == wanted) & (time[row] == first.time)
    found: Ints = np.where(same, row, -1)
    return found


def range_sums(values: Numbers, first: Ints, after: Ints) -> npt.NDArray[np.float64]:
    """Sum of ``values[first:after]`` for every pair: (n,)."""
    if len(first) == 0:
        return np.zeros(0)
    ends = np.empty(2 * len(first), dtype=np.int64)
    ends[0::2], ends[1::2] = first, after
    sums = np.add.reduceat(np.append(values.astype(np.float64), 0.0), ends)[0::2]
    sums[first == after] = 0.0
    return sums


def distinct_in_ranges(unit: Ints, codes: Numbers, counts: Bools, first: Ints, after: Ints, *, most: int = 4_000_000) -> Ints:
    """Number of different codes among the rows of ``first:after`` that count, for every pair: (n,).

    A row is new in its range when the row before it with the same unit and code lies before the range.
    """
    before = np.full(len(unit), -1, dtype=np.int64)
    rows = np.flatnonzero(counts)
    order = rows[np.lexsort((rows, codes[rows], unit[rows]))]
    same = (unit[order][1:] == unit[order][:-1]) & (codes[order][1:] == codes[order][:-1])
    before[order[1:][same]] = order[:-1][same]
    found = np.zeros(len(first), dtype=np.int64)
    lengths = after - first
    total = np.cumsum(lengths)
    at = 0
    while at < len(first):  # so many ranges at a time that what they expand to stays small
        done = total[at - 1] if at else 0
        to = max(at + 1, int(np.searchsorted(total, done + most, side="right")))
        n = lengths[at:to]
        range_of = np.repeat(np.arange(at, to), n)
        row = np.arange(n.sum()) + np.repeat(first[at:to] - (np.cumsum(n) - n), n)
        new = counts[row] & (before[row] < first[range_of])
        found[at:to] = np.bincount(range_of[new] - at, minlength=to - at)
        at = to
    return found


def histograms(facts: FactRows, ranges: Ranges, measure: Measure, scale: float = 1.0) -> tuple[Ints, Ints, Ints]:
    """Log histogram of a column in the range of every exposure: exposure, bin, count, ascending by exposure and bin.

    Parameters
    ----------
    facts, ranges
    measure : Measure
        Of the aggregate ``histogram``.
    scale : float
        Number by which the values are divided first.
    """
    first, after = ranges.rows(measure.stretch)
    values, exists = facts.values[measure.column]
    counts = exists if not measure.where else exists & facts.where[measure.where[0]]
    number = bins(values.astype(np.float64) / scale)
    n = after - first
    exposure = np.repeat(np.arange(len(first), dtype=np.int64), n)
    row = np.arange(int(n.sum()), dtype=np.int64) + np.repeat(first - (np.cumsum(n) - n), n)
    kept = counts[row]
    pairs, many = np.unique(np.stack([exposure[kept], number[row[kept]]]), axis=1, return_counts=True)
    return pairs[0], pairs[1], many.astype(np.int64)


def steps_done(facts: FactRows, steps: tuple[str, ...], first: Ints, after: Ints) -> Ints:
    """Steps that were done in order inside each range, each at or after the instant of the one before: (n,)."""
    n = len(facts.unit)
    rows = np.arange(n, dtype=np.int64)
    new_instant = np.ones(n, dtype=bool)
    new_instant[1:] = (facts.unit[1:] != facts.unit[:-1]) | (facts.time[1:] != facts.time[:-1])
    instant_start = np.append(np.maximum.accumulate(np.where(new_instant, rows, 0)), n) if n else np.zeros(1, dtype=np.int64)
    at, done = first.copy(), np.zeros(len(first), dtype=np.int64)
    going = np.ones(len(first), dtype=bool)
    for step in steps:
        found = next_row(facts.where[step])[at]
        going &= found < after
        done += going
        at = np.where(going, instant_start[np.minimum(found, n)], at)
    return done


def next_row(counts: Bools) -> Ints:
    """Next row at or after each row that counts, the number of rows where there is none: (n_rows + 1,)."""
    n = len(counts)
    rows = np.where(counts, np.arange(n, dtype=np.int64), n)
    return np.append(np.minimum.accumulate(rows[::-1])[::-1], n).astype(np.int64)
