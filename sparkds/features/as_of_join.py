"""As-of join: for every row of a spine the last row of each feature table that was known at its instant.

Takes a spine and feature tables as DataFrames and gives a lazy DataFrame after one exchange per set of keys, whatever the number of
tables: their rows and the spine's are put below each other, sorted by key and instant, and the last row of each table is carried down.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from sparkds.days import microseconds
from sparkds.errors import ColumnError
from sparkds.features.point_in_time import ResolvedTable, Spine, TrainingSet
from sparkds.instants import MICROSECONDS_A_DAY, day_start_column
from sparkds.predicates import predicate_column
from sparkds.sql import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

SPINE: Final = "spine"
AT: Final = "at"
TAG: Final = "tag"
SPREAD: Final = "spread"
ROW: Final = "row"
SPREADS: Final = 1_024
"""Rows of the spine with a null key find nothing, so they are dealt out to so many groups instead of one."""
TWO_DAYS: Final = timedelta(days=2)


def training_set_frame(
    spec: TrainingSet, spine: DataFrame, tables: Mapping[str, DataFrame], *, times: tuple[datetime, datetime] | None = None
) -> DataFrame:
    """Values of the feature tables as they were known at each row of the spine.

    A row at t takes of each table the last row of its key with ``known_at <= t``, the instant t itself included. Keys are compared
    column by column; a null key finds nothing. Rows of the spine that are the same stay as many as they are.

    Parameters
    ----------
    spec : TrainingSet
    spine : DataFrame
    tables : mapping of str to DataFrame
        By `FeatureTable.label`.
    times : (datetime, datetime), optional
        First and last instant of the spine, if they are known: what no row can take is not read.

    Returns
    -------
    DataFrame
        Lazy. The spine's columns, then the features of each table in the order of the declaration (null where no row was found), then
        ``<table>_known_at`` of each (timestamp, null where no row was found). As many rows as the spine. One scan of each table and one
        exchange per set of keys; with ``spec.keep_order`` one more.

    Raises
    ------
    ColumnError, ConfigError
        The columns do not fit; nothing is scanned.
    PySparkException
        When it is computed: two rows of a table have one key and one instant and no tie column tells them apart. Written by
        `sparkds.tables`, it is a `DataError`.

    Examples
    --------
    >>> training_set_frame(spec, spine, {"features": features})  # doctest: +SKIP
    """
    check_names(spine, "the spine")
    for label, frame in tables.items():
        check_names(frame, f"feature table '{label}'")
    resolved = spec.resolved(dict(spine.dtypes), {label: dict(frame.dtypes) for label, frame in tables.items()})
    names = spine.columns
    place = {name: f"c{i}" for i, name in enumerate(names)}
    current = spine.select(
        F.struct(*(F.col(quoted(name)).alias(place[name]) for name in names)).alias(SPINE),
        instant_of(spec.spine, spine).alias(AT),
        *([F.monotonically_increasing_id().alias(ROW)] if spec.keep_order else []),
    )
    for group in _by_keys(resolved):
        rows = {i: _table_rows(i, table, tables[table.spec.label], times) for i, table in group.items()}
        current = _joined(current, group, rows, place)
    if spec.keep_order:
        current = current.orderBy(ROW)
    young = [_young_enough(i, table, spec.spine.time_zone).alias(_payload(i)) for i, table in enumerate(resolved)]
    return current.select(SPINE, AT, *young).select(
        *(F.col(SPINE)[place[name]].alias(name) for name in names),
        *(column for i, table in enumerate(resolved) for column in _feature_columns(i, table, spec.spine.time_zone)),
        *(F.timestamp_micros(F.col(_payload(i))[AT]).alias(table.spec.known_at_column) for i, table in enumerate(resolved)),
    )


def instant_of(spine: Spine, frame: DataFrame) -> Column:
    """Microseconds since 1970-01-01T00:00Z of each row's instant."""
    return day_start_column(spine.time, dict(frame.dtypes)[spine.time], spine.time_zone)


