"""History deltas: a step of the history from windows + 1 days of tiles and the open rows, where signed deltas can continue every state.

Takes the tiles that enter or leave a window on the new days and the history, and gives the same rows as `history_step.step_frame` does from
the tiles of the longest window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds.days import ONE_DAY, day_number
from sparkds.errors import ConfigError
from sparkds.features.arrow import number_array, state_column
from sparkds.features.change_points import ChangeBlock, change_block
from sparkds.features.history import FROM_DAY, UNTIL_DAY, HistoryKernel, kernel_fields, mapped_frame
from sparkds.features.history_step import laid_over_frame, tile_days_column
from sparkds.features.merged import NumberColumn
from sparkds.features.reduced import Merged
from sparkds.features.signed_deltas import DeltaStates, Held, held_columns
from sparkds.features.snapshots import days_of, states_until, tile_types
from sparkds.features.windows import Window
from sparkds.sql import quoted

if TYPE_CHECKING:
    from sparkds.features.feature_set import FeatureSet

BEFORE = "__before"


def continues(spec: FeatureSet, tiles: DataFrame) -> bool:
    """Whether signed deltas continue every state of a feature set (see `sparkds.features.signed_deltas.held_columns`)."""
    return held_columns(spec, tile_types(spec, tiles)) is not None


def delta_step_frame(spec: FeatureSet, tiles: DataFrame, history: DataFrame, affected: DataFrame, *, first: date, last: date) -> DataFrame:
    """Rows of the history that change on the days ``first … last``.

    Parameters
    ----------
    spec : FeatureSet
        For which `continues` holds.
    tiles : DataFrame
        Of which only the days that enter or leave a window are read.
    history : DataFrame
        Covered through the day before `first`.
    affected : DataFrame
        Entities without a late tile, as `sparkds.features.history_step.affected_frame` gives them.
    first, last : date
        New days.

    Returns
    -------
    DataFrame
        As `sparkds.features.history_step.step_frame` gives it.

    Raises
    ------
    ConfigError
        A state cannot be continued.
    """
    held = held_columns(spec, tile_types(spec, tiles))
    if held is None:
        raise ConfigError("signed deltas cannot continue all states of this feature set; compute the step from the tiles of its windows")
    by_entity = affected.select(*(quoted(key) for key in spec.keys), FROM_DAY, UNTIL_DAY)
    standing = history.where(F.col("valid_to").isNull()).join(by_entity, on=list(spec.keys))
    states = states_until(spec, tiles, last)
    names = [quoted(name) for name in states.columns]
    types, stored = dict(states.dtypes), dict(history.dtypes)
    columns = list(dict.fromkeys(held.values()))
    place = {column: f"__held{i}" for i, column in enumerate(columns)}
    entered = (
        states.where(tile_days_column(spec, first, last))
        .join(by_entity, on=list(spec.keys), how="left_semi")
        .select(*names, *(F.lit(None).cast(stored[c]).alias(place[c]) for c in columns), F.lit(False).alias(BEFORE))
    )
    before = standing.select(
        *(quoted(key) for key in spec.keys),
        F.lit(first - ONE_DAY).alias("day"),
        *(F.lit(None).cast(types[state.name]).alias(state.name) for state in spec.states),
        *(F.col(quoted(column)).alias(place[column]) for column in columns),
        F.lit(True).alias(BEFORE),
    )
    kernel = DeltaKernel(
        **kernel_fields(spec, states),
        first=day_number(first),
        last=day_number(last),
        intervals=False,
        held=tuple((state_window, place[column]) for state_window, column in held.items()),
    )
    return laid_over_frame(spec, mapped_frame(spec, entered.unionByName(before), kernel), standing, last)


@dataclass(frozen=True)
class DeltaKernel(HistoryKernel):
    """Tiles that entered or left and what was held before in, change points on the new days out."""

    held: tuple[tuple[Held, str], ...]

    def block(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> ChangeBlock:
        """The day before the first new one, and the new days on which something changes."""
        assert self.first is not None
        n = len(starts) - 1
        return change_block(starts, days_of(table), self.windows, np.full(n, self.first - 1), np.full(n, self.last))

    def wanted_from(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The first new day."""
        assert self.first is not None
        return np.full(len(starts) - 1, self.first)

    def merged(self, table: pa.Table, block: ChangeBlock) -> Callable[[Window], Merged]:
        """The continued states of a window."""
        assert self.first is not None
        columns, held = {}, {}
        for state, _ in self.states:
            column = state_column(state, table.column(state.name))
            assert isinstance(column, NumberColumn), state
            columns[state] = column
        for state_window, name in self.held:
            held[state_window] = NumberColumn(*number_array(table.column(name)))
        before = table.column(BEFORE).to_numpy().astype(bool)
        return DeltaStates(block, columns, held, before, self.first).of
