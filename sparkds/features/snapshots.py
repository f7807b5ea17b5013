"""Snapshots: the features of every entity on every asked day, from tiles.

Takes tiles as a DataFrame and gives a lazy DataFrame with one row per (entity, `as_of`), after one exchange whatever
the number of days, windows and aggregations. The same pass gives checkpoints: the merged state of each entity through a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds.blocks import map_blocks
from sparkds.days import day_number, known_at, microseconds
from sparkds.errors import ColumnError, WindowError
from sparkds.features.arrow import number_array, output_array, state_column
from sparkds.features.merged import CountColumn, MergedStates, NumberColumn, PickColumn, SetColumn
from sparkds.features.states import State
from sparkds.features.tiles import tiles_frame
from sparkds.features.windows import LIFETIME, Block, Window
from sparkds.sql import quoted

if TYPE_CHECKING:
    from sparkds.features.feature_set import Feature, FeatureSet

CELLS_A_BLOCK = 500_000
ROWS_A_BLOCK = 65_536


def snapshots_frame(spec: FeatureSet, tiles: DataFrame, days: Iterable[date]) -> DataFrame:
    """Features of every entity seen up to each day.

    Parameters
    ----------
    spec : FeatureSet
    tiles : DataFrame
        Columns as `sparkds.features.tiles.tiles_frame` gives them, with all days from the entity's first one on, or a
        checkpoint at least the longest window before the first asked day and the tiles after it.
    days : iterable of date
        The `as_of` days; order and repetitions do not matter.

    Returns
    -------
    DataFrame
        The keys, ``as_of`` (date), ``known_at`` (timestamp: midnight after `as_of` in the declared zone), one column
        per feature, and the measures of ``spec.rfm`` without its scores. Entities without an event up to `as_of`
        have no row.

    Raises
    ------
    WindowError
        No day is given.
    ColumnError
        `tiles` lacks a state of `spec`.
    """
    wanted = sorted(set(days))
    if not wanted:
        raise WindowError("no as_of day is given; give at least one")
    types = tile_types(spec, tiles)
    kernel = SnapshotKernel(
        keys=spec.keys,
        states=tuple(spec.state_windows.items()),
        types=types,
        features=spec.computed,
        output_types=tuple(f.aggregation.output_type(types.__getitem__) for f in spec.computed),
        days=tuple(day_number(day) for day in wanted),
        known_at=tuple(microseconds(known_at(day, spec.zone)) for day in wanted),
    )
    columns = [f"{quoted(key)} {dtype}" for key, dtype in tiles.dtypes if key in spec.keys]
    columns += ["as_of date", "known_at timestamp"]
    columns += [f"{quoted(f.name)} {t}" for f, t in zip(spec.computed, kernel.output_types, strict=True)]
    return map_blocks(
        states_until(spec, tiles, wanted[-1]),
        keys=spec.keys,
        order=("day",),
        kernel=kernel,
        schema=", ".join(columns),
        block_rows=max(4_096, min(ROWS_A_BLOCK, 4_000_000 // len(wanted))),
        block_keys=max(1, CELLS_A_BLOCK // len(wanted)),
    )


def snapshots_of_events_frame(spec: FeatureSet, events: DataFrame, days: Iterable[date]) -> DataFrame:
    """Snapshots straight from the events, for when the tiles are not to be kept.

    The same rows as from all tiles; days before the longest window are reduced to one per entity before they move,
    unless a feature looks at all days.

    Parameters
    ----------
    spec : FeatureSet
    events : DataFrame
    days : iterable of date
    """
    wanted = sorted(set(days))
    if not wanted:
        raise WindowError("no as_of day is given; give at least one")
    bounded = all(feature.window is not None for feature in spec.computed)
    first = wanted[0] - timedelta(days=spec.longest_window - 1) if bounded else None
    return snapshots_frame(spec, tiles_frame(spec, events, last=wanted[-1], collapse_before=first), wanted)


def checkpoints_frame(spec: FeatureSet, tiles: DataFrame, through: date) -> DataFrame:
    """One row per entity seen up to `through`: its states merged over all days, in the columns of a tile.

    A checkpoint stands for all tiles up to its day: the snapshots of any day at least the longest window later are the
    same, to the bit, from it and the tiles after it as from all tiles.

    Parameters
    ----------
    spec : FeatureSet
    tiles : DataFrame
        All tiles up to `through`, or an earlier checkpoint and the tiles after it.
    through : date
        Last day that is merged; the ``day`` of the rows.
    """
    types = tile_types(spec, tiles)
    kernel = CheckpointKernel(
        keys=spec.keys,
        states=tuple((state, (LIFETIME,)) for state in spec.states),
        types=types,
        through=day_number(through),
    )
    columns = [f"{quoted(name)} {dtype}" for name, dtype in states_until(spec, tiles, through).dtypes]
    return map_blocks(states_until(spec, tiles, through), keys=spec.keys, order=("day",), kernel=kernel, schema=", ".join(columns))


def tile_types(spec: FeatureSet, tiles: DataFrame) -> dict[State, str]:
    """Spark type of the tile column of each state.

    Raises
    ------
    ColumnError
        A key, the day or a state is not among the columns.
    """
    found = dict(tiles.dtypes)
    for name in (*spec.keys, "day"):
        if name not in found:
            raise ColumnError.missing(name, tuple(found), "the tiles")
    for state in spec.states:
        if state.name not in found:
            raise ColumnError.missing(state.name, tuple(found), "the tiles")
    return {state: found[state.name] for state in spec.states}


def states_until(spec: FeatureSet, tiles: DataFrame, last: date) -> DataFrame:
    """Keys, day and states of the tiles up to a day."""
    names = (*spec.keys, "day", *(state.name for state in spec.states))
    return tiles.where(F.col("day") <= F.lit(last)).select(*(quoted(name) for name in names))


@dataclass(frozen=True)
class SnapshotKernel:
    """Tiles of a block of entities in, their snapshots out."""

    keys: tuple[str, ...]
    states: tuple[tuple[State, tuple[Window, ...]], ...]
    types: dict[State, str]
    features: tuple[Feature, ...]
    output_types: tuple[str, ...]
    days: tuple[int, ...]
    known_at: tuple[int, ...]

    def __call__(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        """One table with a row per (entity, asked day) at or after the entity's first tile."""
        block = Block(starts, days_of(table), np.asarray(self.days, dtype=np.int64))
        if len(block.cell) == 0:
            return
        columns = {state: state_column(state, table.column(state.name)) for state, _ in self.states}
        merged = MergedStates(block, columns, dict(self.states))
        entity = pa.array(starts[:-1][block.cell_entity])
        out: dict[str, Any] = {key: table.column(key).combine_chunks().take(entity) for key in self.keys}
        out["as_of"] = pa.array(block.as_of.astype(np.int32)).cast(pa.date32())
        instant = np.asarray(self.known_at, dtype=np.int64)[block.cell_slot]
        out["known_at"] = pa.array(instant).cast(pa.timestamp("us", tz="UTC"))
        for feature, dtype in zip(self.features, self.output_types, strict=True):
            out[feature.name] = output_array(feature.aggregation.value(merged.of(feature.window)), dtype, feature.name)
        yield pa.table(out)