def check_names(frame: DataFrame, where: str) -> None:
    """Refuse two columns of one name, which could not be told apart.

    Raises
    ------
    ColumnError
    """
    seen: set[str] = set()
    for name in frame.columns:
        if name.lower() in seen:
            raise ColumnError(f"{where} has two columns named '{name}'; rename one")
        seen.add(name.lower())


def local_micros(at: Column, zone: str) -> Column:
    """Wall time of an instant in a zone, as microseconds."""
    return F.unix_micros(F.from_utc_timestamp(F.timestamp_micros(at), zone))


def _payload(i: int) -> str:
    return f"p{i}"


def _tie(i: int) -> str:
    return f"tie{i}"


def _by_keys(tables: Sequence[ResolvedTable]) -> list[dict[int, ResolvedTable]]:
    """Tables that share their keys together, whatever the order of these."""
    groups: dict[tuple[tuple[str, str], ...], dict[int, ResolvedTable]] = {}
    for i, table in enumerate(tables):
        groups.setdefault(tuple(sorted((key.spine, key.dtype) for key in table.keys)), {})[i] = table
    return list(groups.values())


def _table_rows(i: int, table: ResolvedTable, frame: DataFrame, times: tuple[datetime, datetime] | None) -> DataFrame:
    """Rows of a feature table that can be taken: keys, instant, and all that comes along."""
    spec = table.spec
    keys = sorted(table.keys)
    wanted = F.col(quoted(spec.known_at)).isNotNull()
    for key in keys:
        wanted &= F.col(quoted(key.table)).isNotNull()
    if times is not None:
        wanted &= _in_reach(table, times)
    if table.only_complete:
        wanted &= F.col("complete")
    if spec.where is not None:
        wanted &= predicate_column(frame, spec.where, of=f"feature table '{spec.label}'")
    at = day_start_column(spec.known_at, table.known_at_type, table.time_zone)
    if table.known_at_type == "date":  # known when the day is over
        after = F.date_add(F.col(quoted(spec.known_at)), 1)
        at = F.unix_micros(F.to_utc_timestamp(F.timestamp_micros(F.unix_date(after).cast("bigint") * MICROSECONDS_A_DAY), table.time_zone))
    payload = [F.col(quoted(feature.column)).alias(f"c{j}") for j, feature in enumerate(table.features)]
    return frame.where(wanted).select(
        *(F.col(quoted(key.table)).cast(key.dtype).alias(f"k{j}") for j, key in enumerate(keys)),
        F.lit(0).cast("bigint").alias(SPREAD),
        at.alias(AT),
        F.lit(i).alias(TAG),
        F.struct(at.alias(AT), *payload).alias(_payload(i)),
        *([] if spec.tie is None else [F.col(quoted(spec.tie)).alias(_tie(i))]),
    )


def _in_reach(table: ResolvedTable, times: tuple[datetime, datetime]) -> Column:
    """Rows that some row of a spine between two instants can take, said of the column as it is stored, so that files are skipped."""
    spec, (first, last) = table.spec, times
    column = F.col(quoted(spec.known_at))
    oldest = None if spec.lookback_days is None else first - timedelta(days=spec.lookback_days) - TWO_DAYS
    if table.known_at_type == "timestamp":
        reach = column <= F.timestamp_micros(F.lit(microseconds(last)))
        return reach if oldest is None else reach & (column >= F.timestamp_micros(F.lit(microseconds(oldest))))
    reach = column <= F.lit((last + TWO_DAYS).date())  # no two zones are two days apart
    return reach if oldest is None else reach & (column >= F.lit((oldest - TWO_DAYS).date()))


