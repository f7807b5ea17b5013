"""Arrow: batches of Spark as blocks of the kernel, and states as rows of a table and back.

What runs on the workers: one fold a partition that gives a row for each slice and column, and one merge of such rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkds.days import day_number, day_of, microseconds, start_of_day
from sparkds.features.profile.column_state import MICROSECONDS_A_DAY, ColumnState, Exact, Kind
from sparkds.features.profile.distinct import Distinct, longs_of_xxhash64
from sparkds.features.profile.frequent import Frequent
from sparkds.features.profile.kernel import Block, Bools, Channel, Floats, Ints, Sizes, SliceFold
from sparkds.features.profile.moments import Central, Pairs
from sparkds.features.profile.row_sample import RowSample
from sparkds.features.profile.value_bins import BinCounts

UNDATED: Final = date(9999, 12, 31)
"""Slice of the rows whose time is null."""
BLOCK_ROWS: Final = 65_536
TURNED_ROWS: Final = 512
BLOCK_CELLS: Final = 2**22
"""A block has fewer rows where there are many columns: 4 M cells are 32 MB."""
WAITING_CELLS: Final = 2**24
"""Cells of rows that wait for a full block of their slice, all slices together."""
MOST_STATES: Final = 8192
"""States of columns that a worker holds; slices that have waited longest are handed over before."""
STATE_SCHEMA: Final = (
    "day date, `column` string, position int, type string, kind string, n bigint, nulls bigint, nans bigint, infinities bigint, "
    "zeros bigint, negatives bigint, minimum string, maximum string, mean double, m2 double, m3 double, m4 double, "
    "value_bins binary, distinct_hashes binary, frequent_hashes binary, frequent_counts binary, frequent_error bigint, "
    "texts map<bigint,string>, pairs binary, sample binary"
)
KEYS: Final = ("day", "column")
ARROW_SCHEMA: Final = pa.schema(
    [
        ("day", pa.date32()),
        ("column", pa.string()),
        ("position", pa.int32()),
        ("type", pa.string()),
        ("kind", pa.string()),
        *((name, pa.int64()) for name in ("n", "nulls", "nans", "infinities", "zeros", "negatives")),
        ("minimum", pa.string()),
        ("maximum", pa.string()),
        *((name, pa.float64()) for name in ("mean", "m2", "m3", "m4")),
        *((name, pa.binary()) for name in ("value_bins", "distinct_hashes", "frequent_hashes", "frequent_counts")),
        ("frequent_error", pa.int64()),
        ("texts", pa.map_(pa.int64(), pa.string())),
        ("pairs", pa.binary()),
        ("sample", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Layout:
    """How the columns of a table come to the kernel.

    Attributes
    ----------
    channels : tuple of Channel
    sizes : Sizes
    n_floats, n_wholes, n_texts, n_exact : int
        Columns of the arrays ``floats``, ``wholes``, ``texts``, and number of the columns ``exact_<i>``.
    time_at : int, optional
        Place of the time in ``wholes``: microseconds, or days where `days` is set.
    days : bool
    time_zone : str
    xxhashed : tuple of int
        Places in ``wholes`` of longs that come as Spark's `xxhash64` of them.
    """

    channels: tuple[Channel, ...]
    sizes: Sizes
    n_floats: int
    n_wholes: int
    n_texts: int
    n_exact: int
    time_at: int | None
    days: bool
    time_zone: str
    xxhashed: tuple[int, ...] = ()

    @property
    def block_rows(self) -> int:
        """Rows of a full block."""
        return max(1024, min(BLOCK_ROWS, BLOCK_CELLS // max(1, self.n_floats + self.n_wholes)))


@dataclass(eq=False)
class Rows:
    """Some rows of one slice."""

    floats: Floats
    has_float: Bools | None
    wholes: Ints
    has_whole: Bools | None
    text_rows: Ints
    texts: Any
    exact: list[Any]

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(max(self.floats.shape[1], self.wholes.shape[1]))

    def at(self, rows: Ints, n_texts: int) -> Rows:
        """Some of the rows, ascending."""
        if len(rows) == rows[-1] - rows[0] + 1:
            return self.between(int(rows[0]), int(rows[-1]) + 1, n_texts)
        place = np.searchsorted(rows, self.text_rows)
        inside = np.flatnonzero((place < len(rows)) & (rows[np.minimum(place, len(rows) - 1)] == self.text_rows))
        texts = self.texts
        if n_texts:
            texts = texts.take(pa.array((inside[:, None] * n_texts + np.arange(n_texts)).ravel()))
        return Rows(
            self.floats[:, rows],
            None if self.has_float is None else self.has_float[:, rows],
            self.wholes[:, rows],
            None if self.has_whole is None else self.has_whole[:, rows],
            place[inside],
            texts,
            [column.take(pa.array(rows)) for column in self.exact],
        )

    def between(self, low: int, high: int, n_texts: int) -> Rows:
        """Rows from `low` to before `high`, without copies."""
        a, b = np.searchsorted(self.text_rows, (low, high))
        return Rows(
            self.floats[:, low:high],
            None if self.has_float is None else self.has_float[:, low:high],
            self.wholes[:, low:high],
            None if self.has_whole is None else self.has_whole[:, low:high],
            self.text_rows[a:b] - low,
            self.texts.slice(a * n_texts, (b - a) * n_texts),
            [column.slice(low, high - low) for column in self.exact],
        )


@dataclass(frozen=True)
class PartitionFold:
    """What runs on a worker: batches of a partition in, a row for each slice and column out."""

    layout: Layout

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Fold all rows of a partition."""
        fold = _Slices(self.layout)
        for batch in batches:
            for first in range(0, batch.num_rows, self.layout.block_rows):
                fold.take_in(batch.slice(first, self.layout.block_rows))
                yield from fold.handed_over(MOST_STATES // max(1, len(self.layout.channels)))
        fold.flush(0)
        yield from fold.handed_over(0)


@dataclass(eq=False)
class _Slices:
    """Slices of a partition: their rows that wait, and their folds, the last touched last."""

    layout: Layout
    waiting: dict[date | None, list[Rows]] = field(default_factory=dict)
    n_waiting: dict[date | None, int] = field(default_factory=dict)
    folds: dict[date | None, SliceFold] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)

    def take_in(self, batch: pa.RecordBatch) -> None:
        rows = self._rows(batch)
        for day, part in self._by_day(rows):
            self.waiting.setdefault(day, []).append(part)
            self.n_waiting[day] = self.n_waiting.get(day, 0) + part.n
            if self.n_waiting[day] >= self.layout.block_rows:
                self._fold(day)
        width = self.layout.n_floats + self.layout.n_wholes
        if sum(self.n_waiting.values()) * width > WAITING_CELLS:
            self.flush(WAITING_CELLS // (2 * width))

    def flush(self, most: int) -> None:
        """Fold waiting rows, those of the fullest slices first, until no more than so many wait."""
        for day in sorted(self.n_waiting, key=lambda day: -self.n_waiting[day]):
            if sum(self.n_waiting.values()) <= most:
                return
            self._fold(day)

    def handed_over(self, most: int) -> Iterator[pa.RecordBatch]:
        """Rows of the slices beyond so many, which are forgotten."""
        while len(self.folds) > most:
            day = next(iter(self.folds))
            yield from states_table(day, self.layout.channels, self.folds.pop(day).result()).to_batches()

    def _fold(self, day: date | None) -> None:
        parts = self.waiting.pop(day)
        del self.n_waiting[day]
        fold = self.folds.pop(day, None) or SliceFold(self.layout.channels, self.layout.sizes)
        self.folds[day] = fold
        rows, n_texts = _joined(parts), self.layout.n_texts
        bounds = [_bounds(column) for column in rows.exact]
        fold.add(
            Block(
                rows.floats,
                rows.has_float,
                rows.wholes,
                rows.has_whole,
                rows.text_rows,
                lambda text, i: cast("str | None", rows.texts[i * n_texts + text].as_py()),
                bounds,
            )
        )

    def _rows(self, batch: pa.RecordBatch) -> Rows:
        layout, n = self.layout, batch.num_rows
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        floats, has_float = _matrix(columns.get("floats"), layout.n_floats, n, np.float64)
        wholes, has_whole = _matrix(columns.get("wholes"), layout.n_wholes, n, np.int64)
        for at in layout.xxhashed:
            wholes[at] = longs_of_xxhash64(wholes[at])
        text_rows, texts = np.zeros(0, np.int64), pa.array([], pa.string())
        if layout.n_texts:
            text_rows = np.flatnonzero(columns["texts"].is_valid().to_numpy(zero_copy_only=False))
            texts = columns["texts"].flatten()
        return Rows(floats, has_float, wholes, has_whole, text_rows, texts, [columns[f"exact_{i}"] for i in range(layout.n_exact)])

    def _by_day(self, rows: Rows) -> Iterator[tuple[date | None, Rows]]:
        if self.layout.time_at is None:
            yield None, rows
            return
        time = rows.wholes[self.layout.time_at]
        days = time if self.layout.days else self._local_days(time)
        if rows.has_whole is not None:
            days = np.where(rows.has_whole[self.layout.time_at], days, day_number(UNDATED))
        days = np.clip(days, day_number(date.min), day_number(UNDATED))
        first = int(days[0])
        if (days == first).all():
            yield day_of(first), rows
            return
        order = np.argsort(days, kind="stable")
        in_order = days[order]
        starts = np.concatenate(([0], np.flatnonzero(np.diff(in_order)) + 1, [len(days)]))
        for low, high in pairwise(starts.tolist()):
            yield day_of(int(in_order[low])), rows.at(order[low:high], self.layout.n_texts)

    def _local_days(self, micros: Ints) -> Ints:
        """Local day of each instant, by the first instants of the days around."""
        earliest, latest = day_number(date.min) + 2, day_number(UNDATED) - 2
        near = np.unique(np.clip(np.floor_divide(micros, MICROSECONDS_A_DAY), earliest, latest))
        days = np.unique((near[:, None] + np.arange(-1, 3)).ravel())
        zone = ZoneInfo(self.layout.time_zone)
        for day in days.tolist():
            if day not in self.starts:
                self.starts[day] = microseconds(start_of_day(day_of(day), zone))
        starts = np.array([self.starts[day] for day in days.tolist()], np.int64)
        return days[np.maximum(np.searchsorted(starts, micros, side="right") - 1, 0)]


def _matrix(column: Any, k: int, n: int, kind: Any) -> tuple[npt.NDArray[Any], Bools | None]:
    """Column of lists of k values as an array (k, n), 0 where there is none, and where there are values."""
    if not k:
        return np.zeros((0, n), kind), None
    flat = column.flatten()
    has_bits, values = flat.buffers()
    x = np.frombuffer(values, kind)[flat.offset : flat.offset + len(flat)].reshape(n, k)
    found = _across(x)
    if not flat.null_count:
        return found, None
    bits = np.unpackbits(np.frombuffer(has_bits, np.uint8), bitorder="little")[flat.offset : flat.offset + len(flat)]
    has = _across(bits.view(bool).reshape(n, k))
    found[~has] = 0
    return found, has


def _across(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Array (n, k) as one of (k, n), a few rows at a time so that they stay in the cache."""
    n, k = x.shape
    found = np.empty((k, n), x.dtype)
    for first in range(0, n, TURNED_ROWS):
        found[:, first : first + TURNED_ROWS] = x[first : first + TURNED_ROWS].T
    return found


def _joined(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0, *(part.n for part in parts[:-1])])

    def known(has: list[Bools | None], of: list[npt.NDArray[Any]]) -> Bools | None:
        if all(one is None for one in has):
            return None
        return np.concatenate([np.ones(x.shape, bool) if one is None else one for one, x in zip(has, of, strict=True)], axis=1)

    floats, wholes = [part.floats for part in parts], [part.wholes for part in parts]
    return Rows(
        np.concatenate(floats, axis=1),
        known([part.has_float for part in parts], floats),
        np.concatenate(wholes, axis=1),
        known([part.has_whole for part in parts], wholes),
        np.concatenate([part.text_rows + first for part, first in zip(parts, offsets, strict=True)]),
        pa.concat_arrays([part.texts for part in parts]),
        [pa.concat_arrays(columns) for columns in zip(*(part.exact for part in parts), strict=True)],
    )


def _bounds(column: Any) -> tuple[Decimal | None, Decimal | None]:
    found = pc.min_max(column)
    return found["min"].as_py(), found["max"].as_py()


def states_table(day: date | None, channels: Sequence[Channel], states: Sequence[ColumnState]) -> pa.Table:
    """States of the columns of one slice as rows of the table of states."""
    rows = [
        {"day": day, "column": c.name, "position": c.position, "type": c.dtype, **state_row(state)}
        for c, state in zip(channels, states, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=ARROW_SCHEMA)


def state_row(state: ColumnState) -> dict[str, Any]:
    """State as values of the columns of the table of states, from ``kind`` on."""
    sample = state.sample
    return {
        "kind": state.kind,
        **{name: getattr(state, name) for name in ("n", "nulls", "nans", "infinities", "zeros", "negatives")},
        "minimum": None if state.low is None else str(state.low),
        "maximum": None if state.high is None else str(state.high),
        **{name: getattr(state.moments, name) for name in ("mean", "m2", "m3", "m4")},
        "value_bins": state.bins.bins.astype("<i8").tobytes() + state.bins.counts.astype("<i8").tobytes(),
        "distinct_hashes": np.concatenate(([np.uint64(state.distinct.size)], state.distinct.hashes)).astype("<u8").tobytes(),
        "frequent_hashes": np.concatenate(([np.uint64(state.frequent.size)], state.frequent.hashes)).astype("<u8").tobytes(),
        "frequent_counts": state.frequent.counts.astype("<i8").tobytes(),
        "frequent_error": state.frequent.error,
        "texts": [(_signed(value), text) for value, text in sorted(state.frequent.texts.items())],
        "pairs": state.pairs.others.astype("<i8").tobytes() + state.pairs.values.astype("<f8").tobytes(),
        "sample": np.concatenate(([np.uint64(sample.size), sample.below], sample.priorities)).astype("<u8").tobytes()
        + sample.values.astype("<f8").tobytes(),
    }


def state_of(row: Any) -> ColumnState:
    """State of a row of the table of states."""
    kind: Kind = row["kind"]
    bins, counts = np.frombuffer(row["value_bins"], "<i8").reshape(2, -1)
    distinct = np.frombuffer(row["distinct_hashes"], "<u8")
    frequent = np.frombuffer(row["frequent_hashes"], "<u8")
    texts = {value % 2**64: text for value, text in row["texts"] or ()}
    pairs = row["pairs"]
    k = len(pairs) // 56  # a number and six values
    sample = row["sample"]
    rows = (len(sample) - 16) // 16
    header = np.frombuffer(sample, "<u8", 2 + rows)
    n = int(row["n"]) - int(row["nulls"]) - int(row["nans"])
    n_values = 0 if kind == "other" else n - int(row["infinities"])
    return ColumnState(
        kind=kind,
        **{name: int(row[name]) for name in ("n", "nulls", "nans", "infinities", "zeros", "negatives")},
        low=_exact(kind, row["minimum"]),
        high=_exact(kind, row["maximum"]),
        moments=Central(n_values, *(float(row[name]) for name in ("mean", "m2", "m3", "m4"))),
        bins=BinCounts(bins.astype(np.int64), counts.astype(np.int64)),
        distinct=Distinct(int(distinct[0]), distinct[1:].astype(np.uint64)),
        frequent=Frequent(
            int(frequent[0]),
            frequent[1:].astype(np.uint64),
            np.frombuffer(row["frequent_counts"], "<i8").astype(np.int64),
            int(row["frequent_error"]),
            texts,
        ),
        pairs=Pairs(np.frombuffer(pairs, "<i8", k).astype(np.int64), np.frombuffer(pairs, "<f8", 6 * k, 8 * k).reshape(6, k)),
        sample=RowSample(
            int(header[0]), header[1], header[2:].astype(np.uint64), np.frombuffer(sample, "<f8", rows, 16 + 8 * rows)[:, None]
        ),
    )


def _exact(kind: Kind, told: str | None) -> Exact | None:
    if told is None:
        return None
    return Decimal(told) if kind == "decimal" else float(told) if kind == "number" else int(told)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


@dataclass(frozen=True)
class MergeKernel:
    """Rows of states of equal slice and column in, one of each out."""

    def __call__(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        """Merge a block of whole keys."""
        rows = table.to_pylist()
        found = []
        for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            state = state_of(rows[low])
            for row in rows[low + 1 : high]:
                state = state + state_of(row)
            found.append({name: rows[low][name] for name in ("day", "column", "position", "type")} | state_row(state))
        yield pa.Table.from_pylist(found, schema=ARROW_SCHEMA)
