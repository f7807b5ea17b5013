"""Relevance on Spark: what each of many features alone tells of a label, from one pass of counts.

Takes a frame with a label and features, freezes bins from a hash sample, counts bins by label on the workers, and gives a row per
feature; two scans in all, whatever the number of features, and only counts reach the driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.instants import instant_column
from sparkds.sql import finite, quoted
from sparkds.stats.arguments import between, one_of
from sparkds.stats.relevance import FeatureCounts, Relevance, Task, relevances

Array = npt.NDArray[np.float64]
NUMBERS: Final = ("boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal")
TIMES: Final = ("date", "timestamp", "timestamp_ntz")
SAMPLE_ROWS: Final = 20_000
SAMPLE_CELLS: Final = 5_000_000
"""The sample for the bins has this many rows, or fewer, so that rows times columns stay below this."""
LABEL_BINS: Final = 10
MOST_CLASSES: Final = 100
MOST_CELLS: Final = 3_000_000
TAIL_HALVINGS: Final = 4
POINTS: Final = 3
"""So many of the most frequent values of a number have a bin of their own."""
CELLS: Final = "feature int, bin int, class string, n bigint, label_sum double, label_square double"
LABEL_ROWS: Final = -1
TOO_MANY: Final = -2


class FeatureBins(NamedTuple):
    """Frozen bins of features and of the label.

    Attributes
    ----------
    columns : tuple of str
    edges : tuple of (k - 1,) array or None
        Of numbers; bin b has ``edges[b - 1] <= x < edges[b]``.
    values : tuple of tuple of str or None
        Of texts: those with a bin of their own; one more bin is for all others.
    label_edges : (c - 1,)
        Of a regression label; empty for classes.
    label_shift, label_scale : float
        ``z = (label - shift) / scale`` is what is summed.
    n_sampled : int
        Rows that the bins were made from.
    n_distinct : tuple of int
        Different values of each feature in these rows, without null.
    seed : int
    """

    columns: tuple[str, ...]
    edges: tuple[Array | None, ...]
    values: tuple[tuple[str, ...] | None, ...]
    label_edges: Array
    label_shift: float
    label_scale: float
    n_sampled: int
    n_distinct: tuple[int, ...]
    seed: int

    def n_bins(self, feature: int) -> int:
        """Bins of a feature, without the one for null."""
        edges, values = self.edges[feature], self.values[feature]
        return len(edges) + 1 if edges is not None else len(values or ()) + 1

    def point_bins(self, feature: int) -> npt.NDArray[np.int64]:
        """Bins that hold one value only; the values that are frequent in the sample have such bins."""
        edges, values = self.edges[feature], self.values[feature]
        if edges is None:
            return np.arange(len(values or ()), dtype=np.int64)
        return np.flatnonzero(edges[1:] == np.nextafter(edges[:-1], np.inf)) + 1


class LabelledCounts(NamedTuple):
    """Counts of all features by the label.

    Attributes
    ----------
    features : list of FeatureCounts
    n_rows, n_no_label : int
        Rows in all, and those without a label, which are in no count.
    classes : dict of str to int
        Rows by class; of a regression by number of the label's bin.
    bins : FeatureBins
    """

    features: list[FeatureCounts]
    n_rows: int
    n_no_label: int
    classes: dict[str, int]
    bins: FeatureBins


def relevance(frame: DataFrame, *, label: str, task: Task, columns: Sequence[str], n_bins: int = 50, seed: int = 0) -> list[Relevance]:
    """Relevance of each feature to the label; two scans.

    Parameters
    ----------
    frame : DataFrame
    label : str
        Classes are text, truth values or whole numbers, two for a binary task; of a regression a number. Rows in which it is null,
        NaN or infinite are left out.
    task : {"binary", "multiclass", "regression"}
    columns : sequence of str
        Features: numbers, truth values, days, instants (as numbers) and texts. Null, NaN and infinities are null.
    n_bins : int
        About how many bins a number has, and how many values a text; a number with no more distinct values has a bin for each.
    seed : int
        Of the hash sample that the bins are made from.

    Returns
    -------
    list of Relevance
        In the order of `columns`.

    Raises
    ------
    ColumnError, ConfigError
        A column is absent or of a type that cannot be used, or stands twice.
    DataError
        No row has a label, or it does not have the classes that the task needs.

    Examples
    --------
    >>> relevance(training, label="bought", task="binary", columns=["visits_30d", "country"])  # doctest: +SKIP
    [Relevance(column='visits_30d', n=20000, null_share=0.0, skill=0.71, skill_kind='auc', ...), ...]
    """
    return relevances(labelled_counts(frame, label=label, task=task, columns=columns, n_bins=n_bins, seed=seed).features, task=task)


def labelled_counts(frame: DataFrame, *, label: str, task: Task, columns: Sequence[str], n_bins: int = 50, seed: int = 0) -> LabelledCounts:
    """Counts behind `relevance`, with those of the label; arguments and errors as there."""
    bins = feature_bins(frame, label=label, task=task, columns=columns, n_bins=n_bins, seed=seed)
    return read_counts(label_counts_frame(frame, label=label, task=task, bins=bins), label=label, task=task, bins=bins)


def feature_bins(frame: DataFrame, *, label: str, task: Task, columns: Sequence[str], n_bins: int = 50, seed: int = 0) -> FeatureBins:
    """Bins from the rows with a label whose content has the smallest hashes; one scan, at most `SAMPLE_ROWS` rows on the driver.

    Bins of a number have about equal weight in the sample; a value with more weight than that has a bin of its own, and the outermost
    bins are halved a few times, for the ranking of rare classes. The most frequent values have bins that hold nothing else. The label
    decides nothing about them.

    Raises
    ------
    ColumnError, ConfigError
        As `relevance`.
    DataError
        No row has a label.
    """
    between("n_bins", n_bins, 2, 1_000, closed="both")
    checked(frame, label, task, columns)
    plain = plain_columns(frame, label, task, columns)
    place = F.xxhash64(F.lit(seed), *(F.col(name) for name in plain.columns[1:]), F.col("label"))
    drawn = plain.select("*", place.alias("place")).where(F.col("label").isNotNull()).orderBy("place")  # hashed once, not per comparison
    most = max(100, min(SAMPLE_ROWS, SAMPLE_CELLS // (len(columns) + 1)))
    table = collect.training_rows(drawn.limit(most), most=most)
    if table.num_rows == 0:
        raise DataError(f"no row has a label in column '{label}'; look at how it was joined")
    edges: list[Array | None] = []
    values: list[tuple[str, ...] | None] = []
    distinct: list[int] = []
    for i in range(len(columns)):
        column = table.column(f"c{i}").drop_null()
        text = pa.types.is_string(column.type)
        values.append(frequent_values(column.to_pylist(), n_bins) if text else None)
        distinct.append(len(column.unique()))
        x = None if text else column.to_numpy()
        edges.append(None if x is None else np.union1d(number_edges(x, n_bins), point_edges(x)))
    shift, scale, label_edges = 0.0, 1.0, np.zeros(0)
    if task == "regression":
        y = table.column("label").to_numpy()
        label_edges = number_edges(y, LABEL_BINS, tails=0)
        if len(label_edges) == 0:  # other values are in no sample row, if there are any
            label_edges = np.array([y[0], np.nextafter(y[0], np.inf)])
        shift, scale = float(y.mean()), float(y.std()) or 1.0
    return FeatureBins(tuple(columns), tuple(edges), tuple(values), label_edges, shift, scale, table.num_rows, tuple(distinct), seed)


def number_edges(x: Array, n_bins: int, *, tails: int = TAIL_HALVINGS) -> Array:
    """Inner edges of bins that hold about equal shares of x, ascending; each edge is a value of x and belongs to the bin above.

    No value counts for more than a bin, so that one heavy value (zero, say) does not use up the bins of all others.

    Parameters
    ----------
    x : (n,)
        Finite.
    n_bins : int
    tails : int
        How many times the outermost bins are halved.

    Examples
    --------
    >>> import numpy as np
    >>> number_edges(np.array([0.0] * 90 + [1.0, 2.0, 3.0]), 10).tolist()
    [1.0, 2.0, 3.0]
    """
    value, count = np.unique(x, return_counts=True)
    if len(value) <= n_bins:
        return value[1:].astype(np.float64)
    heavy = np.flatnonzero(count >= len(x) / n_bins)
    rest = len(x) - int(count[heavy].sum())
    weight = np.minimum(count, max(1.0, rest / max(1, n_bins - len(heavy))))
    low = (np.cumsum(weight) - weight) / weight.sum()  # share below each value
    even = np.arange(1, n_bins) / n_bins
    tail = 1 / n_bins / 2.0 ** np.arange(1, tails + 1)
    at = np.searchsorted(low, np.unique(np.concatenate([even, tail, 1 - tail])), side="left")
    at = np.unique(np.concatenate([at, heavy, heavy + 1]))
    return value[at[(at > 0) & (at < len(value))]].astype(np.float64)


def point_edges(x: Array, n_points: int = POINTS) -> Array:
    """Edges that shut in the most frequent values, of equally frequent ones the smaller: (2 n_points,) or fewer, ascending.

    Examples
    --------
    >>> import numpy as np
    >>> point_edges(np.array([1.0, 2.0, 2.0]), 1)
    array([2., 2.])
    """
    value, count = np.unique(x, return_counts=True)
    points = value[np.argsort(-count, kind="stable")[:n_points]].astype(np.float64)
    return np.sort(np.concatenate([points, np.nextafter(points, np.inf)]))


def frequent_values(texts: Sequence[str], n_values: int) -> tuple[str, ...]:
    """Most frequent texts, the most frequent first, equal ones in the order of their characters.

    Examples
    --------
    >>> frequent_values(["b", "a", "b", "c"], 2)
    ('b', 'a')
    """
    counts: dict[str, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    return tuple(sorted(counts, key=lambda text: (-counts[text], text))[:n_values])


def label_counts_frame(frame: DataFrame, *, label: str, task: Task, bins: FeatureBins) -> DataFrame:
    """Counts by feature, bin and class; lazy, one scan and one exchange of counts.

    Parameters
    ----------
    frame : DataFrame
    label : str
    task : {"binary", "multiclass", "regression"}
    bins : FeatureBins
        Of this frame, or frozen from another.

    Returns
    -------
    DataFrame
        ``feature`` (number in `bins`; -1 for the rows by class), ``bin`` (the last is null), ``class`` (null without a label), ``n``,
        and the sums of a regression label.
    """
    checked(frame, label, task, bins.columns)
    counted = plain_columns(frame, label, task, bins.columns).mapInArrow(CountKernel(bins, task == "regression"), CELLS)
    sums = (F.sum(name).alias(name) for name in ("n", "label_sum", "label_square"))
    return counted.groupBy("feature", "bin", "class").agg(*sums)


def read_counts(counts: DataFrame, *, label: str, task: Task, bins: FeatureBins) -> LabelledCounts:
    """Bring the counts of `label_counts_frame` to the driver; the action that runs the pass.

    Raises
    ------
    DataError
        As `relevance`.
    """
    table = collect.small_table(counts, most=MOST_CELLS)
    feature, place, n = (table.column(name).to_numpy() for name in ("feature", "bin", "n"))
    if (feature == TOO_MANY).any():
        raise too_many_classes(label)
    of_class = np.array(table.column("class").to_pylist(), dtype=object)
    labels = feature == LABEL_ROWS
    n_of = {name: int(count) for name, count in zip(of_class[labels], n[labels], strict=True)}
    n_no_label = n_of.pop(None, 0)
    classes = sorted(n_of)
    check_classes(classes, n_no_label, label, task)
    code = {name: i for i, name in enumerate(classes)}
    codes = np.array([code.get(name, -1) for name in of_class], dtype=np.int64)
    label_sums = [table.column(name).to_numpy() for name in ("label_sum", "label_square")]
    found = []
    for i, column in enumerate(bins.columns):
        size = bins.n_bins(i) + 1
        rows = np.flatnonzero(feature == i)
        by_class = np.zeros((size, len(classes)))
        by_class[place[rows], codes[rows]] = n[rows]
        sums, squares = (np.bincount(place[rows], weights=part[rows], minlength=size).astype(np.float64) for part in label_sums)
        is_text = bins.values[i] is not None
        found.append(FeatureCounts(column, by_class, sums, squares, is_ordered=not is_text, other=size - 2 if is_text else -1))
    return LabelledCounts(found, int(n[labels].sum()), n_no_label, {name: n_of[name] for name in classes}, bins)


def check_classes(classes: Sequence[str], n_no_label: int, label: str, task: Task) -> None:
    """Refuse a label that has not the classes its task needs.

    Raises
    ------
    DataError
    """
    if not classes:
        raise DataError(f"none of {n_no_label} rows has a label in column '{label}'; look at how it was joined")
    told = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
    if len(classes) == 1:
        what = "one value" if task == "regression" else f"one class ({told})"
        raise DataError(f"label '{label}' has {what} only; there is nothing to tell apart")
    if len(classes) > MOST_CLASSES:
        raise too_many_classes(label)
    if task == "binary" and len(classes) > 2:
        raise DataError(f"label '{label}' has {len(classes)} classes ({told}); binary needs two: take multiclass or regression")


def too_many_classes(label: str) -> DataError:
    """Error for a label with more classes than are counted."""
    return DataError(f"label '{label}' has more than {MOST_CLASSES} classes; take regression, or bring classes together")


def checked(frame: DataFrame, label: str, task: Task, columns: Sequence[str]) -> None:
    """Refuse what cannot be counted, before anything runs.

    Raises
    ------
    ColumnError, ConfigError
    """
    one_of("task", task, Task)
    types = dict(frame.dtypes)
    if not columns:
        raise ConfigError("no feature is given; name the columns whose relevance is asked")
    for name in (label, *columns):
        if name not in types:
            raise ColumnError.missing(name, types, "the labelled table")
    twice = [name for i, name in enumerate(columns) if name in columns[:i]]
    if twice or label in columns:
        raise ConfigError(f"'{twice[0] if twice else label}' stands twice among label and features; name each column once")
    kind = types[label].partition("(")[0]
    if (kind not in NUMBERS and (kind != "string" or task == "regression")) or (kind == "boolean" and task == "regression"):
        allowed = "a number" if task == "regression" else "text, a truth value or a number"
        raise ColumnError(f"label '{label}' is {types[label]}; {task} needs {allowed}")
    for name in columns:
        if not is_feature(types[name]):
            raise ColumnError(f"feature '{name}' is {types[name]}; a feature is a number, a truth value, a day, an instant or text")


def is_feature(dtype: str) -> bool:
    """Whether a column of this Spark type can be a feature."""
    return dtype.partition("(")[0] in (*NUMBERS, *TIMES, "string")


def value_column(name: str, dtype: str) -> Column:
    """Value of a feature: text as it is, everything else as a double, null where it is not finite; days and instants in microseconds."""
    if dtype == "string":
        return F.col(quoted(name))
    if dtype in TIMES:
        return instant_column(name, dtype, "UTC").cast("double")
    return F.expr(finite(name, dtype)).cast("double")


def plain_columns(frame: DataFrame, label: str, task: Task, columns: Sequence[str]) -> DataFrame:
    """Label as ``label`` (text, or the number of a regression) and features as ``c0`` …, under names that Arrow can take."""
    types = dict(frame.dtypes)
    of_label = F.expr(finite(label, types[label])).cast("double" if task == "regression" else "string")
    return frame.select(of_label.alias("label"), *(value_column(name, types[name]).alias(f"c{i}") for i, name in enumerate(columns)))


@dataclass(frozen=True)
class CountKernel:
    """Batches of labelled rows in, counts by feature, bin and class of a partition out."""

    bins: FeatureBins
    is_regression: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Add up a partition."""
        sizes = np.array([self.bins.n_bins(i) + 1 for i in range(len(self.bins.columns))], dtype=np.int64)
        begins = np.concatenate([[0], np.cumsum(sizes)])
        classes: dict[str | None, int] = {None: 0}
        cells: Array = np.zeros((3, 1, begins[-1] + 1))  # (n, sum, square), class, (bins of all features, rows)
        for batch in batches:
            if batch.num_rows == 0:
                continue
            code, z = self._labels(batch.column(0), classes)
            if len(classes) > MOST_CLASSES + 1:
                yield self._rows([TOO_MANY], [0], ["…"], np.ones((3, 1)))
                return
            if len(classes) > cells.shape[1]:
                more = np.zeros((3, len(classes) - cells.shape[1], cells.shape[2]))
                cells = np.concatenate([cells, more], axis=1)
            cells[0, :, -1] += np.bincount(code, minlength=len(classes))
            for i in range(len(sizes)):
                size = int(sizes[i])
                cell = code * size + self._bins_of(batch.column(i + 1), i)
                inside = slice(int(begins[i]), int(begins[i + 1]))
                for part, weight in enumerate((None, z, None if z is None else z * z)):
                    if part == 0 or weight is not None:
                        added = np.bincount(cell, weights=weight, minlength=len(classes) * size)
                        cells[part, :, inside] += added.reshape(len(classes), size)
        names = list(classes)
        feature_of = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), [LABEL_ROWS]])
        place_of = np.concatenate([*(np.arange(size) for size in sizes), [0]])
        cells[:, 0, :-1] = 0  # rows without a label count as such and in no feature
        of_class, at = np.nonzero(cells[0])
        for first in range(0, len(at), 65_536):
            c, k = of_class[first : first + 65_536], at[first : first + 65_536]
            yield self._rows(feature_of[k], place_of[k], [names[j] for j in c], cells[:, c, k])

    def _rows(self, feature: Any, place: Any, of_class: list[str | None], sums: Array) -> pa.RecordBatch:
        filled = [
            pa.array(feature, pa.int32()),
            pa.array(place, pa.int32()),
            pa.array(of_class, pa.string()),
            pa.array(sums[0].astype(np.int64)),
            pa.array(sums[1]),
            pa.array(sums[2]),
        ]
        return pa.RecordBatch.from_arrays(filled, names=["feature", "bin", "class", "n", "label_sum", "label_square"])

    def _labels(self, column: Any, classes: dict[str | None, int]) -> tuple[npt.NDArray[np.int64], Array | None]:
        """Code of each row's class, new classes added, and the label of a regression, shifted and scaled; 0 where there is none."""
        if self.is_regression:
            null = column.is_null().to_numpy(zero_copy_only=False)
            y: Array = column.to_numpy(zero_copy_only=False)
            label_bin = np.searchsorted(self.bins.label_edges, y, side="right")
            names: list[str | None] = [f"{i:03d}" for i in range(len(self.bins.label_edges) + 1)]
            place = np.array([classes.setdefault(name, len(classes)) for name in names])
            z = np.where(null, 0.0, (y - self.bins.label_shift) / self.bins.label_scale)
            return np.where(null, 0, place[np.minimum(label_bin, len(names) - 1)]).astype(np.int64), z
        coded = column.dictionary_encode()
        names = coded.dictionary.to_pylist()
        if len(names) > MOST_CLASSES:
            names = names[: MOST_CLASSES + 1]
            classes.update({name: len(classes) + i for i, name in enumerate(names) if name not in classes})
            return np.zeros(len(column), dtype=np.int64), None
        place = np.array([0, *(classes.setdefault(name, len(classes)) for name in names)])
        return place[pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1], None

    def _bins_of(self, column: Any, feature: int) -> npt.NDArray[np.int64]:
        """Bin of each row; the last for null."""
        last = self.bins.n_bins(feature)
        edges, values = self.bins.edges[feature], self.bins.values[feature]
        if edges is not None:
            x: Array = column.to_numpy(zero_copy_only=False)  # NaN where null
            found: npt.NDArray[np.int64] = np.searchsorted(edges, x, side="right").astype(np.int64)
            if column.null_count:
                found[np.isnan(x)] = last
            return found
        at = pc.index_in(column, value_set=pa.array(values or (), pa.string()))
        other = last - 1
        found = pc.fill_null(at, other).to_numpy(zero_copy_only=False).astype(np.int64)
        if column.null_count:
            found[column.is_null().to_numpy(zero_copy_only=False)] = last
        return found


__all__ = [
    "FeatureBins",
    "LabelledCounts",
    "Relevance",
    "feature_bins",
    "label_counts_frame",
    "labelled_counts",
    "read_counts",
    "relevance",
]
