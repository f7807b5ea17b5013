"""Tiles: one row per entity and local day with the mergeable states of that day's events.

Takes the events as a DataFrame and gives a lazy DataFrame after one exchange (two with deduplication); an entity's
events of a day are reduced on the side of the map before they move.
"""

from __future__ import annotations

from datetime import date
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds.days import ONE_DAY, start_of_day
from sparkds.features.states import PartOfWeek, State
from sparkds.instants import instant_column, local_day_column, local_hour_column
from sparkds.sql import finite, quoted

if TYPE_CHECKING:
    from pyspark.sql import Observation

    from sparkds.features.feature_set import FeatureSet

DAY, AT = "__day", "__at"
Only = tuple[str | None, PartOfWeek | None]
EVERY: Only = (None, None)


def tiles_frame(
    spec: FeatureSet,
    events: DataFrame,
    *,
    first: date | None = None,
    last: date | None = None,
    intake: Observation | None = None,
    copies: Observation | None = None,
    collapse_before: date | None = None,
) -> DataFrame:
    """Tiles of the events.

    Parameters
    ----------
    spec : FeatureSet
    events : DataFrame
        One row per event.
    first, last : date, optional
        Only these local days, both included; `first` also lets the source skip files and row groups.
    intake : Observation, optional
        Receives the counts of `intake_counts`.
    copies : Observation, optional
        Receives ``n_kept``, the events left after deduplication; only with ``spec.deduplicate``.
    collapse_before : date, optional
        All earlier days become one, the day before it, reduced before anything moves: enough for windows that do not
        reach so far back, which only need to know that the entity was there.

    Returns
    -------
    DataFrame
        Columns: the keys, ``day`` (date), one column per state. One row per entity and day with an event.

    Raises
    ------
    ColumnError
        A column is missing or of the wrong type.
    """
    types = dict(events.dtypes)
    prepared = _prepared(spec, events, first)
    if intake is not None:
        prepared = prepared.observe(intake, *intake_counts(spec, last))
    wanted = F.col(DAY).isNotNull()
    for key in spec.keys:
        wanted &= F.col(quoted(key)).isNotNull()
    for bound, too_far in ((first, F.col(DAY) < F.lit(first)), (last, F.col(DAY) > F.lit(last))):
        if bound is not None:
            wanted &= ~too_far
    if spec.first_day is not None:
        wanted &= F.col(DAY) >= F.lit(spec.first_day)
    prepared = prepared.where(wanted)
    if collapse_before is not None:
        prepared = prepared.withColumn(DAY, F.greatest(DAY, F.lit(collapse_before - ONE_DAY)))
    if spec.deduplicate is not None:
        prepared = deduplicated_frame(spec, prepared)
        if copies is not None:
            prepared = prepared.observe(copies, F.count(F.lit(1)).alias("n_kept"))
    return (
        prepared.groupBy(*(F.col(quoted(key)) for key in spec.keys), F.col(DAY).alias("day"))
        .agg(*state_columns(spec, types))
        .select(*(quoted(name) for name in (*spec.keys, "day", *(state.name for state in spec.states))))
    )


def intake_frame(spec: FeatureSet, events: DataFrame, *, first: date | None = None, last: date | None = None) -> DataFrame:
    """The counts of `intake_counts` as one row, for when no event is left to make a tile of and nothing is observed."""
    return _prepared(spec, events, first).agg(*intake_counts(spec, last))


def _prepared(spec: FeatureSet, events: DataFrame, first: date | None) -> DataFrame:
    types = dict(events.dtypes)
    spec.check(types)
    if first is not None:
        events = events.where(not_before(spec, types[spec.event_time], first))
    return events.select(*prepared_columns(spec, types))


def prepared_columns(spec: FeatureSet, types: dict[str, str]) -> list[Column]:
    """Keys, local day, instant, and one column for each predicate, value and tie that the states read."""
    columns = [F.col(quoted(key)) for key in spec.keys]
    columns.append(local_day_column(spec.event_time, types[spec.event_time], spec.time_zone, spec.event_time_zone).alias(DAY))
    columns.append(instant_column(spec.event_time, types[spec.event_time], spec.event_time_zone).alias(AT))
    for only, name in _predicates(spec).items():
        columns.append(_holds(spec, types, only).alias(name))
    for (column, only, sql), name in _values(spec, types).items():
        value = F.expr(sql.format(value=f"({finite(column, types[column])})"))
        columns.append((value if only == EVERY else F.when(_holds(spec, types, only), value)).alias(name))
    columns.extend(F.col(quoted(tie)).alias(name) for tie, name in _ties(spec).items())
    for column, name in _counted(spec, types).items():
        columns.append(F.expr(finite(column, types[column])).isNull().alias(name))
    if spec.refunds is not None:
        columns.append(F.coalesce(F.col(quoted(spec.refunds.column)) < 0, F.lit(False)).alias("__refund"))
    if spec.deduplicate is not None:
        columns.append(F.col(quoted(spec.deduplicate.event_id)).alias("__event"))
        columns.append(F.col(quoted(spec.deduplicate.order_by)).alias("__order"))
    return columns


