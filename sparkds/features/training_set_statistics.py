"""Statistics of training sets: how many rows a spine has, how many find a feature, and how old what they find is.

Takes the spine before and the training set after the join; each is one aggregation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.days import instant_of as instant_of_micros
from sparkds.errors import DataError
from sparkds.features.as_of_join import instant_of
from sparkds.features.point_in_time import ResolvedTable, Spine
from sparkds.hash_columns import rows_digest_column
from sparkds.hashing import rows_hash
from sparkds.instants import MICROSECONDS_A_DAY
from sparkds.sql import finite, quoted

STALENESS_EDGES: Final = (0, 1, 2, 7, 14, 30, 90, 180, 365)
"""Left edges of the bins of staleness, days of 24 hours; the last bin has no right edge."""


class SpineFacts(NamedTuple):
    """What one pass over keys, time and label found.

    Attributes
    ----------
    n_rows, n_null_key, n_null_label : int
    first, last : datetime
        Instants.
    spine_hash : str
        Of the rows' keys and instants, whatever their order; equal rows count as often as they are there.
    """

    n_rows: int
    n_null_key: int
    n_null_label: int
    first: datetime
    last: datetime
    spine_hash: str


def spine_facts(spec: Spine, spine: DataFrame) -> SpineFacts:
    """Look at a spine once, before anything is joined to it.

    Raises
    ------
    ColumnError
        A column is missing or of a type that does not fit.
    DataError
        The spine is empty, a row has no time, or the label has no value or one class only.
    """
    spec.check(dict(spine.dtypes))
    at = instant_of(spec, spine)
    no_key = F.lit(False)
    for key in spec.keys:
        no_key |= F.col(quoted(key)).isNull()
    label = F.lit(None).cast("int") if spec.label is None else F.col(quoted(spec.label))
    told = spine.select(at.alias("at"), no_key.alias("no_key"), label.alias("label"), F.xxhash64(*map(_key, spec.keys), at).alias("place"))
    row = collect.one_row(
        told.agg(
            F.count(F.lit(1)).alias("n"),
            F.count("at").alias("n_at"),
            F.count_if("no_key").alias("n_no_key"),
            F.count("label").alias("n_label"),
            F.min("label").cast("string").alias("low"),
            F.max("label").cast("string").alias("high"),
            F.min("at").alias("first"),
            F.max("at").alias("last"),
            rows_digest_column(F.col("place")).alias("digest"),
        )
    )
    n = int(row["n"])
    if not n:
        raise DataError("the spine has no row; there is nothing to join features to")
    if row["n_at"] < n:
        raise DataError(f"{n - row['n_at']} of {n} rows of the spine have no time in '{spec.time}'; mend them, or leave them out before")
    if spec.label is not None:
        if not row["n_label"]:
            raise DataError(f"none of {n} rows of the spine has a label in '{spec.label}'; look at how it was made")
        if row["low"] == row["high"]:
            raise DataError(
                f"label '{spec.label}' is {row['low']} in all {row['n_label']} rows of the spine that have one; "
                "with one class nothing is learnt: take other rows, or another horizon"
            )
    digest = rows_hash(n, int(row["digest"]))
    n_null_label = 0 if spec.label is None else n - int(row["n_label"])
    return SpineFacts(n, int(row["n_no_key"]), n_null_label, instant_of_micros(row["first"]), instant_of_micros(row["last"]), digest)


class FeatureStatistics(NamedTuple):
    """How much of a feature a training set has.

    Attributes
    ----------
    feature_table, feature : str
    n_rows : int
        Of the training set.
    n_matched : int
        Rows for which the feature table had a row that was known and not too old.
    match_rate : float
        Share of the rows, in [0, 1].
    n_values : int
        Rows with a value: matched, not null, not NaN and not infinite.
    value_rate : float
        Share of the rows, in [0, 1].
    staleness : list of (low_days, high_days, n)
        Rows with a value by the days of 24 hours from ``known_at`` to t, ``low <= days < high``; no `high` in the last bin.
    """

    feature_table: str
    feature: str
    n_rows: int
    n_matched: int
    match_rate: float
    n_values: int
    value_rate: float
    staleness: list[tuple[int, int | None, int]]


STATISTICS_SCHEMA: Final = (
    "feature_table string, feature string, n_rows bigint, n_matched bigint, match_rate double, n_values bigint, value_rate double, "
    "staleness array<struct<low_days: int, high_days: int, n: bigint>>"
)


def feature_statistics(spec: Spine, tables: tuple[ResolvedTable, ...], frame: DataFrame) -> list[FeatureStatistics]:
    """Match rates and staleness of every feature of a training set, in one aggregation.

    Parameters
    ----------
    spec : Spine
    tables : tuple of ResolvedTable
        Of `TrainingSet.resolved`.
    frame : DataFrame
        Training set.
    """
    at = instant_of(spec, frame)
    bins = [
        F.coalesce(_bin(at - F.unix_micros(_key(table.spec.known_at_column))), F.lit(-1)).alias(f"b{i}") for i, table in enumerate(tables)
    ]
    features = [(i, feature) for i, table in enumerate(tables) for feature in table.features]
    types = dict(frame.dtypes)
    values = [F.expr(finite(feature.name, types[feature.name])).isNotNull().alias(f"v{j}") for j, (_, feature) in enumerate(features)]
    names = [f"b{i}" for i in range(len(tables))]
    counts = [F.count(F.lit(1)).alias("n"), *(F.count_if(f"v{j}").alias(f"v{j}") for j in range(len(features)))]
    told = frame.select(*bins, *values)
    by_bin = told.groupBy(*names) if len(names) == 1 else told.groupingSets([[F.col(name)] for name in names], *map(F.col, names))
    rows = collect.small_rows(by_bin.agg(*counts))
    return [
        _of_feature(i, tables[i].spec.label, j, feature.name, [r for r in rows if r[f"b{i}"] is not None])
        for j, (i, feature) in enumerate(features)
    ]


def _of_feature(i: int, table: str, j: int, feature: str, rows: list[Any]) -> FeatureStatistics:
    n = sum(row["n"] for row in rows)
    matched = [row for row in rows if row[f"b{i}"] >= 0]
    n_matched = sum(row["n"] for row in matched)
    in_bin = {row[f"b{i}"]: row[f"v{j}"] for row in matched}
    n_values = sum(in_bin.values())
    highs = (*STALENESS_EDGES[1:], None)
    staleness = [(low, high, in_bin.get(b, 0)) for b, (low, high) in enumerate(zip(STALENESS_EDGES, highs, strict=True))]
    return FeatureStatistics(table, feature, n, n_matched, n_matched / n if n else 0.0, n_values, n_values / n if n else 0.0, staleness)


def _bin(micros: Column) -> Column:
    """Number of the bin of a staleness; null where there is none."""
    number = F.lit(0)
    for edge in STALENESS_EDGES[1:]:
        number += (micros >= F.lit(edge * MICROSECONDS_A_DAY)).cast("int")
    return number


def _key(name: str) -> Column:
    return F.col(quoted(name))
