"""Merged states: the states of a block of tiles, merged over the asked windows, each of them once.

Takes one column of numbers, picks, sets or counts per state (see the `*Column` classes) and a `Block`; answers what an
aggregation asks of one window, and gives the merge over all rows for a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from sparkds.errors import DataError
from sparkds.features.reduced import Mask, Reduced
from sparkds.features.rhythm_kernel import periodic_sum, squared_gaps
from sparkds.features.states import State
from sparkds.features.windows import Array, Block, IntArray, Window

INT64_SAFE: Final = 2.0**62
REGISTER_SHIFT: Final = 50
"""Binary digits of a register's share: sums over up to 2^12 registers fit in int64."""


@dataclass(frozen=True, eq=False)
class NumberColumn:
    """One number per row.

    Attributes
    ----------
    values : (n_rows,)
        float64, int64, or Python ints (object) where int64 is too small; decimals in units of their last digit.
    valid : (n_rows,) bool
    scale : int or None
        Digits after the point of a decimal; None when it is not one.
    """

    values: Array
    valid: Mask
    scale: int | None = None


@dataclass(frozen=True, eq=False)
class PickColumn:
    """One value of any type per row, of which windows pick a row."""

    valid: Mask
    dictionary: Any


@dataclass(frozen=True, eq=False)
class SetColumn:
    """The items of all rows, flattened: row number and code of each; equal codes are equal items."""

    row: IntArray
    item: IntArray
    dictionary: Any = None


@dataclass(frozen=True, eq=False)
class CountColumn:
    """The counted items of all rows, flattened: row number, ordered code and count of each."""

    row: IntArray
    item: IntArray
    n: IntArray
    dictionary: Any = None


StateColumn = NumberColumn | PickColumn | SetColumn | CountColumn


def wide(values: Array) -> Array:
    """The same whole numbers as Python ints when a sum of them might not fit in int64."""
    if values.dtype != np.int64 or float(np.abs(values.astype(np.float64)).sum()) < INT64_SAFE:
        return values
    return values.astype(object)


def extreme(dtype: np.dtype[Any], largest: bool) -> Any:
    """Identity of a minimum (largest) or a maximum."""
    if dtype.kind == "f":
        return np.inf if largest else -np.inf
    if dtype.kind == "O":
        return 10**39 if largest else -(10**39)
    return np.iinfo(np.int64).max if largest else np.iinfo(np.int64).min


