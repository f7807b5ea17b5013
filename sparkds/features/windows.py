"""Windows: what every trailing window of every entity holds on every asked day, from rows sorted by (entity, day).

Takes arrays of one block of whole entities (day numbers and one value per row) and gives arrays with one value per
(entity, as_of) cell and window; nothing here knows Spark, Arrow or a column's name. In a `Block` all entities are asked for the same
days; `sparkds.features.change_points` has one whose days differ from entity to entity.

A window of ``w`` days at ``as_of`` day ``s`` covers the local days ``s - w + 1 … s``; ``LIFETIME`` covers every day up
to ``s``. Every result of a cell depends on the rows of its own window only, and in an order that does not depend on
which other days are asked, so a backfill and single days agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]

LIFETIME: Final = None
"""The window that covers every day up to ``as_of``."""

Window = int | None
MATRIX_CELLS: Final = 2_000_000
"""Cells of an (item, day) matrix that are held at once: 16 MB of int64, whatever an entity's number of items."""


def running(fold: np.ufunc, values: Array, starts: IntArray) -> Array:
    """Fold ``values`` from the first row of each entity to every row, strictly one row after the other.

    The strict order is what lets a stored prefix be continued with the same bits as a fold from the start.

    Parameters
    ----------
    fold : numpy.ufunc
        A binary operation with ``accumulate``, e.g. ``np.add``.
    values : (n_rows,)
        Rows sorted by (entity, day).
    starts : (n_entities + 1,)
        Row offsets of the entities.

    Returns
    -------
    (n_rows,)
        Row i holds ``fold(… fold(values[start], values[start + 1]) …, values[i])``.
    """
    folded = np.empty_like(values)
    lengths = np.diff(starts)
    size_class = np.frexp(lengths.astype(np.float64))[1]
    for size in np.unique(size_class[lengths > 0]):
        first = starts[:-1][size_class == size]
        length = lengths[size_class == size]
        step = np.arange(int(length.max()))
        inside = step < length[:, None]
        row = np.minimum(first[:, None] + step, len(values) - 1)
        folded[row[inside]] = fold.accumulate(values[row], axis=1)[inside]
    return folded


