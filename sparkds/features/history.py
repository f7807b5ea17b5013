"""History: one row per entity and day on which a windowed value changes, and the snapshots of any day read from it.

Takes tiles as a DataFrame and gives a lazy DataFrame after one exchange: at most (windows + 1) x tiles rows, whatever the number of days
and of inactive entities. Values are those of the snapshots to the last bit, since the same kernel answers on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds.blocks import map_blocks
from sparkds.days import day_number, day_of, known_at, microseconds
from sparkds.errors import ColumnError, WindowError
from sparkds.features.arrow import differs_from_previous, output_array, state_column
from sparkds.features.change_points import (
    HISTORY_COLUMNS,
    ChangeBlock,
    change_block,
    derived_days,
    last_days,
    stored_names,
    stored_value,
    window_days,
)
from sparkds.features.merged import MergedStates
from sparkds.features.reduced import Merged
from sparkds.features.rfm import Edges
from sparkds.features.rfm_scores import with_scores
from sparkds.features.snapshots import CELLS_A_BLOCK, ROWS_A_BLOCK, days_of, states_until, tile_types
from sparkds.features.states import State
from sparkds.features.windows import Window
from sparkds.sql import quoted

if TYPE_CHECKING:
    from sparkds.features.feature_set import Feature, FeatureSet

FROM_DAY, UNTIL_DAY = "__from_day", "__until_day"
"""Columns of tiles of which only the change points in an interval of each entity are wanted."""


def history_frame(spec: FeatureSet, tiles: DataFrame, *, last: date, first: date | None = None) -> DataFrame:
    """Change points of all entities.

    Parameters
    ----------
    spec : FeatureSet
    tiles : DataFrame
        Columns as `sparkds.features.tiles.tiles_frame` gives them, all days from the entity's first one on.
    last : date
        Last covered day.
    first : date, optional
        First covered day, on which all entities seen before begin; each entity's first day if absent.

    Returns
    -------
    DataFrame
        The keys; ``valid_from`` (date) and ``valid_to`` (date, null while nothing follows): first and last `as_of` day for which the row
        holds; ``known_at`` (timestamp: midnight after ``valid_from`` in the declared zone); and the columns of `stored_names`: each
        feature as in a snapshot, or, of those in `derived_days`, the day from which it counts. A row has other values than the one
        before it. No row holds before the entity's first event.

    Raises
    ------
    WindowError
        `first` is after `last`.
    ColumnError
        The tiles lack a key, the day or a state.

    Examples
    --------
    >>> history_frame(spec, spec.tiles(events), last=date(2026, 6, 30))  # doctest: +SKIP
    """
    if first is not None and first > last:
        raise WindowError(f"the history would begin on {first}, after its last day {last}; give a first day up to {last}")
    tile_types(spec, tiles)
    return change_points_frame(spec, states_until(spec, tiles, last), last=last, first=first)


def change_points_frame(spec: FeatureSet, states: DataFrame, *, last: date, first: date | None = None) -> DataFrame:
    """As `history_frame`, of tiles that may also say in ``__from_day`` and ``__until_day`` which interval of their entity is wanted.

    The day before ``__from_day``, the same for all tiles of an entity, is computed as well and only compared with, so that a row that says
    what already held is left out; the smallest ``__until_day`` counts.
    """
    kernel = HistoryKernel(
        **kernel_fields(spec, states),
        first=None if first is None else day_number(first),
        last=day_number(last),
        intervals=FROM_DAY in states.columns,
    )
    return mapped_frame(spec, states, kernel)


def kernel_fields(spec: FeatureSet, states: DataFrame) -> dict[str, Any]:
    """What a kernel needs to know of the feature set and of the types of its tiles."""
    types = tile_types(spec, states)
    return {
        "keys": spec.keys,
        "states": tuple(spec.state_windows.items()),
        "features": spec.computed,
        "names": stored_names(spec),
        "output_types": tuple(
            "date" if feature.aggregation.counts_from is not None else feature.aggregation.output_type(types.__getitem__)
            for feature in spec.computed
        ),
        "windows": window_days(spec),
        "zone": spec.time_zone,
    }


def mapped_frame(spec: FeatureSet, states: DataFrame, kernel: HistoryKernel) -> DataFrame:
    """Rows that a kernel makes of blocks of whole entities, in the columns of a history."""
    columns = [f"{quoted(key)} {dtype}" for key, dtype in states.dtypes if key in spec.keys]
    columns += ["valid_from date", "valid_to date", "known_at timestamp"]
    columns += [f"{quoted(name)} {dtype}" for name, dtype in zip(kernel.names, kernel.output_types, strict=True)]
    rows = max(4_096, min(ROWS_A_BLOCK, CELLS_A_BLOCK // (len(kernel.windows) + 1)))
    return map_blocks(states, keys=spec.keys, order=("day",), kernel=kernel, schema=", ".join(columns), block_rows=rows, block_keys=rows)


def snapshots_of_history_frame(spec: FeatureSet, history: DataFrame, days: Iterable[date], *, edges: Edges | None = None) -> DataFrame:
    """Snapshots of any covered days, read from the history.

    Parameters
    ----------
    spec : FeatureSet
        The one that the history was made with.
    history : DataFrame
        Rows of `history_frame`, whole and of one version.
    days : iterable of date
        The `as_of` days, none after the history's last covered day: an open row only says what held on that.
    edges : Edges, optional
        Of the RFM scores, which move with recency and are therefore never stored.

    Returns
    -------
    DataFrame
        Rows and columns of `sparkds.features.snapshots.snapshots_frame`, and the scores when there are edges. No join and no exchange.

    Raises
    ------
    WindowError
        No day is given.
    ColumnError
        The history lacks a column.
    """
    wanted = sorted(set(days))
    if not wanted:
        raise WindowError("no as_of day is given; give at least one")
    _hold_columns(spec, history)
    told = [F.struct(F.lit(day).alias("as_of"), F.lit(known_at(day, spec.zone)).alias("known_at")) for day in wanted]
    held = history.where(
        (F.col("valid_from") <= F.lit(wanted[-1])) & (F.col("valid_to").isNull() | (F.col("valid_to") >= F.lit(wanted[0])))
    )
    inside = F.filter(
        F.array(*told),
        lambda day: (day["as_of"] >= F.col("valid_from")) & (F.col("valid_to").isNull() | (day["as_of"] <= F.col("valid_to"))),
    )
    names = [F.col(quoted(name)) for name in (*spec.keys, *stored_names(spec))]
    each = held.select(*names, F.explode(inside).alias("__day"))
    keys = [F.col(quoted(key)) for key in spec.keys]
    day, instant = F.col("__day.as_of").alias("as_of"), F.col("__day.known_at").alias("known_at")
    snapshots = each.select(*keys, day, instant, *feature_columns(spec, F.col("__day.as_of")))
    return snapshots if edges is None or spec.rfm is None else with_scores(spec.rfm, snapshots, edges)


def feature_columns(spec: FeatureSet, as_of: Column) -> list[Column]:
    """The features of a row of the history on a day: stored as they are, or the days from the stored day to `as_of`.

    Parameters
    ----------
    spec : FeatureSet
    as_of : Column
        A date that the row covers.
    """
    days = derived_days(spec)
    return [
        F.date_diff(as_of, F.col(quoted(days[f.name]))).alias(f.name) if f.name in days else F.col(quoted(f.name)) for f in spec.computed
    ]


def _hold_columns(spec: FeatureSet, history: DataFrame) -> None:
    for name in (*spec.keys, *HISTORY_COLUMNS, *stored_names(spec)):
        if name not in history.columns:
            raise ColumnError.missing(name, history.columns, "the history")


@dataclass(frozen=True)
class HistoryKernel:
    """Tiles of a block of entities in, their change points out."""

    keys: tuple[str, ...]
    states: tuple[tuple[State, tuple[Window, ...]], ...]
    features: tuple[Feature, ...]
    names: tuple[str, ...]
    output_types: tuple[str, ...]
    windows: tuple[int, ...]
    first: int | None
    last: int
    intervals: bool
    zone: str

    def __call__(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        """One table with the rows that differ from the one before."""
        block = self.block(table, starts)
        if len(block.cell) == 0:
            return
        of = self.merged(table, block)
        values = {
            name: output_array(stored_value(feature, of(feature.window)), dtype, name)
            for feature, name, dtype in zip(self.features, self.names, self.output_types, strict=True)
        }
        kept = np.zeros(len(block.cell), dtype=bool)
        kept[block.asked[:-1][block.n_asked > 0]] = True
        for value in values.values():
            kept |= differs_from_previous(value)
        kept &= block.as_of >= self.wanted_from(table, starts)[block.cell_entity]
        last, closed = last_days(block, kept)
        days = block.as_of[kept]
        rows = pa.array(starts[:-1][block.cell_entity[kept]])
        out: dict[str, Any] = {key: table.column(key).combine_chunks().take(rows) for key in self.keys}
        out["valid_from"] = _dates(days)
        out["valid_to"] = _dates(last, mask=~closed)
        out["known_at"] = _instants(days, self.zone)
        chosen = pa.array(kept)
        out.update((name, value.filter(chosen)) for name, value in values.items())
        yield pa.table(out)

    def block(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> ChangeBlock:
        """Rows of the block and the days to compute."""
        day = days_of(table)
        n = len(starts) - 1
        if not self.intervals:
            first = day[starts[:-1]] if self.first is None else np.full(n, self.first)
            return change_block(starts, day, self.windows, first, np.full(n, self.last))
        until = np.minimum.reduceat(days_of_column(table, UNTIL_DAY), starts[:-1])
        before = self.wanted_from(table, starts) - 1
        return change_block(starts, day, self.windows, before if self.first is None else np.maximum(before, self.first), until)

    def wanted_from(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """First wanted day of every entity: (n_entities,)."""
        if self.intervals:
            return days_of_column(table, FROM_DAY)[starts[:-1]]
        return days_of(table)[starts[:-1]]

    def merged(self, table: pa.Table, block: ChangeBlock) -> Callable[[Window], Merged]:
        """The merged states of a window."""
        columns = {state: state_column(state, table.column(state.name)) for state, _ in self.states}
        return MergedStates(block, columns, dict(self.states)).of


def days_of_column(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """Day numbers of a date column without null."""
    return days_of(pa.table({"day": table.column(name)}))


def _dates(days: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(days.astype(np.int32), mask=mask).cast(pa.date32())


def _instants(days: npt.NDArray[np.int64], zone: str) -> pa.Array:
    """Midnight after each day."""
    different, place = np.unique(days, return_inverse=True)
    instants = np.array([_midnight_after(int(day), zone) for day in different], dtype=np.int64)
    return pa.array(instants[place]).cast(pa.timestamp("us", tz="UTC"))


@lru_cache(maxsize=100_000)
def _midnight_after(day: int, zone: str) -> int:
    return microseconds(known_at(day_of(day), ZoneInfo(zone)))
