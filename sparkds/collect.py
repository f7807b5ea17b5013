"""The door: the only place where rows come to the driver, and only a few of them.

Takes small aggregated frames and gives plain values; a frame that is not small is refused.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import functions as F

from sparkds.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame as PandasFrame
    from pyspark.sql import Column, DataFrame

MOST_ROWS: Final = 100_000


def small_rows(frame: DataFrame, *, most: int = MOST_ROWS) -> list[Any]:
    """Rows of a small frame.

    Raises
    ------
    DataError
        There are more than `most` rows; an aggregation is missing.
    """
    rows = frame.limit(most + 1).collect()
    if len(rows) > most:
        raise DataError(f"more than {most} rows would come to the driver; aggregate them before")
    return rows


def small_pandas(frame: DataFrame, *, most: int = MOST_ROWS) -> PandasFrame:
    """Rows of a small frame as pandas, for figures and printed tables; refuses as `small_rows` does."""
    table = frame.limit(most + 1).toPandas()
    if len(table) > most:
        raise DataError(f"more than {most} rows would come to the driver; aggregate them before")
    return table


def one_row(frame: DataFrame) -> Any:
    """The row of an aggregated frame that has exactly one."""
    (row,) = small_rows(frame, most=1)
    return row


def largest_day(frame: DataFrame, day: Column, *, until: date) -> date | None:
    """Latest day up to `until`; None when there is none. Reads only what `day` needs."""
    found = one_row(frame.select(day.alias("day")).where(F.col("day") <= F.lit(until)).agg(F.max("day").alias("day")))
    day_found: date | None = found["day"]
    return day_found


def days_in(frame: DataFrame, day: Column) -> list[date]:
    """Different days of a frame, ascending, without null."""
    rows = small_rows(frame.select(day.alias("day")).where(F.col("day").isNotNull()).distinct())
    return sorted(row["day"] for row in rows)


def day_digests(frame: DataFrame) -> dict[date, tuple[int, int]]:
    """Number of rows and an order-free digest of all columns, for every ``day`` of a frame."""
    digest = F.bit_xor(F.xxhash64(*(F.col("`" + name.replace("`", "``") + "`") for name in sorted(frame.columns))))
    rows = small_rows(frame.groupBy("day").agg(F.count(F.lit(1)).alias("n"), digest.alias("digest")))
    return {row["day"]: (row["n"], row["digest"]) for row in rows}
