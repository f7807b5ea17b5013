"""Score pass: one scan of a scored table, reduced on the workers to counts by model, group, score bin and label.

Takes a frame with labels and the scores of one or several models and gives a small frame; one scan, one exchange, and only bins leave the
workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ColumnError, ConfigError
from sparkds.models.score_evidence import ScoreEvidence, score_evidence
from sparkds.models.score_tally import KEYS, SUMS, Layout, Rows, ScoreTally
from sparkds.sql import quoted

ABSENT: Final = "(null)"
OTHER: Final = "(other)"
JOINED: Final = " × "
CHUNK_ROWS: Final = 131_072
MOST_CELLS: Final = 2_000_000
SCHEMA: Final = (
    "model string, other_model string, group string, group_value string, quality string, bin double, other_bin double, label int, "
    "n double, weight double, score double, squared_error double, log_loss double, low double, high double"
)
NUMERIC: Final = ("boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal")
NESTED: Final = ("array", "map", "struct", "binary", "variant")


def score_counts_frame(
    frame: DataFrame,
    *,
    label: str,
    scores: Mapping[str, str],
    groups: Sequence[str | tuple[str, ...]] = (),
    shown: Mapping[str, Sequence[str]] | None = None,
    pairs: Sequence[tuple[str, str]] = (),
    weight: str | None = None,
    thresholds: Sequence[float] = (0.5,),
    bins: int | Literal["distinct"] = 2_000,
    group_bins: int = 200,
    pair_bins: int = 100,
) -> DataFrame:
    """Counts of labels by score bin, for all rows and by group.

    Parameters
    ----------
    frame : DataFrame
    label : str
        Column of 0 and 1 (numbers or booleans); null and NaN are counted as missing, other values refused when the counts are read.
    scores : mapping of str to str
        Model to the column of its scores; null, NaN and infinite scores are counted as such and in nothing else.
    groups : sequence of str or tuple of str
        Columns by whose values to count; a tuple is the intersection of columns. Null is the value ``(null)``.
    shown : mapping of str to sequence of str, optional
        Column to the values that are kept apart; the others are ``(other)``. From `top_values`.
    pairs : sequence of (str, str)
        Models whose scores of the same row are counted together, for paired comparisons.
    weight : str, optional
        Column of weights, at least 0.
    thresholds : sequence of float
        At which counts are exact.
    bins : int or "distinct"
        Score bins for all rows, in [0, 1] (see `score_edges`); ``"distinct"`` keeps every distinct score, for exact ranking metrics.
    group_bins, pair_bins : int
        Wider bins for groups and pairs of models.

    Returns
    -------
    DataFrame
        Lazy: ``model``, ``other_model`` (of a pair, else empty), ``group`` (empty for all rows), ``group_value``, ``quality``, ``bin``,
        ``other_bin``, ``label``, ``n`` (rows), ``weight`` and the sums of `ScoreCounts`, of a pair those of first minus second.
        One scan and one exchange more than `frame`.

    Raises
    ------
    ColumnError
        A column is missing or has a type that cannot be used.
    ConfigError
        No model, a pair of unknown models, or names that occur twice.

    Examples
    --------
    >>> counts = score_counts_frame(scored, label="bought", scores={"champion": "score"}, groups=["country"])  # doctest: +SKIP
    >>> evidence = read_score_counts(counts)  # doctest: +SKIP
    """
    if not scores:
        raise ConfigError("no model is given; give scores as model to column")
    for pair in pairs:
        if pair[0] == pair[1] or not set(pair) <= set(scores):
            raise ConfigError(f"pair {pair} is not of two different models; there are {', '.join(scores)}")
    of_group, columns = named_groups(groups)
    checked_columns(frame, label, scores, columns, weight)
    plain = plain_columns(frame, label, scores, columns, weight)
    kernel = ScoreKernel(
        models=tuple(scores),
        weighted=weight is not None,
        groups=of_group,
        shown=tuple(None if (shown or {}).get(name) is None else tuple((shown or {})[name]) for name in columns),
        pairs=tuple(pairs),
        layout=None if bins == "distinct" else Layout.of(bins, group_bins, pair_bins, thresholds),
    )
    partial = plain.mapInArrow(kernel, SCHEMA)
    limits = F.min("low").alias("low"), F.max("high").alias("high")
    return partial.groupBy(*KEYS).agg(*(F.sum(name).alias(name) for name in SUMS), *limits)


def read_score_counts(counts: DataFrame, *, label: str = "label", weight: str | None = None) -> ScoreEvidence:
    """Bring the counts of `score_counts_frame` to the driver; the action that runs the pass.

    Parameters
    ----------
    counts : DataFrame
    label, weight : str
        Names of the columns, for messages; `weight` says that there is one.

    Raises
    ------
    DataError
        A label is neither 0 nor 1, a weight is negative or missing, a group has too many values, or there are too many distinct scores.
    """
    table = collect.small_table(counts, most=MOST_CELLS)
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}
    return score_evidence(columns, label=label, weight=weight)


def top_values(frame: DataFrame, columns: Sequence[str], *, most: int = 20) -> dict[str, tuple[str, ...]]:
    """Most frequent values of each column, at most `most`, the most frequent first; one scan."""
    if not columns:
        return {}
    entries = [F.struct(F.lit(name).alias("name"), value_column(name).alias("value")) for name in columns]
    counted = frame.select(F.explode(F.array(*entries)).alias("at")).groupBy("at.name", "at.value").count()
    best = F.slice(F.array_sort(F.collect_list(F.struct((-F.col("count")).alias("order"), F.col("value")))), 1, most)
    rows = collect.small_rows(counted.groupBy("name").agg(best.alias("best")))
    found = {row["name"]: tuple(item["value"] for item in row["best"]) for row in rows}
    return {name: found.get(name, ()) for name in columns}


def named_groups(groups: Sequence[str | tuple[str, ...]]) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], tuple[str, ...]]:
    """Each group's name with the numbers of its columns, and the columns.

    Raises
    ------
    ConfigError
        A group occurs twice.
    """
    parts_of = {
        JOINED.join(group) if isinstance(group, tuple) else group: (group,) if isinstance(group, str) else group for group in groups
    }
    if len(parts_of) < len(groups):
        raise ConfigError(f"a group occurs twice in {list(groups)}; name each once")
    columns = tuple(dict.fromkeys(column for parts in parts_of.values() for column in parts))
    return tuple((name, tuple(columns.index(part) for part in parts)) for name, parts in parts_of.items()), columns


def plain_columns(frame: DataFrame, label: str, scores: Mapping[str, str], groups: Sequence[str], weight: str | None) -> DataFrame:
    """Label, scores, weight and groups only, in this order, as doubles and texts under names that Arrow can take."""
    numeric = [F.col(quoted(name)).cast("double") for name in (label, *scores.values(), *((weight,) if weight else ()))]
    entries = numeric + [value_column(name) for name in groups]
    return frame.select(*(entry.alias(f"c{i}") for i, entry in enumerate(entries)))


def value_column(name: str) -> Column:
    """Value of a group as text, never null."""
    return F.coalesce(F.col(quoted(name)).cast("string"), F.lit(ABSENT))


def checked_columns(frame: DataFrame, label: str, scores: Mapping[str, str], groups: Sequence[str], weight: str | None) -> None:
    """Refuse columns that are missing or have a type that cannot be used, before anything runs.

    Raises
    ------
    ColumnError
    """
    types = dict(frame.dtypes)
    for name in (label, *scores.values(), *groups, *([weight] if weight else [])):
        if name not in types:
            raise ColumnError.missing(name, types, "the scored table")
    for use, name in (("label", label), *(("score", s) for s in scores.values()), *((("weight", weight),) if weight else ())):
        if types[name].partition("(")[0] not in NUMERIC:
            raise ColumnError(f"{use} '{name}' is {types[name]}; allowed are numbers and booleans; cast it before")
    for name in groups:
        if types[name].startswith(NESTED):
            raise ColumnError(f"group '{name}' is {types[name]}; allowed are plain values")
        if types[name] == "timestamp":  # its text depends on the session's time zone
            raise ColumnError(f"group '{name}' is timestamp; make a day or hour of it in a named time zone before")


@dataclass(frozen=True)
class ScoreKernel:
    """Batches of scored rows in, sums by model, group, bin and label out."""

    models: tuple[str, ...]
    weighted: bool
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    shown: tuple[tuple[str, ...] | None, ...]
    pairs: tuple[tuple[str, str], ...]
    layout: Layout | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Add up a partition, some batches at a time."""
        tally = ScoreTally(self.models, [name for name, _ in self.groups], self.pairs, self.layout)
        for table in chunks(batches):
            self._add(tally, table)
            for rows in tally.handed_over():
                yield from as_batches(rows)
        for rows in tally.finish():
            yield from as_batches(rows)

    def _add(self, tally: ScoreTally, table: pa.Table) -> None:
        n_models = len(self.models)
        label, _ = numbers(table.column(0))
        scores = {model: numbers(table.column(1 + i)) for i, model in enumerate(self.models)}
        weight = numbers(table.column(1 + n_models))[0] if self.weighted else None
        first = 1 + n_models + self.weighted
        tally.add(label, weight, scores, coded_groups(table, first, self.shown, self.groups))