def intake_counts(spec: FeatureSet, last: date | None) -> list[Column]:
    """What was read and what is left out: counts to be observed on the prepared events."""
    null_key = F.lit(False)
    for key in spec.keys:
        null_key |= F.col(quoted(key)).isNull()
    day = F.col(DAY)
    future = day > F.lit(last) if last is not None else F.lit(False)
    early = day < F.lit(spec.first_day) if spec.first_day is not None else F.lit(False)
    taken = ~null_key & day.isNotNull() & ~F.coalesce(future, F.lit(False)) & ~F.coalesce(early, F.lit(False))
    counts = {
        "n_events": F.lit(True),
        "n_taken": taken,
        "n_null_key": null_key,
        "n_null_time": day.isNull(),
        "n_future": future,
        "n_before_first_day": early,
    }
    if spec.refunds is not None:
        counts["n_refunds"] = taken & F.col("__refund")
    if spec.deduplicate is not None:
        counts["n_without_event_id"] = taken & F.col("__event").isNull()
    for i, column in enumerate(sorted({s.column for s in spec.states if s.column})):
        name = f"__null{i}"
        counts[f"n_no_value.{column}"] = taken & F.col(name)
    return [F.count_if(condition).alias(name) for name, condition in counts.items()]


def deduplicated_frame(spec: FeatureSet, prepared: DataFrame) -> DataFrame:
    """One row per event id and local day, the winner by ``spec.deduplicate``; rows without an id stay.

    Ties of the deciding column go by the values of the other columns in turn, so the winner does not depend on the
    order of the rows. One exchange by (day, event id).
    """
    assert spec.deduplicate is not None
    others = [name for name in prepared.columns if name not in ("__order", "__event", DAY)]
    winner = F.struct("__order", *(quoted(name) for name in others))
    alone = F.when(F.col("__event").isNull(), F.monotonically_increasing_id())
    pick = F.max if spec.deduplicate.keep == "last" else F.min
    return (
        prepared.groupBy(DAY, "__event", alone.alias("__alone"))
        .agg(pick(winner).alias("__winner"))
        .select(DAY, *(F.col("__winner").getField(name).alias(name) for name in others))
    )


def state_columns(spec: FeatureSet, types: dict[str, str]) -> list[Column]:
    """Aggregates of one day's events, named as the tile's columns."""
    predicates, values, ties = _predicates(spec), _values(spec, types), _ties(spec)
    columns = []
    for state in spec.states:
        places = {
            "day": DAY,
            "at": AT,
            "rows": predicates.get((state.where, state.during), "true"),
            "tie": ties[state.tie] if state.tie is not None else "cast(null as int)",
            "value": values[_value_key(state, types)] if state.column is not None else "",
        }
        sql = state.sql.format(**places)
        if state.sql.startswith("try_sum"):
            message = f"the sum of column {state.column} over one day does not fit in {state.tile_type(types[str(state.column)])}"
            sql = _raise_when(f"count({places['value']}) > 0 and {sql} is null", message, sql)
            if state.merge == "add":
                sql = f"coalesce({sql}, 0)"
        dtype = state.tile_type(types[state.column] if state.column is not None else "")
        columns.append(F.expr(f"cast({sql} as {dtype})").alias(state.name))
    return columns


def not_before(spec: FeatureSet, dtype: str, first: date) -> Column:
    """Predicate on the raw event time that keeps all events from local day `first` on."""
    time = F.col(quoted(spec.event_time))
    if dtype == "date":
        return time >= F.lit(first)
    if dtype == "timestamp":
        return time >= F.lit(start_of_day(first, spec.zone))
    margin = first - ONE_DAY
    return time >= F.lit(margin).cast("timestamp_ntz")


def _predicates(spec: FeatureSet) -> dict[Only, str]:
    """Name of the prepared column of each choice of events."""
    chosen = dict.fromkeys((s.where, s.during) for s in spec.states if (s.where, s.during) != EVERY)
    return {only: f"__where{i}" for i, only in enumerate(chosen)}


def _holds(spec: FeatureSet, types: dict[str, str], only: Only) -> Column:
    """Whether an event takes part: its predicate is true and its local time is in the part of the week."""
    where, during = only
    told = [F.expr(where)] if where is not None else []
    time = (spec.event_time, types[spec.event_time], spec.time_zone, spec.event_time_zone)
    if during is not None and during.weekdays is not None:
        told.append((F.weekday(local_day_column(*time)) + 1).isin(list(during.weekdays)))
    if during is not None and during.hours is not None:
        hour, (first, end) = local_hour_column(*time), during.hours
        told.append((hour >= first) & (hour < end) if first < end else (hour >= first) | (hour < end))
    return F.coalesce(reduce(Column.__and__, told), F.lit(False))


def _value_key(state: State, types: dict[str, str]) -> tuple[str, Only, str]:
    assert state.column is not None
    return state.column, (state.where, state.during), state.prepared(types[state.column])


def _values(spec: FeatureSet, types: dict[str, str]) -> dict[tuple[str, Only, str], str]:
    """Name of the prepared column of each (column, choice of events, derivation)."""
    wanted = dict.fromkeys(_value_key(s, types) for s in spec.states if s.column is not None)
    return {key: f"__value{i}" for i, key in enumerate(wanted)}


def _ties(spec: FeatureSet) -> dict[str, str]:
    """Name of the prepared column of each tie."""
    ties = dict.fromkeys(s.tie for s in spec.states if s.tie is not None)
    return {tie: f"__tie{i}" for i, tie in enumerate(ties)}


def _counted(spec: FeatureSet, types: dict[str, str]) -> dict[str, str]:
    """Name of the prepared "has no value" column of each aggregated column."""
    del types
    return {column: f"__null{i}" for i, column in enumerate(sorted({s.column for s in spec.states if s.column}))}


def _raise_when(condition: str, message: str, otherwise: str) -> str:
    text = message.replace("\\", "\\\\").replace("'", "\\'")
    return f"if({condition}, raise_error('{text}'), {otherwise})"
