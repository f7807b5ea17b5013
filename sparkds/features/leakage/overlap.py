"""Overlap: which entities, rows and categories stand on both sides of a split, by hashes that never leave the engine.

Takes a frame with the part of each row and gives counts; one scan and one exchange for entities and rows, and one for categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.features.leakage.overview import PART
from sparkds.features.leakage.states import Categories, Overlap
from sparkds.sql import quoted


def row_hash(names: Sequence[str]) -> Column:
    """64-bit hash of values in their order; null counts as a value of its own.

    Spark's hash of several columns passes over nulls, so that ``(1, null)`` and ``(null, 1)`` would be one row: which values are null is
    hashed too.
    """
    columns = [F.col(quoted(name)) for name in names]
    nulls = F.concat(*(F.when(column.isNull(), F.lit("1")).otherwise(F.lit("0")) for column in columns))
    return F.xxhash64(nulls, *columns)


def overlap_frame(
    frame: DataFrame, *, train: str, test: str, keys: Sequence[str], name: Sequence[str], content: Sequence[str]
) -> DataFrame:
    """Counts of `Overlap` as one row; lazy, one exchange of two hashes a row.

    Every row is put under the hash of its entity, of its content (features and label), and of its content with its name (all other
    columns). Hashes have 64 bits: two of n different rows share one with probability below ``n² / 2^65``, 3e-4 for 100 million.

    Parameters
    ----------
    frame : DataFrame
        With the column `PART`; rows of other parts are left out.
    train, test : str
    keys : sequence of str
        Of the entity; rows with a null key are no entity.
    name : sequence of str
        The other columns of a row: keys, time, and what is no feature.
    content : sequence of str
        Features and label.
    """
    part = F.col(quoted(PART))
    no_key = F.lit(False)
    for key in keys:
        no_key |= F.col(quoted(key)).isNull()
    entries = F.array(
        F.struct(F.lit("entity").alias("what"), F.when(~no_key, row_hash(keys)).alias("hash"), F.lit(0).cast("bigint").alias("name")),
        F.struct(F.lit("row").alias("what"), row_hash(content).alias("hash"), row_hash(name).alias("name")),
    )
    rows = frame.where(part.isin(train, test)).select((part == F.lit(train)).alias("trains"), F.explode(entries).alias("at"))
    # brought together by hash, so that neither grouping needs an exchange of its own
    gathered = rows.select("trains", "at.*").where("hash is not null").repartition("what", "hash")
    of_name = gathered.groupBy("what", "hash", "name").agg(
        F.count_if("trains").alias("n_train"), F.count_if(~F.col("trains")).alias("n_test")
    )
    both = (F.col("n_train") > 0) & (F.col("n_test") > 0)
    of_hash = of_name.groupBy("what", "hash").agg(
        F.sum("n_train").alias("n_train"),
        F.sum("n_test").alias("n_test"),
        F.sum(F.when(both, F.col("n_test")).otherwise(F.lit(0))).alias("n_same"),
    )
    known, row = F.col("what") == F.lit("entity"), F.col("what") == F.lit("row")
    trains, tests = F.col("n_train") > 0, F.col("n_test") > 0

    def total(condition: Column, column: str) -> Column:
        return F.coalesce(F.sum(F.when(condition, F.col(column))), F.lit(0)).cast("bigint")

    return of_hash.agg(
        F.count_if(known & trains).alias("n_entities_train"),
        F.count_if(known & tests).alias("n_entities_test"),
        F.count_if(known & trains & tests).alias("n_entities_both"),
        total(known & trains & tests, "n_test").alias("n_rows_of_both"),
        total(row, "n_same").alias("n_duplicates"),
        (total(row & trains, "n_test") - total(row, "n_same")).alias("n_copied"),
        total(row & (F.col("n_train") > 1), "n_train").alias("n_repeated_train"),
        total(row, "n_train").alias("n_train"),
        total(row, "n_test").alias("n_test"),
    )


def read_overlap(counts: DataFrame) -> Overlap:
    """Bring the row of `overlap_frame` to the driver; the action that runs the pass."""
    return Overlap(**collect.one_row(counts).asDict())


def categories_frame(frames: Sequence[DataFrame], *, train: str, parts: Sequence[str], texts: Sequence[str]) -> DataFrame:
    """Counts of `Categories` by column and part; lazy.

    Parameters
    ----------
    frames : sequence of DataFrame
        With the columns `texts` (texts or truth values) and `PART`.
    train : str
    parts : sequence of str
        Those that are compared with the training part.
    texts : sequence of str
        At least one.
    """
    listed: DataFrame | None = None
    for frame in frames:
        entries = F.array(
            *(F.struct(F.lit(i).alias("i"), F.col(quoted(text)).cast("string").alias("value")) for i, text in enumerate(texts))
        )
        told = frame.select(F.col(quoted(PART)).alias("part"), F.explode(entries).alias("at")).where(F.col("part").isin(train, *parts))
        told = told.where("at.value is not null")
        listed = told if listed is None else listed.unionAll(told)
    assert listed is not None
    numbered = {part: f"n{k}" for k, part in enumerate((train, *parts))}
    by_value = listed.groupBy(F.col("at.i").alias("i"), F.col("at.value").alias("value")).agg(
        *(F.count_if(F.col("part") == F.lit(part)).alias(n) for part, n in numbered.items())
    )
    measures = [F.sum("n0").alias("n_train"), *(F.count_if(F.col("n0") == times).alias(f"times_{times}") for times in (1, 2))]
    for n in list(numbered.values())[1:]:
        unseen = (F.col("n0") == 0) & (F.col(n) > 0)
        measures += [
            F.sum(n).alias(n),
            F.sum(F.when(unseen, F.col(n)).otherwise(F.lit(0))).alias(f"unseen_{n}"),
            F.count_if(unseen).alias(f"values_{n}"),
            F.min(F.when(unseen, F.col("value"))).alias(f"example_{n}"),
        ]
    return by_value.groupBy("i").agg(*measures)


def read_categories(counts: DataFrame, *, parts: Sequence[str], texts: Sequence[str]) -> list[Categories]:
    """Bring the rows of `categories_frame` to the driver; the action that runs the pass. A text without a value has none."""
    found: list[Categories] = []
    rows: dict[int, Any] = {row["i"]: row for row in collect.small_rows(counts)}
    for i, text in enumerate(texts):
        if i not in rows:
            continue
        row = rows[i]
        for k, part in enumerate(parts, 1):
            example = row[f"example_n{k}"] or ""
            figures = (row[f"n{k}"], row[f"unseen_n{k}"], row[f"values_n{k}"])
            found.append(Categories(text, part, *figures, example[:80], row["n_train"], row["times_1"], row["times_2"]))
    return found
