"""Change points: on which days the windowed values of an entity can change, and what the windows hold there.

Takes the day numbers of a block of whole entities and gives a `ChangeBlock`: the cells of a `Block` on days that differ from entity to
entity, so that every aggregation answers there with the bits it has in a snapshot. A window of ``w`` days holds other rows than the day
before only on the day of a tile and ``w`` days after one: at most (windows + 1) x tiles cells, whatever the calendar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from sparkds.errors import ConfigError, DataError
from sparkds.features.point_in_time import DAY_SUFFIX
from sparkds.features.reduced import Merged, Reduced
from sparkds.features.states import State
from sparkds.features.windows import Array, Block, IntArray, Window

if TYPE_CHECKING:
    from sparkds.features.feature_set import Feature, FeatureSet

HISTORY_COLUMNS: Final = ("valid_from", "valid_to", "known_at")


def derived_days(spec: FeatureSet) -> dict[str, str]:
    """Features that move with every day, and the column of the history in which the day stands from which they count.

    Such a feature is never stored: on reading it is the number of days from the stored day (a date; null gives null) to `as_of`.

    Parameters
    ----------
    spec : FeatureSet

    Returns
    -------
    dict of feature to stored date column

    Raises
    ------
    ConfigError
        A stored day, or a column of every history, would have the name of a feature or key; or a feature changes daily in another way.

    Examples
    --------
    >>> from sparkds.features import Count, DaysSinceLast, FeatureSet
    >>> spec = FeatureSet(keys=("k",), event_time="t", time_zone="UTC", windows=(7,), aggregations=(Count(), DaysSinceLast()))
    >>> derived_days(spec)
    {'days_since_last_7d': 'days_since_last_7d_from'}
    """
    daily = [f for f in spec.computed if f.aggregation.changes_daily and f.aggregation.counts_from is None]
    if daily:
        raise ConfigError(
            f"feature '{daily[0].name}' ({daily[0].aggregation.kind}) changes from day to day without an event and has no change points: "
            "keep a history of a declaration without it; snapshots have it"
        )
    days = {feature.name: feature.name + DAY_SUFFIX for feature in spec.computed if feature.aggregation.counts_from is not None}
    names = {*spec.keys, *(feature.name for feature in spec.computed), *spec.rfm_columns}
    for name in (*HISTORY_COLUMNS, *days.values()):
        if name in names:
            raise ConfigError(f"column '{name}' of the history has the name of a feature or key; give that another name")
    return days


def stored_names(spec: FeatureSet) -> tuple[str, ...]:
    """Columns of the history beside keys and validity, in order: each feature, or the day from which it counts."""
    days = derived_days(spec)
    return tuple(days.get(feature.name, feature.name) for feature in spec.computed)


def window_days(spec: FeatureSet) -> tuple[int, ...]:
    """Different lengths in days of the windows that features look at, ascending, lifetime left out."""
    return tuple(sorted({window for windows in spec.state_windows.values() for window in windows if window is not None}))


def has_lifetime(spec: FeatureSet) -> bool:
    """Whether a feature looks at all days up to `as_of`."""
    return any(feature.window is None for feature in spec.computed)


def stored_value(feature: Feature, of: Merged) -> Reduced:
    """Value of a feature as the history keeps it: the day it counts from, or itself.

    Raises
    ------
    DataError
        The feature moves with `as_of` and does not say from which day.
    """
    state = feature.aggregation.counts_from
    if state is not None:
        return of(state)
    return feature.aggregation.value(_Unmoved(of, feature.name))


@dataclass(frozen=True, eq=False)
class _Unmoved:
    """Merged states that do not tell which day it is."""

    of: Merged
    feature: str

    @property
    def as_of(self) -> Array:
        raise DataError(
            f"feature '{self.feature}' moves from day to day without an event, so it has no change points; "
            "its aggregation must say with counts_from which day it counts from"
        )

    @property
    def window(self) -> Window:
        return self.of.window

    def within(self, window: Window) -> Merged:
        return _Unmoved(self.of.within(window), self.feature)

    def __call__(self, state: State) -> Reduced:
        return self.of(state)

    def scale(self, state: State) -> int | None:
        return self.of.scale(state)

    def distinct(self, state: State) -> Array:
        return self.of.distinct(state)

    def registers(self, state: State) -> tuple[Array, Array]:
        return self.of.registers(state)

    def most_common(self, state: State) -> Reduced:
        return self.of.most_common(state)

    def ranked(self, state: State, q: float) -> Reduced:
        return self.of.ranked(state, q)

    def periodic(self, state: State, period: int, half_width: int) -> Array:
        raise DataError(f"feature '{self.feature}' moves from day to day without an event, so it has no change points")


@dataclass(frozen=True, eq=False)
class ChangeBlock(Block):
    """Rows of whole entities, and of each entity the days that are asked of it.

    Attributes
    ----------
    starts : (n_entities + 1,) int64
    day : (n_rows,) int64
        As in `Block`.
    days : (n_cells,) int64
        The asked days, entity after entity, ascending and distinct inside an entity, none before the entity's first row.
    asked : (n_entities + 1,) int64
        Offsets of the entities in `days`.
    """

    asked: IntArray

    @cached_property
    def n_asked(self) -> IntArray:
        """Number of asked days of every entity: (n_entities,)."""
        return np.diff(self.asked)

    @cached_property
    def cell(self) -> IntArray:
        """Number of every cell: (n_cells,)."""
        return np.arange(len(self.days))

    @cached_property
    def cell_entity(self) -> IntArray:
        """Entity number of every cell: (n_cells,)."""
        return np.repeat(np.arange(self.n_entities), self.n_asked)

    @cached_property
    def cell_slot(self) -> IntArray:
        """Index among the days of its entity of every cell: (n_cells,)."""
        return np.arange(len(self.days)) - self.asked[:-1][self.cell_entity]

    @property
    def as_of(self) -> IntArray:
        """Day number of every cell: (n_cells,)."""
        return self.days

    @cached_property
    def _line(self) -> tuple[int, int]:
        """First day and length of the stretch that an entity has on one line, on which all entities lie one behind the other."""
        low = min(int(self.day.min(initial=0)), int(self.days.min(initial=0)))
        high = max(int(self.day.max(initial=0)), int(self.days.max(initial=0)))
        return low - 1, high - low + 3

    def _on_line(self, entity: IntArray, day: IntArray) -> IntArray:
        """Place of a day of an entity on the line; days before or after all rows and cells lie on the ends of its stretch."""
        low, length = self._line
        return entity * length + np.clip(day - low, 0, length - 1)

    @cached_property
    def _row_place(self) -> IntArray:
        return self._on_line(self.entity, self.day)

    @cached_property
    def _cell_place(self) -> IntArray:
        return self._on_line(self.cell_entity, self.days)

    @cached_property
    def end(self) -> IntArray:
        """First row after ``as_of`` for every cell: (n_cells,)."""
        return np.searchsorted(self._row_place, self._cell_place, side="right").astype(np.int64)

    def begin(self, window: Window) -> IntArray:
        """First row inside the window for every cell: (n_cells,)."""
        if window is not None and window not in self._begins:
            place = self._on_line(self.cell_entity, self.days - window)
            self._begins[window] = np.searchsorted(self._row_place, place, side="right").astype(np.int64)
        return self._begins[window]

    def asked_from(self, entity: IntArray, day: IntArray) -> IntArray:
        """Index of the first day not before ``day`` that is asked of the entity; its number of asked days when there is none."""
        return np.searchsorted(self._cell_place, self._on_line(entity, day)).astype(np.int64) - self.asked[:-1][entity]

    def _present(self, entity: IntArray, enter: IntArray, leave: IntArray, gain: IntArray) -> IntArray:
        steps = np.zeros(len(self.days) + self.n_entities, dtype=np.int64)
        first = self.asked[:-1][entity] + entity  # one place more an entity, for days that are never reached
        np.add.at(steps, first + enter, gain)
        np.subtract.at(steps, first + leave, gain)
        present: IntArray = np.cumsum(steps)[np.arange(len(self.days)) + self.cell_entity]
        return present


def change_block(starts: IntArray, day: IntArray, windows: Sequence[int], first: IntArray, last: IntArray) -> ChangeBlock:
    """Block whose cells are the days on which a window of an entity may hold other rows than on the day before.

    Parameters
    ----------
    starts : (n_entities + 1,)
    day : (n_rows,)
        As in `Block`.
    windows : sequence of int
        Days.
    first, last : (n_entities,)
        Covered day numbers of each entity. What changes before `first` is one cell on `first`; an entity whose first row is later begins
        with that.

    Returns
    -------
    ChangeBlock
    """
    entity = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    low, high = first[entity], last[entity]
    days = np.concatenate([np.maximum(day + window, low) for window in (0, *windows)])
    of = np.tile(entity, len(windows) + 1)
    covered = days <= np.tile(high, len(windows) + 1)
    days, of = days[covered], of[covered]
    start = int(days.min(initial=0))
    length = int(days.max(initial=0)) - start + 1
    place = np.unique(of * length + (days - start))
    asked = np.searchsorted(place, np.arange(len(starts)) * length).astype(np.int64)
    return ChangeBlock(starts, day, place % length + start, asked)


def last_days(block: ChangeBlock, kept: npt.NDArray[np.bool_]) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Last day on which each kept cell holds, and whether there is one.

    Parameters
    ----------
    block : ChangeBlock
    kept : (n_cells,) bool
        Cells that begin a row of the history.

    Returns
    -------
    last, closed : (n_kept,)
        The day before the entity's next kept cell; not closed where there is none.
    """
    days, entity = block.days[kept], block.cell_entity[kept]
    last = np.append(days[1:] - 1, 0)[: len(days)]
    closed = np.append(entity[1:] == entity[:-1], False)[: len(days)]
    return last, closed
