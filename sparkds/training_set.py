"""Training set: features of month-ends from the feature table, and who buys within a horizon after them.

Takes the tables ``features`` and ``transactions`` and writes ``training_set``; a row knows nothing that happened after its ``as_of``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparkds import collect
from sparkds.errors import ConfigError, DataError
from sparkds.tables import Tables, TableSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def label_name(horizon_days: int) -> str:
    """Column of the label.

    Examples
    --------
    >>> label_name(90)
    'buys_in_90_days'
    """
    return f"buys_in_{horizon_days}_days"


def write_training_set(spark: SparkSession, *, raw: str, tables: str, horizon_days: int) -> tuple[int, int, int]:
    """Write ``training_set``: features of every month-end whose horizon is over, with the label; rows, positives and days.

    The label is whether the customer buys on one of the days of the horizon, from the day after the snapshot's on; no feature knows of
    these. Horizons are over that end on the newest complete day of the features or before it.

    Parameters
    ----------
    spark : SparkSession
    raw : str
        Location of the table ``transactions`` (``customer_id``, ``date``).
    tables : str
        Location of the table ``features`` (``customer_id``, ``as_of``, ``complete``, the features), and of the one that is written.
    horizon_days : int
        At least 1.

    Raises
    ------
    ConfigError
        The horizon is not at least a day.
    DataError
        No month-end of the features has a horizon that is over.

    Examples
    --------
    >>> write_training_set(spark, raw="data", tables="tables", horizon_days=90)  # doctest: +SKIP
    (235700, 38641, 10)
    """
    from pyspark.sql import functions as F

    if horizon_days < 1:
        raise ConfigError(f"a horizon has at least one day, this has {horizon_days}")
    at, label = Tables(spark, tables), label_name(horizon_days)
    stored = at.read("features").where("complete")
    newest = collect.one_row(stored.agg(F.max("as_of").alias("newest")))["newest"]
    until = F.date_add("as_of", horizon_days)
    features = stored.where((F.col("as_of") == F.last_day("as_of")) & (until <= F.lit(newest)))
    bought = Tables(spark, raw).read("transactions", schema="customer_id string, date date, cds int, amount decimal(10,2)")
    spine = features.select("customer_id", "as_of")
    later = spine.join(bought.select("customer_id", "date"), "customer_id").where(
        (F.col("date") > F.col("as_of")) & (F.col("date") <= until)
    )
    labels = later.select("customer_id", "as_of").distinct().withColumn(label, F.lit(True))
    told = features.join(labels, ["customer_id", "as_of"], "left").fillna(False, [label]).withColumn("label_until", until)
    count = F.count(F.lit(1)).alias("n"), F.count_if(label).alias("bought"), F.countDistinct("as_of").alias("days")
    row = collect.one_row(told.agg(*count))
    if not row["n"]:
        wanted = f"no month-end of 'features' is {horizon_days} days before {newest}, its newest complete day"
        raise DataError(f"{wanted}; compute older ones (a backfill)")
    spec = TableSpec(
        comment="Features of month-ends, and who buys afterwards",
        columns={
            label: "whether the customer buys from the day after as_of to label_until, both included",
            "label_until": "last day that the label looks at",
        },
        keys=("customer_id", "as_of"),
    )
    at.replace("training_set", told, rows=None, metadata={"sources": {"features": str(at.version("features"))}}, spec=spec)
    return int(row["n"]), int(row["bought"]), int(row["days"])
