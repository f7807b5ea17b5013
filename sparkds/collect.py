"""The door: the only place where rows come to the driver, and only a few of them.

Takes small aggregated frames and gives plain values; a frame that is not small is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import functions as F

from sparkds.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
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


def small_table(frame: DataFrame, *, most: int = MOST_ROWS) -> pa.Table:
    """Rows of a small frame as an Arrow table; refuses as `small_rows` does."""
    table: pa.Table = frame.limit(most + 1).toArrow()
    if table.num_rows > most:
        raise DataError(f"more than {most} rows would come to the driver; aggregate them before")
    return table


def training_rows(frame: DataFrame, *, most: int) -> pa.Table:
    """Rows of a training sample as an Arrow table; the only frame of row grain that may come to the driver.

    Parameters
    ----------
    frame : DataFrame
        Sampled before, by a seeded hash.
    most : int
        Declared limit; 1 M rows of 20 doubles are 160 MB here, and about three times that while a model is fitted.

    Raises
    ------
    DataError
        There are more rows; lower the share of the sample.
    """
    table = frame.limit(most + 1).toArrow()
    if table.num_rows > most:
        raise DataError(f"the training sample has more than the declared {most} rows; sample fewer, or raise max_train_rows")
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


def first_changed_day(before: DataFrame, after: DataFrame, days: Sequence[tuple[date, date]]) -> date | None:
    """First ``day`` inside `days` on which two frames of the same columns have other rows; None when there is none.

    Rows are compared by their number and an order-free 64-bit digest of all columns.
    """
    inside = F.lit(False)
    for low, high in days:
        inside |= F.col("day").between(F.lit(low), F.lit(high))
    columns = [F.col("`" + name.replace("`", "``") + "`") for name in sorted(after.columns)]
    # a hash passes over nulls, so every column is hashed with its place first: a null and a value may not change places unseen
    digest = F.xxhash64(*(F.xxhash64(F.lit(place), column) for place, column in enumerate(columns))).alias("digest")
    sides = (
        before.where(inside)
        .select("day", digest, F.lit(True).alias("old"))
        .unionAll(after.where(inside).select("day", digest, F.lit(False).alias("old")))
    )
    by_day = sides.groupBy("day").agg(
        *(F.count_if(F.col("old") == side).alias(f"n_{side}") for side in (True, False)),
        *(F.bit_xor(F.when(F.col("old") == side, F.col("digest"))).alias(f"digest_{side}") for side in (True, False)),
    )
    same = (F.col("n_True") == F.col("n_False")) & F.col("digest_True").eqNullSafe(F.col("digest_False"))
    changed: date | None = one_row(by_day.where(~same).agg(F.min("day").alias("day")))["day"]
    return changed
