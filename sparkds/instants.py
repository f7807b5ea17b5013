"""Instants: the time of an event as microseconds and as a local day, whatever the session's time zone is.

Takes columns of type timestamp, date, or timestamp without zone, and gives expressions.
"""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F

from sparkds.sql import quoted

MICROSECONDS_A_DAY: Final = 86_400_000_000
MICROSECONDS_AN_HOUR: Final = 3_600_000_000


def local_day_column(column: str, dtype: str, zone: str, source_zone: str | None) -> Column:
    """Local calendar day (date) of an event time, whatever the session's time zone is."""
    if dtype == "date":
        return F.col(quoted(column))
    if dtype == "timestamp_ntz" and zone == source_zone:
        return F.col(quoted(column)).cast("date")
    instant = F.timestamp_micros(instant_column(column, dtype, source_zone))
    local = F.unix_micros(F.from_utc_timestamp(instant, zone))
    return F.date_from_unix_date(F.floor(local / F.lit(MICROSECONDS_A_DAY)).cast("int"))


def local_hour_column(column: str, dtype: str, zone: str, source_zone: str | None) -> Column:
    """Hour 0 … 23 of the local clock at an event time (timestamp, with or without zone), whatever the session's time zone is."""
    instant = F.timestamp_micros(instant_column(column, dtype, source_zone))
    local = F.unix_micros(F.from_utc_timestamp(instant, zone))
    return F.floor(F.pmod(local, F.lit(MICROSECONDS_A_DAY)) / F.lit(MICROSECONDS_AN_HOUR)).cast("int")


def instant_column(column: str, dtype: str, source_zone: str | None) -> Column:
    """Microseconds since 1970-01-01T00:00Z; of a date, of its midnight in UTC."""
    if dtype == "timestamp":
        return F.unix_micros(F.col(quoted(column)))
    if dtype == "date":
        return F.unix_date(F.col(quoted(column))).cast("bigint") * F.lit(MICROSECONDS_A_DAY)
    wall = F.expr(f"timestampdiff(MICROSECOND, timestamp_ntz'1970-01-01', {quoted(column)})")
    return F.unix_micros(F.to_utc_timestamp(F.timestamp_micros(wall), str(source_zone)))


def day_start_column(column: str, dtype: str, zone: str) -> Column:
    """As `instant_column`, but a date is the first instant of that local day of `zone`."""
    if dtype != "date":
        return instant_column(column, dtype, zone)
    wall = F.timestamp_micros(instant_column(column, dtype, None))
    return F.unix_micros(F.to_utc_timestamp(wall, zone))