@dataclass(eq=False)
class MergedStates:
    """States of one block and the windows in which each is asked.

    Attributes
    ----------
    block : Block
    columns : mapping of state to its column
    windows : mapping of state to the windows of all its users
        Asked together, so that windows share the work of the shorter ones inside them.
    """

    block: Block
    columns: Mapping[State, StateColumn]
    windows: Mapping[State, Sequence[Window]]
    _sums: dict[State, dict[Window, Reduced]] = field(default_factory=dict)
    _items: dict[tuple[State, Any], dict[Window, Any]] = field(default_factory=dict)

    def of(self, window: Window) -> _OneWindow:
        """View of one window, as the aggregations take it."""
        return _OneWindow(self, window)

    def number(self, state: State) -> NumberColumn:
        """Column of a state that holds one number a row."""
        column = self.columns[state]
        assert isinstance(column, NumberColumn), state
        return column

    def reduced(self, state: State) -> dict[Window, Reduced]:
        """Merge of `state` in each of its windows."""
        if state not in self._sums:
            self._sums[state] = getattr(self, f"_{state.merge}")(state)
        return self._sums[state]

    def _add(self, state: State) -> dict[Window, Reduced]:
        column, windows = self.number(state), self.windows[state]
        if state.suffix == "m2":
            n, total = (self.number(s) for s in moments_of(state, self.columns))
            sums: dict[Window, Array] = {}
            sums.update(self.block.squared_deviation(n.values, wide(total.values), column.values, windows, unit=10.0 ** (total.scale or 0)))
        else:
            sums = self.block.add(wide(column.values), windows)
        return {w: Reduced(values, np.ones(len(values), dtype=bool)) for w, values in sums.items()}

    def _least(self, state: State) -> dict[Window, Reduced]:
        return self._extremes(state, largest=True)

    def _greatest(self, state: State) -> dict[Window, Reduced]:
        return self._extremes(state, largest=False)

    def _extremes(self, state: State, largest: bool) -> dict[Window, Reduced]:
        column = self.number(state)
        identity = extreme(column.values.dtype, largest)
        values = column.values.copy()
        values[~column.valid] = identity
        fold = self.block.least if largest else self.block.greatest
        folded = fold(values, self.windows[state], identity)
        return {w: Reduced(np.where(v == identity, 0, v), self.block.last_row(column.valid, w) >= 0) for w, v in folded.items()}

    def _first(self, state: State) -> dict[Window, Reduced]:
        return self._picked(state, self.block.first_row)

    def _last(self, state: State) -> dict[Window, Reduced]:
        return self._picked(state, self.block.last_row)

    def _gaps(self, state: State) -> dict[Window, Reduced]:
        first, last = (self.number(s) for s in ends_of(state, self.columns))
        inside = self.number(state).values.astype(object)
        sums = squared_gaps(self.block, first.values, last.values, first.valid, inside, self.windows[state])
        return {w: Reduced(values, np.ones(len(values), dtype=bool)) for w, values in sums.items()}

    def _picked(self, state: State, row_of: Any) -> dict[Window, Reduced]:
        column = self.columns[state]
        assert isinstance(column, NumberColumn | PickColumn), state
        result = {}
        for window in self.windows[state]:
            row = row_of(column.valid, window)
            if isinstance(column, NumberColumn):
                result[window] = Reduced(column.values[np.maximum(row, 0)], row >= 0)
            else:
                result[window] = Reduced(np.maximum(row, 0), row >= 0, column.dictionary)
        return result

    def distinct(self, state: State) -> dict[Window, Array]:
        """Number of different items of `state` in each of its windows."""
        if (state, None) not in self._items:
            column = self.columns[state]
            assert isinstance(column, SetColumn), state
            self._items[state, None] = dict(self.block.distinct(column.row, column.item, self.windows[state]))
        return self._items[state, None]

    def registers(self, state: State) -> dict[Window, tuple[Array, Array]]:
        """Filled registers and summed ``1 - 2^-rank`` of `state` in each of its windows.

        A register's rank is its largest over the window; ``1 - 2^-r`` is the sum of ``2^-l`` over the levels
        ``l = 1 … r`` that some occurrence reaches, so a largest rank becomes a weighted count of different levels.
        """
        if (state, None) not in self._items:
            column = self.columns[state]
            assert isinstance(column, SetColumn), state
            register, rank = column.item // 64, np.minimum(column.item % 64, REGISTER_SHIFT)
            each = np.repeat(np.arange(len(rank)), rank)
            level = np.arange(len(each)) - np.repeat(np.cumsum(rank) - rank, rank) + 1
            weight = np.left_shift(np.int64(1), REGISTER_SHIFT - level)
            lost = self.block.distinct(column.row[each], register[each] * 64 + level, self.windows[state], weight)
            filled = self.block.distinct(column.row, register, self.windows[state])
            self._items[state, None] = {w: (filled[w], lost[w] / 2.0**REGISTER_SHIFT) for w in self.windows[state]}
        return self._items[state, None]

    def most_common(self, state: State) -> dict[Window, Reduced]:
        """Most frequent item of `state` in each of its windows."""
        if (state, None) not in self._items:
            column = self.columns[state]
            assert isinstance(column, CountColumn), state
            top = self.block.most_common(column.row, column.item, column.n, self.windows[state])
            self._items[state, None] = {w: Reduced(np.maximum(item, 0), item >= 0, column.dictionary) for w, item in top.items()}
        return self._items[state, None]

    def ranked(self, state: State, q: float) -> dict[Window, Reduced]:
        """Item of `state` at rank ``floor(q (n - 1))`` in each of its windows."""
        if (state, q) not in self._items:
            column = self.columns[state]
            assert isinstance(column, CountColumn), state
            found = self.block.ranked(column.row, column.item, column.n, q, self.windows[state])
            self._items[state, q] = {w: Reduced(item, valid) for w, (item, valid) in found.items()}
        return self._items[state, q]

    def periodic(self, state: State, window: int, period: int, half_width: int) -> Array:
        """Sum of `state` over the days of the window that are near a multiple of `period` before `as_of`."""
        return periodic_sum(self.block, wide(self.number(state).values), window, period, half_width)

    def union(self, state: State) -> tuple[IntArray, IntArray, IntArray]:
        """Entity, item and summed count of every different (entity, item), sorted: the merge over all rows."""
        column = self.columns[state]
        assert isinstance(column, SetColumn | CountColumn), state
        n = column.n if isinstance(column, CountColumn) else np.ones(len(column.row), dtype=np.int64)
        entity = self.block.entity[column.row]
        order = np.lexsort((column.item, entity))
        entity, item, n = entity[order], column.item[order], n[order]
        new = np.ones(len(entity), dtype=bool)
        new[1:] = (entity[1:] != entity[:-1]) | (item[1:] != item[:-1])
        first = np.flatnonzero(new)
        summed = np.add.reduceat(n, first) if len(first) else n
        return entity[first], item[first], summed


