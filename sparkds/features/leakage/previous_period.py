"""Previous period: the same entity's features one row back, beside those of the row itself.

Takes a frame and gives a lazy one; one exchange by key, whatever the number of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from sparkds.features.leakage.overlap import row_hash
from sparkds.instants import MICROSECONDS_A_DAY
from sparkds.sql import quoted

BEFORE: Final = "one period back: "
"""Put ahead of a feature's name for its value of the previous period."""


def lagged_frame(
    frame: DataFrame, *, keys: Sequence[str], time: Column, label: str, features: Sequence[str], most_days: int | None = None
) -> DataFrame:
    """Rows that have a previous one of the same entity, with the features of both.

    Rows of one entity at one instant are no period apart: of these, the first in the order of a hash has the row before them, the
    others are left out.

    Parameters
    ----------
    frame : DataFrame
    keys : sequence of str
        Rows with a null key are left out.
    time : Column
        Instant in microseconds; rows without are left out.
    label : str
    features : sequence of str
    most_days : int, optional
        A previous row that is older is none.

    Returns
    -------
    DataFrame
        Lazy: the label, the features, and the features of the previous row under `BEFORE` and their name. One exchange and one sort.
    """
    names = (label, *features)
    plain = frame.select(
        *(F.col(quoted(key)).alias(f"k{i}") for i, key in enumerate(keys)),
        time.alias("at"),
        row_hash(names).alias("tie"),
        *(F.col(quoted(name)).alias(f"c{i}") for i, name in enumerate(names)),
    )
    of_key = [f"k{i}" for i in range(len(keys))]
    known = F.col("at").isNotNull()
    for key in of_key:
        known &= F.col(key).isNotNull()
    values = [f"c{i}" for i in range(1, len(names))]
    in_time = Window.partitionBy(*of_key).orderBy("at", "tie")
    both = plain.where(known).select(
        "at", *(f"c{i}" for i in range(len(names))), F.lag(F.struct("at", *values)).over(in_time).alias("before")
    )
    apart = F.col("at") - F.col("before.at")
    near = apart > 0
    if most_days is not None:
        near &= apart <= F.lit(most_days * MICROSECONDS_A_DAY)
    return both.where(near).select(
        F.col("c0").alias(label),
        *(F.col(value).alias(name) for value, name in zip(values, features, strict=True)),
        *(F.col(f"before.{value}").alias(BEFORE + name) for value, name in zip(values, features, strict=True)),
    )
