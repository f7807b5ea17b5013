"""Label columns: spines made of cut-off days, and what happens to each of their rows within a horizon.

Takes events and a spine as DataFrames and gives the spine with its label, after one exchange of daily counts and one of the spine.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.days import known_at
from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.features.as_of_join import SPREADS, check_names, instant_of, local_micros
from sparkds.features.labels import AnyLabel, Events, EventSum, EventWithin
from sparkds.features.point_in_time import Spine, check_key, common_type
from sparkds.instants import MICROSECONDS_A_DAY, local_day_column
from sparkds.predicates import predicate_column
from sparkds.sql import finite, quoted

NUMBERS: Final = ("tinyint", "smallint", "int", "bigint", "float", "double")


def event_days(events: DataFrame, spec: Events, *, until: date) -> tuple[date, date]:
    """First and newest local day up to `until` that has an event with keys; one aggregation.

    Raises
    ------
    ColumnError
    DataError
        There is none.
    """
    spec.check(dict(events.dtypes), "the table of entities")
    days = events.where(_has_keys(spec)).select(_day(events, spec).alias("day")).where(F.col("day") <= F.lit(until))
    row = collect.one_row(days.agg(F.min("day").alias("first"), F.max("day").alias("last")))
    if row["first"] is None:
        raise DataError(f"no event with keys ({', '.join(spec.keys)}) and a time up to {until}; there is no entity for a spine")
    return row["first"], row["last"]


def cutoff_spine_frame(events: DataFrame, spec: Events, days: Sequence[date], zone: str) -> DataFrame:
    """One row per cut-off day and entity seen up to it.

    Parameters
    ----------
    events : DataFrame
        Events, tiles or snapshots: whatever has keys and a day. Rows with a null key or time are no entity.
    spec : Events
    days : sequence of date
        At least one.
    zone : str
        IANA zone whose midnights are meant.

    Returns
    -------
    DataFrame
        The keys, ``as_of`` (date), ``known_at`` (timestamp, midnight after `as_of`).
    """
    from zoneinfo import ZoneInfo

    spec.check(dict(events.dtypes), "the table of entities")
    for name in ("as_of", "known_at"):
        if name in spec.keys:
            raise ConfigError(f"key '{name}' has the name of a column of the spine; rename it")
    seen = events.where(_has_keys(spec)).select(*map(_column, spec.keys), _day(events, spec).alias("__day")).where("__day is not null")
    first = seen.groupBy(*map(_column, spec.keys)).agg(F.min("__day").alias("__day"))
    cutoffs = F.array(*(F.struct(F.lit(day).alias("as_of"), _instant(known_at(day, ZoneInfo(zone))).alias("known_at")) for day in days))
    told = F.explode(F.filter(cutoffs, lambda one: one["as_of"] >= F.col("__day"))).alias("__cutoff")
    return first.select(*map(_column, spec.keys), told).select(
        *map(_column, spec.keys), F.col("__cutoff.as_of").alias("as_of"), F.col("__cutoff.known_at").alias("known_at")
    )


def labelled_frame(
    spine: DataFrame, spec: Spine, label: AnyLabel, events: DataFrame, *, event_time: str, complete_through: date | None = None
) -> DataFrame:
    """Spine with its label.

    Parameters
    ----------
    spine : DataFrame
    spec : Spine
        Its keys and its time; its own label is not looked at.
    label : EventWithin, EventCount or EventSum
    events : DataFrame
        Events without a key or a time do not count.
    event_time : str
        Their time: timestamp, date, or a timestamp without zone.
    complete_through : date, optional
        Last day whose events are known: where the label looks further, it is null.

    Returns
    -------
    DataFrame
        The spine's columns, the label, and ``label_until`` (last day that it looks at). As many rows as the spine; of a null key the
        label is null.

    Raises
    ------
    ColumnError, ConfigError
    """
    check_names(spine, "the spine")
    where = f"the events of label '{label.name}'"
    types, own = dict(spine.dtypes), dict(events.dtypes)
    spec.model_copy(update={"label": None}).check(types)
    for name in (label.name, "label_until"):
        if name.lower() in (column.lower() for column in spine.columns):
            raise ConfigError(f"the spine has a column '{name}' already; give the label another name, or leave that column out")
    spine_keys = label.keys or spec.keys
    keys = tuple(label.table_keys.get(key, key) for key in spine_keys)
    zone = label.event_time_zone or spec.time_zone
    Events(keys=keys, time=event_time, time_zone=spec.time_zone, event_time_zone=zone).check(own, where)
    for key in spine_keys:
        if key not in types:
            raise ColumnError.missing(key, types, "the spine")
        check_key(key, types[key], "the spine")
    dtypes = [common_type(key, types[key], column, own[column], where) for key, column in zip(spine_keys, keys, strict=True)]
    by_key = [f"k{i}" for i in range(len(keys))]
    told = F.lit(1) if label.value is None else F.expr(finite(label.value, _number(label, own, where)))
    counted = events if label.where is None else events.where(predicate_column(events, label.where, of=where))
    day = local_day_column(event_time, own[event_time], spec.time_zone, zone)
    daily = (
        counted.select(
            *(F.col(quoted(column)).cast(dtype).alias(k) for column, dtype, k in zip(keys, dtypes, by_key, strict=True)),
            F.unix_date(day).alias("day"),
            told.alias("told"),
        )
        .where(" and ".join(f"{name} is not null" for name in (*by_key, "day")))
        .groupBy(*by_key, "day")
        .agg(F.sum("told").alias("told"))
        .withColumn("spread", F.lit(0).cast("bigint"))
    )
    values = [F.col(quoted(key)).cast(dtype) for key, dtype in zip(spine_keys, dtypes, strict=True)]
    no_key = F.lit(False)
    for value in values:
        no_key |= value.isNull()
    begins = F.floor((local_micros(instant_of(spec, spine) - 1, spec.time_zone)) / F.lit(MICROSECONDS_A_DAY)).cast("int") + F.lit(1)
    place = {name: f"c{i}" for i, name in enumerate(spine.columns)}
    rows = spine.select(
        *(value.alias(k) for value, k in zip(values, by_key, strict=True)),
        begins.alias("day"),
        F.when(no_key, F.monotonically_increasing_id() % SPREADS).otherwise(F.lit(0).cast("bigint")).alias("spread"),
        F.struct(*(_column(name).alias(place[name]) for name in spine.columns)).alias("spine"),
        no_key.alias("no_key"),
    )
    after = Window.partitionBy(*by_key, "spread").orderBy("day").rangeBetween(0, label.horizon_days - 1)
    summed = rows.unionByName(daily, allowMissingColumns=True).select("spine", "no_key", "day", F.sum("told").over(after).alias("told"))
    until = F.date_from_unix_date(F.col("day") + F.lit(label.horizon_days - 1))
    known = ~F.col("no_key") if complete_through is None else ~F.col("no_key") & (until <= F.lit(complete_through))
    return summed.where("spine is not null").select(
        *(F.col("spine")[place[name]].alias(name) for name in spine.columns),
        F.when(known, _value(label, dict(summed.dtypes)["told"])).alias(label.name),
        until.alias("label_until"),
    )


def _value(label: AnyLabel, dtype: str) -> Column:
    if isinstance(label, EventWithin):
        return F.col("told").isNotNull()
    return F.coalesce("told", F.lit(0).cast(dtype))


def _number(label: AnyLabel, own: dict[str, str], where: str) -> str:
    assert isinstance(label, EventSum)
    if label.column not in own:
        raise ColumnError.missing(label.column, own, where)
    dtype = own[label.column]
    if dtype not in NUMBERS and not dtype.startswith("decimal"):
        raise ColumnError(f"column '{label.column}' in {where} is {dtype}; a sum needs a number")
    return dtype


def _column(name: str) -> Column:
    return F.col(quoted(name))


def _day(events: DataFrame, spec: Events) -> Column:
    return local_day_column(spec.time, dict(events.dtypes)[spec.time], spec.time_zone, spec.event_time_zone)


def _has_keys(spec: Events) -> Column:
    there = F.lit(True)
    for key in spec.keys:
        there &= F.col(quoted(key)).isNotNull()
    return there


def _instant(moment: datetime) -> Column:
    from sparkds.days import microseconds

    return F.timestamp_micros(F.lit(microseconds(moment)))