def chunks(batches: Iterator[pa.RecordBatch], rows: int = CHUNK_ROWS) -> Iterator[pa.Table]:
    """Batches together, some `rows` at a time, each column in one piece."""
    waiting: list[pa.RecordBatch] = []
    n = 0
    for batch in batches:
        if batch.num_rows:
            waiting.append(batch)
            n += batch.num_rows
        if n >= rows:
            yield pa.Table.from_batches(waiting).combine_chunks()
            waiting, n = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def coded_groups(
    table: pa.Table, first: int, shown: Sequence[Sequence[str] | None], groups: Sequence[tuple[str, tuple[int, ...]]]
) -> dict[str, tuple[npt.NDArray[np.int64], list[str]]]:
    """Code of each row's value and the values, of every group; its columns begin with number `first`."""
    coded = [encoded(table.column(first + i), of_column) for i, of_column in enumerate(shown)]
    found = {}
    for name, parts in groups:
        codes, values = coded[parts[0]]
        for part in parts[1:]:
            codes, values = crossed(codes, values, *coded[part])
        found[name] = codes, values
    return found


def encoded(column: Any, shown: Sequence[str] | None) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Code of each row's value and the values; those that are not `shown` are one."""
    dictionary = column.combine_chunks().dictionary_encode()
    if isinstance(dictionary, pa.ChunkedArray):
        dictionary = dictionary.combine_chunks()
    names = [str(value) for value in dictionary.dictionary.to_pylist()]
    codes = dictionary.indices.to_numpy().astype(np.int64)
    if shown is None:
        return codes, names
    as_shown = [name if name in shown else OTHER for name in names]
    values = list(dict.fromkeys(as_shown))
    place = {value: i for i, value in enumerate(values)}
    return np.array([place[name] for name in as_shown], dtype=np.int64)[codes], values