def _joined(current: DataFrame, group: Mapping[int, ResolvedTable], rows: Mapping[int, DataFrame], place: Mapping[str, str]) -> DataFrame:
    """One set of keys: the rows so far with the last known row of each of its tables; one exchange."""
    keys = sorted(next(iter(group.values())).keys)
    values = [F.col(SPINE)[place[key.spine]].cast(key.dtype) for key in keys]
    no_key = F.lit(False)
    for value in values:
        no_key |= value.isNull()
    kept = current.columns
    last_tag = max(group) + 1
    gathered = current.select(
        *(value.alias(f"k{j}") for j, value in enumerate(values)),
        F.when(no_key, F.monotonically_increasing_id() % SPREADS).otherwise(F.lit(0).cast("bigint")).alias(SPREAD),
        F.lit(last_tag).alias(TAG),  # behind every feature row of its instant, so that known_at = t counts
        *kept,
    )
    for frame in rows.values():
        gathered = gathered.unionByName(frame, allowMissingColumns=True)
    ties = [_tie(i) for i, table in group.items() if table.spec.tie is not None]
    by_key = [f"k{j}" for j in range(len(keys))]
    in_order = Window.partitionBy(*by_key, SPREAD).orderBy(AT, TAG, *ties)
    down = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    rank = F.struct(AT, TAG, *ties)
    found = gathered.select(
        *by_key,
        TAG,
        *kept,
        *(F.last(_payload(i), ignorenulls=True).over(down).alias(_payload(i)) for i in group),
        (F.lag(rank).over(in_order).eqNullSafe(rank) & (F.col(TAG) < F.lit(last_tag))).alias("repeated"),
    )
    refused = F.raise_error(_told_of_repetition(keys, by_key, group)).cast("boolean")
    is_spine = F.when(F.col("repeated"), refused).otherwise(F.col(TAG) == F.lit(last_tag))
    return found.where(is_spine).select(*kept, *(_payload(i) for i in group))


def _told_of_repetition(keys: Sequence[object], by_key: Sequence[str], group: Mapping[int, ResolvedTable]) -> Column:
    """What is wrong with two rows at one instant."""
    table = F.lit("")
    for i, resolved in group.items():
        spec = resolved.spec
        names = sorted(resolved.keys)
        told = F.concat_ws(", ", *(F.concat(F.lit(f"{key.table}="), F.col(k).cast("string")) for key, k in zip(names, by_key, strict=True)))
        hint = "name a tie column" if spec.tie is None else f"they are equal in the tie column '{spec.tie}' too; mend the table"
        day = F.date_from_unix_date(F.floor(F.col(AT) / MICROSECONDS_A_DAY).cast("int")).cast("string")
        sentence = F.concat(
            F.lit(f"feature table '{spec.label}' has two rows of one key and one {spec.known_at} ("),
            *(told, F.lit(", "), day, F.lit(f" in UTC); {hint}, or give one row per key and instant")),
        )
        table = F.when(F.col(TAG) == F.lit(i), sentence).otherwise(table)
    return table


def _young_enough(i: int, table: ResolvedTable, zone: str) -> Column:
    """Row that was found, null if it is too old."""
    days = table.spec.lookback_days
    if days is None:
        return F.col(_payload(i))
    wall = local_micros(F.col(AT), zone) - F.lit(days * MICROSECONDS_A_DAY)
    oldest = F.unix_micros(F.to_utc_timestamp(F.timestamp_micros(wall), zone))
    return F.when(F.col(_payload(i))[AT] >= oldest, F.col(_payload(i)))


def _feature_columns(i: int, table: ResolvedTable, zone: str) -> list[Column]:
    """Output columns of a table."""
    ended = F.floor(local_micros(F.col(AT), zone) / F.lit(MICROSECONDS_A_DAY)).cast("int") - F.lit(1)
    columns = []
    for j, feature in enumerate(table.features):
        value = F.col(_payload(i))[f"c{j}"]
        columns.append((ended - F.unix_date(value) if feature.is_days_since else value).alias(feature.name))
    return columns