def range_fold(fold: np.ufunc, values: Array, low: IntArray, high: IntArray, identity: Any) -> Array:
    """Fold ``values[low[i]:high[i]]`` for every i; an empty range gives ``identity``.

    Parameters
    ----------
    fold : numpy.ufunc
    values : (n_rows,)
    low, high : (n_cells,)
        Row numbers, ``high`` excluded, ``low <= high``.
    identity : scalar
        Of the dtype of ``values``.

    Returns
    -------
    (n_cells,)
    """
    if len(low) == 0:
        return np.empty(0, dtype=values.dtype)
    padded = np.append(values, np.asarray([identity], dtype=values.dtype))
    bounds = np.column_stack((low, high)).ravel()
    folded: Array = fold.reduceat(padded, bounds)[::2]
    folded[low == high] = identity
    return folded


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of whole entities and the days that are asked of them.

    Attributes
    ----------
    starts : (n_entities + 1,) int64
        Row offsets of the entities, none of them empty.
    day : (n_rows,) int64
        Day numbers (days since 1970-01-01), ascending inside an entity.
    days : (n_days,) int64
        The asked ``as_of`` day numbers, ascending, distinct.
    """

    starts: IntArray
    day: IntArray
    days: IntArray

    @property
    def n_entities(self) -> int:
        """Number of entities in the block."""
        return len(self.starts) - 1

    @property
    def n_days(self) -> int:
        """Number of asked days."""
        return len(self.days)

    @cached_property
    def entity(self) -> IntArray:
        """Entity number of every row: (n_rows,)."""
        return np.repeat(np.arange(self.n_entities), np.diff(self.starts))

    def slot(self, day: IntArray) -> IntArray:
        """Index of the first asked day that is not before ``day``; ``n_days`` when there is none."""
        return np.searchsorted(self.days, day).astype(np.int64)

    def _rows_until(self, slot: IntArray) -> IntArray:
        """Row offset in (entity, day) order: rows whose slot is at or before each asked day."""
        width = self.n_days + 1
        counts = np.bincount(self.entity * width + slot, minlength=self.n_entities * width)
        until = np.cumsum(counts.reshape(self.n_entities, width)[:, :-1], axis=1)
        return until + self.starts[:-1, None]

    @cached_property
    def _all_ends(self) -> IntArray:
        return self._rows_until(self.slot(self.day))

    @cached_property
    def cell(self) -> IntArray:
        """Number ``entity * n_days + day index`` of every cell with a row up to its day: (n_cells,)."""
        return np.flatnonzero((self._all_ends > self.starts[:-1, None]).ravel())

    @cached_property
    def cell_entity(self) -> IntArray:
        """Entity number of every cell: (n_cells,)."""
        return self.cell // self.n_days

    @cached_property
    def cell_slot(self) -> IntArray:
        """Index into ``days`` of every cell: (n_cells,)."""
        return self.cell % self.n_days

    @cached_property
    def as_of(self) -> IntArray:
        """Day number of every cell: (n_cells,)."""
        return self.days[self.cell_slot]

    @cached_property
    def end(self) -> IntArray:
        """First row after ``as_of`` for every cell: (n_cells,)."""
        return self._all_ends.ravel()[self.cell]

    @cached_property
    def _begins(self) -> dict[Window, IntArray]:
        return {LIFETIME: self.starts[:-1][self.cell_entity]}

    def begin(self, window: Window) -> IntArray:
        """First row inside the window for every cell: (n_cells,)."""
        if window not in self._begins:
            assert window is not None
            self._begins[window] = self.after_lag(window)
        return self._begins[window]

    def after_lag(self, lag: int) -> IntArray:
        """First row that is less than `lag` days before ``as_of`` for every cell: (n_cells,)."""
        return self._rows_until(self.slot(self.day + lag)).ravel()[self.cell]

    def _rings(self, windows: Sequence[Window]) -> list[tuple[int, IntArray, IntArray]]:
        """Disjoint row ranges between one window and the next longer one, shortest first."""
        rings, high = [], self.end
        for window in sorted(w for w in windows if w is not None):
            low = self.begin(window)
            rings.append((window, low, high))
            high = low
        return rings

    def add(self, values: Array, windows: Sequence[Window]) -> dict[Window, Array]:
        """Sum of ``values`` in every window.

        Whole numbers (int64, or Python ints in an object array) go by prefix differences, which are exact even when
        a prefix wraps around; floats are added over disjoint ranges, so that a large value never poisons a later window.

        Parameters
        ----------
        values : (n_rows,)
            Zero where there is nothing to add.
        windows : sequence of days or ``LIFETIME``

        Returns
        -------
        dict of window to (n_cells,)
        """
        if values.dtype.kind != "f":
            prefix = np.concatenate((np.zeros(1, dtype=values.dtype), np.cumsum(values)))
            return {window: prefix[self.end] - prefix[self.begin(window)] for window in windows}
        return self._fold(np.add, values, windows, 0.0)

    def least(self, values: Array, windows: Sequence[Window], identity: Any) -> dict[Window, Array]:
        """Smallest value in every window; ``identity`` (larger than any value) where there is none."""
        return self._fold(np.minimum, values, windows, identity)

    def greatest(self, values: Array, windows: Sequence[Window], identity: Any) -> dict[Window, Array]:
        """Largest value in every window; ``identity`` (smaller than any value) where there is none."""
        return self._fold(np.maximum, values, windows, identity)

    def _fold(self, fold: np.ufunc, values: Array, windows: Sequence[Window], identity: Any) -> dict[Window, Array]:
        folded: dict[Window, Array] = {}
        inner = None
        for window, low, high in self._rings(windows):
            ring = range_fold(fold, values, low, high, identity)
            inner = ring if inner is None else fold(ring, inner)
            folded[window] = inner
        if LIFETIME in windows:
            folded[LIFETIME] = running(fold, values, self.starts)[self.end - 1]
        return folded

    def squared_deviation(
        self, n: IntArray, total: Array, m2: npt.NDArray[np.float64], windows: Sequence[Window], unit: float = 1.0
    ) -> dict[Window, npt.NDArray[np.float64]]:
        """Sum of squared deviations from the window's own mean, M2.

        Windows: M2 of the ring about the ring's mean, then the pairwise update
        ``M2 = M2_a + M2_b + (mean_b - mean_a)^2 n_a n_b / (n_a + n_b)`` (Chan, Golub and LeVeque 1983, eq. 2.1).
        Lifetime: the running update of West (1979), ``M2 += m2_i + n_i (mean_i - mean_old)(mean_i - mean_new)``.

        Parameters
        ----------
        n, total, m2 : (n_rows,)
            Count, sum (float, or whole numbers of size ``1 / unit``) and M2 of every row; a row with ``n == 0``
            holds zeros.
        windows : sequence of days or ``LIFETIME``
        unit : float
            How many steps of `total` make one.

        Returns
        -------
        dict of window to (n_cells,)
            Zero for an empty window.
        """
        mean = total.astype(np.float64) / unit / np.maximum(n, 1)
        result: dict[Window, npt.NDArray[np.float64]] = {}
        inner: tuple[Array, Array, Array] | None = None
        for window, low, high in self._rings(windows):
            ring = self._ring_moments(n, mean, m2, low, high)
            inner = ring if inner is None else _merge_moments(ring, inner)
            result[window] = inner[2]
        if LIFETIME in windows:
            n_run = self._run(n)
            mean_run = self._run(total).astype(np.float64) / unit / np.maximum(n_run, 1)
            mean_before = np.concatenate((np.zeros(1), mean_run[:-1]))
            mean_before[self.starts[:-1]] = mean[self.starts[:-1]]
            mean_before = np.where(n_run == n, mean, mean_before)
            step = m2 + n * (mean - mean_before) * (mean - mean_run)
            result[LIFETIME] = running(np.add, step, self.starts)[self.end - 1]
        return result

    def _run(self, values: Array) -> Array:
        """Sum from the entity's first row to every row; exact for whole numbers."""
        if values.dtype.kind == "f":
            return running(np.add, values, self.starts)
        prefix = np.concatenate((np.zeros(1, dtype=values.dtype), np.cumsum(values)))
        summed: Array = prefix[1:] - prefix[self.starts[:-1]][self.entity]
        return summed

    def _ring_moments(self, n: Array, mean: Array, m2: Array, low: IntArray, high: IntArray) -> tuple[Array, Array, Array]:
        """Count, mean and M2 of the rows ``low … high - 1`` of every cell, by two passes over the ring's rows."""
        length = high - low
        offset = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(length)))
        row = np.arange(offset[-1]) + np.repeat(low - offset[:-1], length)
        n_row, mean_row = n[row].astype(np.float64), mean[row]
        first, last = offset[:-1], offset[1:]
        n_ring = range_fold(np.add, n_row, first, last, 0.0)
        pivot = range_fold(np.add, n_row * mean_row, first, last, 0.0) / np.maximum(n_ring, 1)
        deviation = mean_row - np.repeat(pivot, length)
        m2_ring = range_fold(np.add, m2[row] + n_row * deviation * deviation, first, last, 0.0)
        return n_ring, pivot, m2_ring

    def first_row(self, valid: npt.NDArray[np.bool_], window: Window) -> IntArray:
        """First row of the window with ``valid`` set, for every cell; -1 where there is none."""
        row = np.append(np.where(valid, np.arange(len(valid)), len(valid)), len(valid))
        following = np.minimum.accumulate(row[::-1])[::-1]
        found = following[self.begin(window)]
        return np.where(found < self.end, found, -1)

    def last_row(self, valid: npt.NDArray[np.bool_], window: Window) -> IntArray:
        """Last row of the window with ``valid`` set, for every cell; -1 where there is none."""
        row = np.where(valid, np.arange(len(valid)), -1)
        found = np.maximum.accumulate(row)[self.end - 1]
        return np.where(found >= self.begin(window), found, -1)

    def distinct(self, row: IntArray, item: IntArray, windows: Sequence[Window], weight: IntArray | None = None) -> dict[Window, IntArray]:
        """Number (or summed weight) of different items in every window, without keeping a set.

        An occurrence on day d whose next occurrence is on day e is the item's last one for ``as_of`` in
        ``d … min(d + w, e) - 1``; counting last occurrences counts items.

        Parameters
        ----------
        row : (n_occurrences,)
            Row number of each occurrence.
        item : (n_occurrences,)
            Code of the item, equal for equal items.
        windows : sequence of days or ``LIFETIME``
        weight : (n_occurrences,), optional
            Whole number that an item counts for; equal for equal items. One if absent.

        Returns
        -------
        dict of window to (n_cells,)
        """
        order = np.lexsort((row, item, self.entity[row]))
        row, item = row[order], item[order]
        gain = np.ones(len(row), dtype=np.int64) if weight is None else weight[order]
        entity, day = self.entity[row], self.day[row]
        same = (entity[1:] == entity[:-1]) & (item[1:] == item[:-1])
        enter = self.asked_from(entity, day)
        again = self.n_asked[entity]
        again[:-1][same] = enter[1:][same]
        result: dict[Window, IntArray] = {}
        for window in windows:
            leave = again if window is None else np.minimum(again, self.asked_from(entity, day + window))
            result[window] = self._present(entity, enter, leave, gain)
        return result

    @cached_property
    def n_asked(self) -> IntArray:
        """Number of asked days of every entity: (n_entities,)."""
        return np.full(self.n_entities, self.n_days, dtype=np.int64)

    def asked_from(self, entity: IntArray, day: IntArray) -> IntArray:
        """As `slot`, among the days that are asked of that entity."""
        del entity
        return self.slot(day)

    def _present(self, entity: IntArray, enter: IntArray, leave: IntArray, gain: IntArray) -> IntArray:
        """Sum of ``gain`` over the entity's occurrences that are present in each cell: (n_cells,)."""
        return step_sum(entity, enter, leave, gain, self.n_entities, self.n_days).ravel()[self.cell]

    def _spread(self, target: Array, entities: IntArray, matrix: Array) -> None:
        """Write the rows of ``matrix``, one an entity of ``entities`` (ascending), with a column an asked day, into their cells."""
        low, high = np.searchsorted(self.cell_entity, (entities[0], entities[-1] + 1))
        line = np.full(int(entities[-1] - entities[0]) + 1, -1, dtype=np.int64)
        line[entities - entities[0]] = np.arange(len(entities))
        of_cell = line[self.cell_entity[low:high] - entities[0]]
        inside = of_cell >= 0
        target[low:high][inside] = matrix[of_cell[inside], self.cell_slot[low:high][inside]]

    def _item_counts(self, row: IntArray, item: IntArray, n: IntArray, window: Window) -> Iterator[_ItemCounts]:
        """Count of every (entity, item) on every asked day, some entities with a similar number of asked days at a time."""
        order = np.lexsort((row, item, self.entity[row]))
        row, item, n = row[order], item[order], n[order]
        entity, day = self.entity[row], self.day[row]
        new = np.ones(len(row), dtype=bool)
        new[1:] = (entity[1:] != entity[:-1]) | (item[1:] != item[:-1])
        pair = np.cumsum(new) - 1
        pair_entity, pair_item = entity[new], item[new]
        enter = self.asked_from(entity, day)
        leave = self.n_asked[entity] if window is None else self.asked_from(entity, day + window)
        size_class = np.frexp(self.n_asked.astype(np.float64))[1]
        for size in np.unique(size_class[pair_entity]):
            pairs = np.flatnonzero(size_class[pair_entity] == size)
            rows = np.flatnonzero(size_class[entity] == size)
            members = np.unique(pair_entity[pairs])
            width = int(self.n_asked[members].max())
            if width == 0:
                continue
            pairs_until = np.append(np.searchsorted(pair_entity[pairs], members), len(pairs))
            rows_until = np.append(np.searchsorted(entity[rows], members), len(rows))
            low, limit = 0, max(1, MATRIX_CELLS // width)
            while low < len(members):
                high = int(np.searchsorted(pairs_until, pairs_until[low] + limit, side="right")) - 1
                high = min(max(high, low + 1), len(members))
                first, last = pairs_until[low], pairs_until[high]
                chosen = rows[rows_until[low] : rows_until[high]]
                number = np.searchsorted(pairs[first:last], pair[chosen])
                counts = step_sum(number, enter[chosen], leave[chosen], n[chosen], int(last - first), width)
                yield _ItemCounts(members[low:high], pairs_until[low:high] - first, pair_item[pairs[first:last]], counts)
                low = high

    def most_common(self, row: IntArray, item: IntArray, n: IntArray, windows: Sequence[Window]) -> dict[Window, IntArray]:
        """Item with the largest count in every window, the smallest code among equals; -1 for an empty window.

        Parameters
        ----------
        row, item, n : (n_occurrences,)
            Row number, code (0 … n_items - 1) and count of each occurrence.
        windows : sequence of days or ``LIFETIME``

        Returns
        -------
        dict of window to (n_cells,)
        """
        n_items = int(item.max()) + 1 if len(item) else 1
        result: dict[Window, IntArray] = {}
        for window in windows:
            top = np.full(len(self.cell_entity), -1, dtype=np.int64)
            for entities, first, pair_item, counts in self._item_counts(row, item, n, window):
                ranked = np.where(counts > 0, counts * n_items + (n_items - 1 - pair_item[:, None]), -1)
                best = np.maximum.reduceat(ranked, first, axis=0)
                self._spread(top, entities, np.where(best < 0, -1, n_items - 1 - best % n_items))
            result[window] = top
        return result

    def ranked(
        self, row: IntArray, item: IntArray, n: IntArray, q: float, windows: Sequence[Window]
    ) -> dict[Window, tuple[IntArray, npt.NDArray[np.bool_]]]:
        """Item at 0-based rank ``floor(q (N - 1))`` of the window's N counted items in code order.

        Parameters
        ----------
        row, item, n : (n_occurrences,)
            Row number, ordered code and count of each occurrence.
        q : float
            Share in [0, 1].
        windows : sequence of days or ``LIFETIME``

        Returns
        -------
        dict of window to (item, valid), both (n_cells,)
            Not valid for an empty window.
        """
        result: dict[Window, tuple[IntArray, npt.NDArray[np.bool_]]] = {}
        for window in windows:
            found = np.zeros(len(self.cell_entity), dtype=np.int64)
            valid = np.zeros(len(self.cell_entity), dtype=bool)
            for entities, first, pair_item, counts in self._item_counts(row, item, n, window):
                size = np.diff(np.append(first, len(pair_item)))
                through = np.cumsum(counts, axis=0)
                before = through[first] - counts[first]
                total = np.add.reduceat(counts, first, axis=0)
                rank = np.floor(q * (total - 1)).astype(np.int64)
                not_reached = through <= np.repeat(before + rank, size, axis=0)
                passed = np.add.reduceat(not_reached, first, axis=0, dtype=np.int64)
                at = np.minimum(first[:, None] + passed, len(pair_item) - 1)
                self._spread(found, entities, pair_item[at])
                self._spread(valid, entities, total > 0)
            result[window] = (found, valid)
        return result


class _ItemCounts(NamedTuple):
    """Counts of the items of some entities: pairs of (entity, item), sorted.

    Attributes
    ----------
    entities : (n,)
        Entity numbers, ascending; each has a pair.
    first : (n,)
        First pair of each entity.
    item : (n_pairs,)
    counts : (n_pairs, n_days)
        On each asked day of the pair's entity; filled up on the right where an entity is asked for fewer days than others.
    """

    entities: IntArray
    first: IntArray
    item: IntArray
    counts: IntArray


def step_sum(group: IntArray, enter: IntArray, leave: IntArray, gain: IntArray, n_groups: int, n_days: int) -> IntArray:
    """Sum of ``gain`` over the occurrences of a group that are present on each day: (n_groups, n_days).

    Parameters
    ----------
    group, enter, leave, gain : (n_occurrences,)
        An occurrence is present on the days ``enter … leave - 1``; ``n_days`` is never.
    n_groups, n_days : int
    """
    width = n_days + 1
    steps = np.zeros(n_groups * width, dtype=np.int64)
    np.add.at(steps, group * width + enter, gain)
    np.subtract.at(steps, group * width + leave, gain)
    return np.cumsum(steps.reshape(n_groups, width), axis=1)[:, :-1]


def _merge_moments(a: tuple[Array, Array, Array], b: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Pairwise update of (n, mean, M2) of two disjoint sets."""
    n_a, mean_a, m2_a = a
    n_b, mean_b, m2_b = b
    n = n_a + n_b
    share = n_b / np.maximum(n, 1)
    gap = mean_b - mean_a
    return n, mean_a + gap * share, m2_a + m2_b + gap * gap * n_a * share