def crossed(
    left: npt.NDArray[np.int64], left_values: Sequence[str], right: npt.NDArray[np.int64], right_values: Sequence[str]
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Codes and values of the intersection of two groups, of pairs that occur only."""
    both, size = left * len(right_values) + right, len(left_values) * len(right_values)
    if size <= CHUNK_ROWS * 8:  # look-up instead of a sort
        present = np.flatnonzero(np.bincount(both, minlength=size))
        place = np.zeros(size, dtype=np.int64)
        place[present] = np.arange(len(present))
        codes = place[both]
    else:
        present, codes = np.unique(both, return_inverse=True)
    pairs = [divmod(int(pair), len(right_values)) for pair in present]
    return codes.astype(np.int64), [f"{left_values[i]}{JOINED}{right_values[j]}" for i, j in pairs]


def as_batches(rows: Rows) -> list[pa.RecordBatch]:
    """Rows of a tally in the columns of `SCHEMA`."""
    n = len(rows["n"])
    filled: dict[str, Any] = {}
    for name in (*KEYS, *SUMS, "low", "high"):
        given = rows.get(name)
        if name in ("model", "other_model", "group", "group_value", "quality"):
            given = "" if given is None else given
            filled[name] = pa.repeat(pa.scalar(given), n) if isinstance(given, str) else pa.array(given, pa.string())
        elif name == "label":
            filled[name] = pa.array(np.full(n, -1) if given is None else given, pa.int32())
        else:
            filled[name] = pa.array(np.full(n, -1.0 if name in ("bin", "other_bin") else 0.0) if given is None else given, pa.float64())
    return list(pa.table(filled).to_batches(max_chunksize=65_536))


def numbers(column: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Values with NaN for null, and which are null."""
    null = column.is_null().to_numpy() if column.null_count else np.zeros(len(column), dtype=bool)
    return column.to_numpy().astype(np.float64, copy=False), null
