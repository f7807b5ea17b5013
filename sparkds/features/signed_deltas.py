"""Signed deltas: the states of a window on a new day, from what it held the day before and the tiles that entered and left since.

Takes a feature set and says which of its states can be continued like this, and from which stored columns; then merges a block that holds
only those tiles. Whole numbers and decimals are moved by exact differences; doubles are never subtracted: only their lifetime sums, which
nothing leaves, are continued, in the order in which they would be added from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sparkds.features.change_points import ChangeBlock, derived_days
from sparkds.features.merged import NumberColumn, extreme, wide
from sparkds.features.reduced import Mask, Reduced
from sparkds.features.states import FirstDay, LastDay, State
from sparkds.features.windows import LIFETIME, Array, IntArray, Window, running
from sparkds.sql import is_float

if TYPE_CHECKING:
    from sparkds.features.feature_set import FeatureSet

Held = tuple[State, Window]
"""A state merged over one window."""


def held_columns(spec: FeatureSet, types: Mapping[State, str]) -> dict[Held, str] | None:
    """Column of the history in which each needed merge of a state stands as it is.

    Parameters
    ----------
    spec : FeatureSet
    types : mapping of state to Spark type of the tile column

    Returns
    -------
    dict of (state, window) to column, or None
        None when a merge that a feature needs stands nowhere (a mean without the sum and the count it is made of), or cannot be continued
        from the tiles that enter and leave: sets, sketches, standard deviations; sums of doubles, extremes and first or last values of
        windows that end.
    """
    days = derived_days(spec)
    shown: dict[Held, str] = {}
    for feature in spec.computed:
        state = feature.aggregation.counts_from or (feature.aggregation.needs[0] if feature.aggregation.shows_state else None)
        if state is not None:
            shown.setdefault((state, feature.window), days.get(feature.name, feature.name))
    needed = {(state, window) for state, windows in spec.state_windows.items() for window in windows}
    if not all(held in shown and _continues(*held, types[held[0]]) for held in needed):
        return None
    return {held: shown[held] for held in shown if held in needed}


def _continues(state: State, window: Window, dtype: str) -> bool:
    if isinstance(state, LastDay):
        return True
    if state.merge == "add" and state.suffix != "m2":
        return not is_float(dtype) or window is LIFETIME
    return window is LIFETIME and (state.merge in ("least", "greatest") or isinstance(state, FirstDay))


@dataclass(eq=False)
class DeltaStates:
    """States of one block of the tiles that entered or left a window, continued from what was held before.

    Attributes
    ----------
    block : ChangeBlock
        The first cell of an entity that was there before is on the day before the first new one.
    columns : mapping of state to its column
        Of the tiles; null on the row that stands for what was held before.
    held : mapping of (state, window) to column
        What was held, on the row that stands for it; anything elsewhere.
    before : (n_rows,) bool
        The rows that stand for what was held: at most one an entity, on the day before `first`.
    first : int
        Day number of the first new day.
    """

    block: ChangeBlock
    columns: Mapping[State, NumberColumn]
    held: Mapping[Held, NumberColumn]
    before: Mask
    first: int
    _merged: dict[Held, Reduced] = field(default_factory=dict)

    def of(self, window: Window) -> _OneWindow:
        """View of one window, as the aggregations take it."""
        return _OneWindow(self, window)

    def reduced(self, state: State, window: Window) -> Reduced:
        """Merge of `state` in `window` in every cell."""
        if (state, window) not in self._merged:
            merge = getattr(self, f"_{state.merge}")
            self._merged[state, window] = merge(self.columns[state], self.held[state, window], window)
        return self._merged[state, window]

    @cached_property
    def _held_row(self) -> IntArray:
        """Row of what was held of the entity of every cell; -1 where there is none."""
        row = np.full(self.block.n_entities, -1, dtype=np.int64)
        rows = np.flatnonzero(self.before)
        row[self.block.entity[rows]] = rows
        return row[self.block.cell_entity]

    def _before(self, held: NumberColumn) -> tuple[Array, Mask]:
        """What was held of the entity of every cell; zero where there is nothing."""
        row = np.maximum(self._held_row, 0)
        valid = (self._held_row >= 0) & held.valid[row]
        return np.where(valid, held.values[row], 0), valid

    def _add(self, column: NumberColumn, held: NumberColumn, window: Window) -> Reduced:
        always = np.ones(len(self.block.cell), dtype=bool)
        if column.values.dtype.kind == "f":
            values = np.where(self.block.day < self.first, 0.0, column.values)
            values[self.before] = np.where(held.valid, held.values, 0.0)[self.before]
            return Reduced(running(np.add, values, self.block.starts)[self.block.end - 1], always)
        base, _ = self._before(held)
        together = wide(np.concatenate((column.values, base)))
        values, base = together[: len(column.values)], together[len(column.values) :]
        summed = self.block.add(values, (window,))[window]
        # the first cell is the day of what was held: what both cells count of the tiles is no difference
        held_part = np.where(self._held_row >= 0, summed[self.block.asked[:-1][self.block.cell_entity]], 0)
        return Reduced(base + (summed - held_part), always)

    def _least(self, column: NumberColumn, held: NumberColumn, window: Window) -> Reduced:
        return self._extremes(column, held, window, largest=True)

    def _greatest(self, column: NumberColumn, held: NumberColumn, window: Window) -> Reduced:
        return self._extremes(column, held, window, largest=False)

    def _extremes(self, column: NumberColumn, held: NumberColumn, window: Window, largest: bool) -> Reduced:
        base, known = self._before(held)
        dtype = np.result_type(column.values, base)
        identity = extreme(dtype, largest)
        values, base = column.values.astype(dtype), base.astype(dtype)
        values[~column.valid] = base[~known] = identity
        fold = self.block.least if largest else self.block.greatest
        chosen = (np.minimum if largest else np.maximum)(fold(values, (window,), identity)[window], base)
        valid = known | (self.block.last_row(column.valid, window) >= 0)
        return Reduced(np.where(valid, chosen, 0), valid)

    def _first(self, column: NumberColumn, held: NumberColumn, window: Window) -> Reduced:
        base, known = self._before(held)
        row = self.block.first_row(column.valid, window)
        return Reduced(np.where(known, base, column.values[np.maximum(row, 0)]), known | (row >= 0))

    def _last(self, column: NumberColumn, held: NumberColumn, window: Window) -> Reduced:
        base, known = self._before(held)
        if window is not None:
            known = known & (base > self.block.as_of - window)
        row = self.block.last_row(column.valid, window)
        day = np.where(row >= 0, column.values[np.maximum(row, 0)], base)
        return Reduced(np.where(known, np.maximum(day, base), day), known | (row >= 0))


@dataclass(frozen=True, eq=False)
class _OneWindow:
    """The continued states of one window."""

    states: DeltaStates
    window: Window

    @property
    def as_of(self) -> Array:
        return self.states.block.as_of

    def within(self, window: Window) -> _OneWindow:
        return self.states.of(window)

    def __call__(self, state: State) -> Reduced:
        return self.states.reduced(state, self.window)

    def scale(self, state: State) -> int | None:
        return self.states.columns[state].scale

    def distinct(self, state: State) -> Array:
        raise TypeError(f"{state.name} is not continued by signed deltas")

    def registers(self, state: State) -> tuple[Array, Array]:
        raise TypeError(f"{state.name} is not continued by signed deltas")

    def most_common(self, state: State) -> Reduced:
        raise TypeError(f"{state.name} is not continued by signed deltas")

    def ranked(self, state: State, q: float) -> Reduced:
        raise TypeError(f"{state.name} is not continued by signed deltas")

    def periodic(self, state: State, period: int, half_width: int) -> Array:
        raise TypeError(f"{state.name} is not continued by signed deltas")
