"""Training sample: the rows of a table that come to the driver for training, as arrays in an order that their keys decide.

Takes a frame with the column ``split`` and gives counts of it, a seeded hash sample, and rows in memory. Numbers are doubles, NaN and
infinities are missing; a row is in the sample because of its key alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.hash_columns import bucket_column
from sparkds.hashing import BUCKETS
from sparkds.models.estimators import FeatureColumns, Task
from sparkds.models.split_columns import day_column, entity_column
from sparkds.models.splits import PARTS, AnyFolds, ExpandingFolds, HashFolds
from sparkds.models.training import TrainingRows
from sparkds.sql import finite, quoted

if TYPE_CHECKING:
    from pyarrow import Table as ArrowTable

NUMBERS: Final = ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean")
MOST_CLASSES: Final = 100
Positive = str | int | float | bool


class LabelCounts(NamedTuple):
    """What one pass over keys, label and split found.

    Attributes
    ----------
    n : dict of part to int
        Rows with a label; the part of rows that are in none is "".
    n_positive : dict of part to int
        Of a binary task.
    n_no_label : int
    classes : tuple of str
        Texts of the negative and the positive class; empty for regression.
    spine_hash : str
        Number of labelled rows and exclusive or of the 64-bit hashes of their keys, whatever their order; empty without keys.
    """

    n: dict[str, int]
    n_positive: dict[str, int]
    n_no_label: int
    classes: tuple[str, ...]
    spine_hash: str = ""

    @property
    def n_used(self) -> int:
        """Rows of train, validation and test."""
        return sum(self.n.get(part, 0) for part in PARTS)


def feature_columns(frame: DataFrame, features: Sequence[str]) -> FeatureColumns:
    """Features by kind; whole numbers, decimals and truth values are numbers.

    Raises
    ------
    ColumnError
        A column is absent, or of a type that is neither a number nor text.
    """
    types = dict(frame.dtypes)
    numbers, texts = [], []
    for name in features:
        if name not in types:
            raise ColumnError.missing(name, tuple(types), "the training table")
        if types[name] in NUMBERS or types[name].startswith("decimal"):
            numbers.append(name)
        elif types[name] == "string":
            texts.append(name)
        else:
            hint = (
                "give days or hours since something as a number"
                if types[name] in ("date", "timestamp", "timestamp_ntz")
                else "leave it out"
            )
            raise ColumnError(f"feature '{name}' is {types[name]}; a feature is a number, a truth value or text: {hint}, or derive one")
    return FeatureColumns(tuple(numbers), tuple(texts))


def label_column(frame: DataFrame, label: str, task: Task, positive: Positive | None) -> Column:
    """Label as a double: 1 or 0, or the number; null where there is none.

    Raises
    ------
    ColumnError
        The column is absent or of a type that is no label.
    ConfigError
        The positive class is not given, or is of another type than the column.
    """
    types = dict(frame.dtypes)
    if label not in types:
        raise ColumnError.missing(label, tuple(types), "the training table")
    kind, column = types[label], F.col(quoted(label))
    is_number = kind in NUMBERS[:-1] or kind.startswith("decimal")
    if task == "regression":
        if positive is not None:
            raise ConfigError("task regression has no positive class; leave `positive` out")
        if not is_number:
            raise ColumnError(f"label '{label}' is {kind}; regression needs a number")
        return F.expr(finite(label, kind)).cast("double")
    if positive is None:
        raise ConfigError("task binary needs `positive`: the value of the label that the model gives the probability of")
    fits = {"string": str, "boolean": bool}.get(kind, (int, float) if is_number else ())
    if not fits:
        raise ColumnError(f"label '{label}' is {kind}; a class is text, a number or a truth value")
    if not isinstance(positive, fits) or (isinstance(positive, bool) and kind != "boolean"):
        raise ConfigError(f"positive class {positive!r} is of another type than label '{label}', which is {kind}")
    told = F.expr(finite(label, kind))
    same = told.cast("double") == F.lit(float(positive)) if is_number else column == F.lit(positive)
    return F.when(told.isNotNull(), F.when(same, F.lit(1.0)).otherwise(F.lit(0.0)))


def label_counts(frame: DataFrame, label: str, task: Task, positive: Positive | None, *, keys: Sequence[str] = ()) -> LabelCounts:
    """Rows by part and class; one aggregation.

    Parameters
    ----------
    frame : DataFrame
        With the column ``split``.
    keys : sequence of str
        For the hash of the spine.

    Raises
    ------
    ColumnError, ConfigError
        As `label_column`.
    DataError
        No row has a label, the label has one class or more than two, or the positive class does not occur.
    """
    number = label_column(frame, label, task, positive)
    shown = F.col(quoted(label)).cast("string") if task == "binary" else F.lit("")
    place = F.xxhash64(*(F.col(quoted(key)) for key in keys)) if keys else F.lit(0).cast("bigint")
    told = frame.select(F.coalesce("split", F.lit("")).alias("part"), number.alias("label"), shown.alias("shown"), place.alias("place"))
    told = told.withColumn("shown", F.when(F.col("label").isNotNull(), F.col("shown")))
    by = told.groupBy("part", "shown").agg(
        F.count(F.lit(1)).alias("n"),
        F.count("label").alias("n_known"),
        F.max("label").alias("label"),
        F.bit_xor(F.when(F.col("label").isNotNull(), F.col("place"))).alias("place"),
    )
    rows = collect.small_rows(by.limit(4 * MOST_CLASSES + 1), most=4 * MOST_CLASSES + 1)
    n: dict[str, int] = {}
    n_positive: dict[str, int] = {}
    of_class: dict[str, float] = {}
    n_no_label, spine = 0, 0
    for row in rows:
        spine ^= row["place"] or 0
        n_no_label += row["n"] - row["n_known"]
        n[row["part"]] = n.get(row["part"], 0) + row["n_known"]
        if row["n_known"] and task == "binary":
            n_positive[row["part"]] = n_positive.get(row["part"], 0) + (row["n_known"] if row["label"] == 1 else 0)
            of_class[row["shown"]] = row["label"]
    if not sum(n.values()):
        raise DataError(f"none of {n_no_label} rows has a label in column '{label}'; look at how it was joined")
    if task == "binary":
        names = sorted(of_class)
        told_names = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        if len(names) != 2:
            raise DataError(
                f"label '{label}' has {len(names)} classes ({told_names}); binary needs two: derive a column, or take regression"
            )
        if set(of_class.values()) != {0.0, 1.0}:
            raise DataError(f"label '{label}' is never {positive!r}, the positive class; its classes are {told_names}")
    for part in PARTS:
        if not n.get(part):
            raise DataError(f"the split leaves no row with a label for {part} (rows: {n}); change its shares or days")
    classes = tuple(sorted(of_class, key=lambda name: of_class[name]))
    spine_hash = f"{sum(n.values())}:{spine & (2**64 - 1):016x}" if keys else ""
    return LabelCounts(n, n_positive, n_no_label, classes, spine_hash)


def sample_share(n: int, max_rows: int) -> float:
    """Share of n rows whose number stays below `max_rows` but once in a hundred million times; 1 if all fit.

    The sample is binomial, so six standard deviations are left free.

    Examples
    --------
    >>> sample_share(100, 1000), round(sample_share(10_000_000, 1_000_000), 4)
    (1.0, 0.0994)
    """
    return 1.0 if n <= max_rows else max(0.0, (max_rows - 6 * math.sqrt(max_rows)) / n)


def training_rows(
    frame: DataFrame,
    *,
    keys: Sequence[str],
    label: Column,
    features: FeatureColumns,
    share: float,
    max_rows: int,
    seed: int,
    folds: AnyFolds | None = None,
    weight: str | None = None,
) -> TrainingRows:
    """Hash sample of the labelled rows of all parts, in memory, ordered by hash and key.

    Parameters
    ----------
    frame : DataFrame
        With the column ``split``.
    keys : sequence of str
    label : Column
        Of `label_column`.
    features : FeatureColumns
    share : float
        Of the rows, in (0, 1].
    max_rows : int
        More are refused.
    seed : int
        Salt ``sample:<seed>``.
    folds : HashFolds or ExpandingFolds, optional
        Whose entity or day comes along.
    weight : str, optional
        Column of weights in training, positive.

    Raises
    ------
    ColumnError, DataError
    """
    sample = labelled_frame(frame, keys=keys, label=label, features=features, seed=seed, folds=folds, weight=weight)
    if share < 1:
        sample = sample.where(F.col("place") < F.lit(int(share * BUCKETS)))
    table = collect.training_rows(sample, most=max_rows)
    return in_memory(table, features, folds, weight)


def labelled_frame(
    frame: DataFrame,
    *,
    keys: Sequence[str],
    label: Column,
    features: FeatureColumns,
    seed: int,
    folds: AnyFolds | None = None,
    weight: str | None = None,
) -> DataFrame:
    """Labelled rows of all parts, in the columns that `in_memory` takes; arguments as of `training_rows`."""
    place = bucket_column(entity_column(frame, keys), f"sample:{seed}")
    types = dict(frame.dtypes)
    told = [
        place.alias("place"),
        entity_column(frame, keys).alias("key"),
        F.col("split"),
        label.alias("label"),
        (entity_column(frame, folds.by or keys) if isinstance(folds, HashFolds) else F.lit(None).cast("string")).alias("entity"),
        (day_column(folds, frame) if isinstance(folds, ExpandingFolds) else F.lit(None).cast("date")).alias("day"),
        weight_column(frame, weight).alias("weight"),
        *(F.expr(finite(name, types[name])).cast("double").alias(f"n{i}") for i, name in enumerate(features.numbers)),
        *(F.col(quoted(name)).alias(f"t{i}") for i, name in enumerate(features.texts)),
    ]
    return frame.select(*told).where(F.col("split").isin(*PARTS) & F.col("label").isNotNull())


def weight_column(frame: DataFrame, weight: str | None) -> Column:
    """Weight as a double; null where none is declared.

    Raises
    ------
    ColumnError
        The column is absent or not numeric.
    """
    if weight is None:
        return F.lit(None).cast("double")
    types = dict(frame.dtypes)
    if weight not in types:
        raise ColumnError.missing(weight, tuple(types), "the training table")
    if types[weight] not in NUMBERS[:-1] and not types[weight].startswith("decimal"):
        raise ColumnError(f"weight '{weight}' is {types[weight]}; a weight is a positive number")
    return F.col(quoted(weight)).cast("double")


def in_memory(table: ArrowTable, features: FeatureColumns, folds: AnyFolds | None, weight: str | None) -> TrainingRows:
    """Rows of `labelled_frame` in the order of hash and key."""
    import pandas as pd

    table = table.sort_by([("place", "ascending"), ("key", "ascending")])
    columns: dict[str, Any] = {name: _doubles(table[f"n{i}"]) for i, name in enumerate(features.numbers)}
    columns |= {name: np.array(table[f"t{i}"].to_pylist(), dtype=object) for i, name in enumerate(features.texts)}
    weights = None
    if weight is not None:
        weights = _doubles(table["weight"])
        if not (weights > 0).all() or np.isinf(weights).any():
            raise DataError(
                f"{int((~(weights > 0)).sum())} rows have a weight in '{weight}' that is null, NaN or not positive; mend or drop them"
            )
    return TrainingRows(
        pd.DataFrame(columns),
        _doubles(table["label"]),
        np.array(table["split"].to_pylist(), dtype=object),
        features,
        weights,
        table["entity"].to_pylist() if isinstance(folds, HashFolds) else (),
        table["day"].to_pylist() if isinstance(folds, ExpandingFolds) else (),
    )


def _doubles(column: Any) -> Any:
    """Doubles with NaN for null, in an array of their own."""
    return np.array(column.to_numpy(), dtype=np.float64)


def check_keys(frame: DataFrame, keys: Sequence[str]) -> None:
    """Hold that every key is there once and not null; one exchange by key.

    Raises
    ------
    DataError
        With one of the rows.
    """
    names = [quoted(key) for key in keys]
    by_key = frame.groupBy(*names).agg(F.count(F.lit(1)).alias("n_rows"))
    null_key = " or ".join(f"{name} is null" for name in names)
    wrong = collect.small_rows(by_key.where(f"n_rows > 1 or {null_key}").limit(1), most=1)
    if wrong:
        shown = ", ".join(f"{key}={wrong[0][key]!r}" for key in keys)
        raise DataError(f"the training table repeats a key or has a null one ({shown}: {wrong[0]['n_rows']} rows); give one row per key")
