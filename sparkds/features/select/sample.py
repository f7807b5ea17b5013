"""Sample on Spark: the rows on which importance is judged, drawn by a seeded hash of their content and brought to the driver as numbers.

Takes a labelled frame and gives arrays; which rows are drawn depends on the rows and the seed alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.features.relevance import FeatureBins, plain_columns
from sparkds.features.select.declaration import Task
from sparkds.sql import quoted

Array = npt.NDArray[np.float64]
LEAST_OF_CLASS: Final = 500
"""Rows of a class that the sample aims at, before it is in proportion."""
MOST_TEXTS: Final = 200
"""Texts with a code of their own; gradient boosting takes no more than 255."""


class Sample(NamedTuple):
    """Rows of the sample, ascending by their hash.

    Attributes
    ----------
    columns : tuple of str
    x : (n, d)
        Numbers; a text is the number of its value among the frequent ones, one more for all others. NaN where null.
    y : (n,)
        Number of the class, or the label of a regression.
    is_text : (d,) bool
    groups : tuple of str
        Of each row, "" for null; empty without a group.
    seed : int
    by_class : dict of str to int
        Rows of the sample by class; empty for a regression.
    """

    columns: tuple[str, ...]
    x: Array
    y: Array
    is_text: npt.NDArray[np.bool_]
    groups: tuple[str, ...]
    seed: int
    by_class: dict[str, int]


def class_weights(classes: Mapping[str, int], most: int, *, least: int = LEAST_OF_CLASS) -> dict[str, float]:
    """How many times as likely as in proportion a row of each class is drawn: 1, or more for a rare class.

    Examples
    --------
    >>> class_weights({"0": 990_000, "1": 10_000}, 10_000)
    {'0': 1.0, '1': 5.0}
    """
    n = sum(classes.values())
    return {name: max(1.0, min(least, most / len(classes)) / (most * count / n)) for name, count in classes.items()}


def training_sample(
    frame: DataFrame,
    *,
    label: str,
    task: Task,
    columns: Sequence[str],
    bins: FeatureBins,
    classes: Mapping[str, int],
    most: int,
    seed: int,
    group: str | None = None,
) -> Sample:
    """At most `most` rows with a label; one scan.

    Rows are drawn by priority sampling: those with the smallest quotients of a uniform hash (of seed, label and all candidates) and the
    weight of their class (`class_weights`).

    Parameters
    ----------
    frame : DataFrame
    label : str
    task : {"binary", "multiclass", "regression"}
    columns : sequence of str
    bins : FeatureBins
        Whose frequent values give texts their codes.
    classes : mapping of str to int
        Rows by class.
    most : int
    seed : int
    group : str, optional

    References
    ----------
    Duffield, Lund, Thorup (2007), J. ACM 54(6), for priority sampling.
    """
    of_group = F.coalesce(F.col(quoted(group)).cast("string"), F.lit("")) if group else F.lit("")
    plain = plain_columns(frame.withColumn(GROUP, of_group), label, task, [*columns, GROUP])
    plain = plain.where(F.col("label").isNotNull())
    uniform = F.shiftrightunsigned(F.xxhash64(F.lit(seed), *(F.col(name) for name in plain.columns)), 11) + F.lit(1)
    weight = F.lit(1.0)
    if task != "regression":
        for name, times in class_weights(classes, most).items():
            if times > 1:
                weight = F.when(F.col("label") == F.lit(name), F.lit(times)).otherwise(weight)
    drawn = plain.select("*", (uniform.cast("double") / weight).alias("place")).orderBy("place")
    table = collect.training_rows(drawn.limit(most), most=most)
    texts = {name: values[:MOST_TEXTS] for name, values in zip(bins.columns, bins.values, strict=True) if values is not None}
    x = np.empty((table.num_rows, len(columns)))
    for i, name in enumerate(columns):
        column = table.column(f"c{i}").combine_chunks()
        x[:, i] = _codes(column, texts[name]) if name in texts else column.to_numpy(zero_copy_only=False)
    of_class = table.column("label").to_pylist()
    code = {name: i for i, name in enumerate(sorted(classes))}
    is_class = task != "regression"
    return Sample(
        tuple(columns),
        x,
        np.array([code[name] for name in of_class] if is_class else of_class, dtype=np.float64),
        np.array([name in texts for name in columns], dtype=bool),
        tuple(table.column(f"c{len(columns)}").to_pylist()) if group else (),
        seed,
        {name: of_class.count(name) for name in sorted(classes)} if is_class else {},
    )


GROUP: Final = "sparkds group"
"""Name of the group beside the columns of the frame."""


def _codes(column: Any, values: Sequence[str]) -> Array:
    at = pc.fill_null(pc.index_in(column, value_set=pa.array(values, pa.string())), len(values))
    codes: Array = at.to_numpy(zero_copy_only=False).astype(np.float64)
    codes[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return codes