@dataclass(frozen=True, eq=False)
class _OneWindow:
    """The merged states of one window."""

    states: MergedStates
    window: Window

    @property
    def as_of(self) -> Array:
        return self.states.block.as_of

    def within(self, window: Window) -> _OneWindow:
        return self.states.of(window)

    def __call__(self, state: State) -> Reduced:
        return self.states.reduced(state)[self.window]

    def scale(self, state: State) -> int | None:
        return self.states.number(state).scale

    def distinct(self, state: State) -> Array:
        return self.states.distinct(state)[self.window]

    def registers(self, state: State) -> tuple[Array, Array]:
        return self.states.registers(state)[self.window]

    def most_common(self, state: State) -> Reduced:
        return self.states.most_common(state)[self.window]

    def ranked(self, state: State, q: float) -> Reduced:
        return self.states.ranked(state, q)[self.window]

    def periodic(self, state: State, period: int, half_width: int) -> Array:
        assert self.window is not None
        return self.states.periodic(state, self.window, period, half_width)


def moments_of(state: State, columns: Mapping[State, Any]) -> tuple[State, State]:
    """Count and total of the same column and predicate as an M2 state."""
    same = [s for s in columns if (s.column, s.where) == (state.column, state.where)]
    n = next(s for s in same if s.suffix == "n")
    total = next(s for s in same if s.suffix == "total")
    return n, total


def ends_of(state: State, columns: Mapping[State, Any]) -> tuple[State, State]:
    """First and last instant of the events that a state of squared gaps is about."""
    same = [s for s in columns if (s.where, s.during) == (state.where, state.during)]
    first = next(s for s in same if s.suffix == "first_instant")
    last = next(s for s in same if s.suffix == "last_instant")
    return first, last


def check_fits(values: Array, valid: Mask, digits: int, column: str) -> Array:
    """Refuse whole numbers of more than `digits` decimal digits (0: an int64).

    Raises
    ------
    DataError
        Naming the feature column.
    """
    if values.dtype != object:
        return values
    bound = 2**63 if digits == 0 else 10**digits
    too_large = np.array([abs(v) >= bound for v in values], dtype=bool) & valid
    if too_large.any():
        raise DataError(
            f"feature '{column}': a value has more than {digits or 18} digits and does not fit its type; "
            "scale the column or cast it to double"
        )
    return values