@dataclass(frozen=True)
class CheckpointKernel:
    """Tiles of a block of entities in, one merged row per entity out."""

    keys: tuple[str, ...]
    states: tuple[tuple[State, tuple[Window, ...]], ...]
    types: dict[State, str]
    through: int

    def __call__(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        """One table with a row per entity, in the columns of `table`."""
        block = Block(starts, days_of(table), np.asarray([self.through], dtype=np.int64))
        columns = {state: state_column(state, table.column(state.name)) for state, _ in self.states}
        merged = MergedStates(block, columns, dict(self.states))
        first = pa.array(starts[:-1])
        out: dict[str, Any] = {key: table.column(key).combine_chunks().take(first) for key in self.keys}
        out["day"] = pa.array(np.full(block.n_entities, self.through, dtype=np.int32)).cast(pa.date32())
        for state, column in columns.items():
            if isinstance(column, NumberColumn | PickColumn):
                out[state.name] = output_array(merged.reduced(state)[LIFETIME], self.types[state], state.name)
            else:
                out[state.name] = _list_array(merged, state, column, block.n_entities)
        yield pa.table(out)


def _list_array(merged: MergedStates, state: State, column: SetColumn | CountColumn, n_entities: int) -> pa.Array:
    """The united items of every entity as an Arrow list."""
    entity, item, n = merged.union(state)
    offsets = pa.array(np.searchsorted(entity, np.arange(n_entities + 1)).astype(np.int32))
    items = column.dictionary.take(pa.array(item)) if column.dictionary is not None else pa.array(item.astype(np.int32))
    if isinstance(column, CountColumn):
        items = pa.StructArray.from_arrays([items, pa.array(n)], names=["item", "n"])
    return pa.ListArray.from_arrays(offsets, items)


def days_of(table: pa.Table) -> npt.NDArray[np.int64]:
    """Day number of every tile of a block."""
    days = number_array(table.column("day"))[0]
    assert days.dtype == np.int64
    return days
