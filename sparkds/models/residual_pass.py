"""Residual pass: one scan of a table with labels and predictions of a number, reduced on the workers to sums by bin of the prediction.

Takes a frame and gives a small frame by model, group and bin; one scan, one exchange, and states are merged pairwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from sparkds import collect
from sparkds.blocks import map_blocks
from sparkds.errors import ConfigError, DataError
from sparkds.models.score_pass import checked_columns, chunks, coded_groups, named_groups, numbers, plain_columns
from sparkds.models.score_tally import MOST_VALUES
from sparkds.stats.residuals import SUMS, Residuals, combined, grouped_residuals, merged_residuals, prediction_bins

KEYS: Final = ("model", "group", "group_value", "quality", "bin")
FIELDS: Final = ("rows", *SUMS, "mean_label", "m2_label")
SCHEMA: Final = (
    "model string, `group` string, group_value string, quality string, bin bigint, "
    + ", ".join(f"`{name}` double" for name in FIELDS)
    + ", pinball array<double>"
)
QUALITIES: Final = ("scored", "score_not_finite", "score_missing", "label_not_finite", "label_missing", "weight_invalid")
"""What became of a row, the graver last."""
TOO_MANY: Final = "too_many_values"
BIN_SPAN: Final = 2**23
"""More than there are bins of predictions, so that a value and a bin make one number."""
MOST_CELLS: Final = 1_000_000
Key = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class ResidualEvidence:
    """What one pass over predictions of a number has found.

    Attributes
    ----------
    states : dict of (model, group, value) to Residuals
        Group and value are empty for all rows.
    skipped : dict of (model, group, value) to dict of quality to int
        Rows that are in no metric: ``label_missing``, ``label_not_finite``, ``score_missing``, ``score_not_finite``.
    """

    states: dict[Key, Residuals]
    skipped: dict[Key, dict[str, int]]


def residuals_frame(
    frame: DataFrame,
    *,
    label: str,
    predictions: Mapping[str, str],
    groups: Sequence[str | tuple[str, ...]] = (),
    shown: Mapping[str, Sequence[str]] | None = None,
    weight: str | None = None,
    shares: Sequence[float] = (),
) -> DataFrame:
    """Sums of errors by bin of the prediction, for all rows and by group.

    Parameters
    ----------
    frame : DataFrame
    label : str
        Numeric column; null, NaN and infinite labels are counted as such and in nothing else.
    predictions : mapping of str to str
        Model to the column of its predictions; likewise.
    groups, shown, weight
        As in `sparkds.models.score_pass.score_counts_frame`.
    shares : sequence of float
        In (0, 1): quantiles of which the predictions are judged by the pinball loss.

    Returns
    -------
    DataFrame
        Lazy; the fields of `Residuals` by ``model``, ``group``, ``group_value``, ``quality`` and ``bin``.

    Raises
    ------
    ColumnError
        A column is missing or has a type that cannot be used.
    ConfigError
        No model, a share outside (0, 1), or a group that occurs twice.
    """
    if not predictions:
        raise ConfigError("no model is given; give predictions as model to column")
    if not all(0 < share < 1 for share in shares):
        raise ConfigError(f"quantile shares are {tuple(shares)}; give numbers in (0, 1)")
    of_group, columns = named_groups(groups)
    checked_columns(frame, label, predictions, columns, weight)
    kernel = ResidualKernel(
        models=tuple(predictions),
        weighted=weight is not None,
        groups=of_group,
        shown=tuple(None if (shown or {}).get(name) is None else tuple((shown or {})[name]) for name in columns),
        shares=tuple(shares),
    )
    partial = plain_columns(frame, label, predictions, columns, weight).mapInArrow(kernel, SCHEMA)
    return map_blocks(partial, keys=KEYS, order=("rows",), kernel=MergeKernel(tuple(shares)), schema=SCHEMA)


def read_residuals(sums: DataFrame, *, shares: Sequence[float] = (), weight: str | None = None) -> ResidualEvidence:
    """Bring the sums of `residuals_frame` to the driver; the action that runs the pass.

    Parameters
    ----------
    sums : DataFrame
    shares : sequence of float
        The same as for the frame.
    weight : str, optional
        Name of the column, for messages.

    Raises
    ------
    DataError
        A weight is negative or missing, or a group has too many values.
    """
    table = collect.small_table(sums, most=MOST_CELLS)
    rows_of: dict[tuple[str, ...], list[int]] = {}
    for i, key in enumerate(zip(*(table.column(name).to_pylist() for name in KEYS[:4]), strict=True)):
        rows_of.setdefault(key, []).append(i)
    states: dict[Key, Residuals] = {}
    skipped: dict[Key, dict[str, int]] = {}
    for (model, group, value, quality), rows in rows_of.items():
        part = _state(table.take(rows), tuple(shares))
        n = int(np.asarray(table.column("rows").take(rows)).sum())
        if quality == "weight_invalid":
            raise DataError(f"weight '{weight}' is negative, missing or not finite in {n} rows; weights are at least 0")
        if quality == TOO_MANY:
            raise DataError(
                f"group '{group}' has more than {MOST_VALUES} values; name those to show, leave it out, or bin the column before"
            )
        if quality == "scored":
            order = np.argsort(part.key)
            states[model, group, value] = combined(part, np.argsort(order), part.key[order])
        else:
            skipped.setdefault((model, group, value), {})[quality] = n
    return ResidualEvidence(states, skipped)


@dataclass
class _Partial:
    """Values of a group so far, and states whose keys are of value and bin."""

    values: dict[str, int] = field(default_factory=dict)
    states: list[Residuals] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.values) > MOST_VALUES

    def slots(self, values: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([self.values.setdefault(value, len(self.values)) for value in values], dtype=np.int64)

    def add(self, state: Residuals) -> None:
        self.states.append(state)
        if len(self.states) >= 8:
            self.states = [merged_residuals(self.states)]


@dataclass(frozen=True)
class ResidualKernel:
    """Batches of rows in, states by model, group and bin out."""

    models: tuple[str, ...]
    weighted: bool
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    shown: tuple[tuple[str, ...] | None, ...]
    shares: tuple[float, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Reduce some batches at a time and hand over what all of a partition say."""
        found: dict[tuple[str, str], _Partial] = {(m, g): _Partial() for m in self.models for g in ("", *(name for name, _ in self.groups))}
        for table in chunks(batches):
            yield from self._reduced(table, found)
        for (model, group), partial in found.items():
            if partial.full:
                yield from _told(model, group, [""], [TOO_MANY], np.ones(1), None, self.shares)
            elif partial.states:
                whole, values = merged_residuals(partial.states), list(partial.values)
                slot, key = np.divmod(whole.key + BIN_SPAN // 2, BIN_SPAN)
                state = replace(whole, key=key - BIN_SPAN // 2)
                yield from _told(model, group, [values[i] for i in slot], QUALITIES[0], whole.n, state, self.shares)

    def _reduced(self, table: pa.Table, found: dict[tuple[str, str], _Partial]) -> Iterator[pa.RecordBatch]:
        n, n_models = table.num_rows, len(self.models)
        y, label_null = numbers(table.column(0))
        w = numbers(table.column(1 + n_models))[0] if self.weighted else np.ones(n)
        groups: dict[str, tuple[npt.NDArray[np.int64], list[str]]] = {"": (np.zeros(n, dtype=np.int64), [""])}
        groups |= coded_groups(table, 1 + n_models + self.weighted, self.shown, self.groups)
        for number, model in enumerate(self.models):
            p, null = numbers(table.column(1 + number))
            quality = np.zeros(n, dtype=np.int64)
            marks = (~np.isfinite(p), null, ~np.isfinite(y), label_null | np.isnan(y), ~(np.isfinite(w) & (w >= 0)))
            for code, marked in enumerate(marks, 1):
                quality[marked] = code
            rows = np.flatnonzero((quality == 0) & (w > 0))
            skipped = np.flatnonzero(quality)
            bin_of = prediction_bins(p[rows])
            for group, (codes, values) in groups.items():
                partial = found[model, group]
                slot = partial.slots(values)
                if partial.full:
                    continue
                if len(rows):
                    cells, at = np.unique(slot[codes[rows]] * BIN_SPAN + bin_of, return_inverse=True)
                    partial.add(grouped_residuals(cells, at.astype(np.int64), y[rows], p[rows], w[rows], self.shares))
                if len(skipped):
                    others, many = np.unique(codes[skipped] * len(QUALITIES) + quality[skipped], return_counts=True)
                    named = [values[i] for i in others // len(QUALITIES)]
                    why = [QUALITIES[i] for i in others % len(QUALITIES)]
                    yield from _told(model, group, named, why, many.astype(np.float64), None, self.shares)


@dataclass(frozen=True)
class MergeKernel:
    """Sorted partial states in, one state per model, group and bin out."""

    shares: tuple[float, ...]

    def __call__(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        """Merge a block of whole keys."""
        state = _state(table, self.shares)
        into = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        first = table.take(starts[:-1])
        with np.errstate(invalid="ignore", divide="ignore"):
            whole = combined(state, into, starts[:-1])
        rows = np.add.reduceat(table.column("rows").to_numpy(), starts[:-1])
        yield _table({name: first.column(name) for name in KEYS}, rows, whole)


def _state(table: pa.Table, shares: tuple[float, ...]) -> Residuals:
    fields = {name: table.column(name).to_numpy() for name in FIELDS if name != "rows"}
    pinball = np.asarray(table.column("pinball").combine_chunks().flatten(), dtype=np.float64).reshape(table.num_rows, len(shares))
    return Residuals(key=table.column("bin").to_numpy(), pinball=pinball, shares=shares, **fields)


def _told(
    model: str,
    group: str,
    values: list[str],
    quality: Any,
    rows: npt.NDArray[np.float64],
    state: Residuals | None,
    shares: tuple[float, ...],
) -> list[pa.RecordBatch]:
    k = len(rows)
    if state is None:
        nothing = {name: np.zeros(k) for name in FIELDS if name != "rows"}
        state = Residuals(key=np.zeros(k, dtype=np.int64), pinball=np.zeros((k, len(shares))), shares=shares, **nothing)
    qualities = pa.repeat(pa.scalar(quality), k) if isinstance(quality, str) else pa.array(quality, pa.string())
    names = {"model": pa.repeat(pa.scalar(model), k), "group": pa.repeat(pa.scalar(group), k), "group_value": pa.array(values, pa.string())}
    return list(_table(names | {"quality": qualities, "bin": pa.array(state.key, pa.int64())}, rows, state).to_batches())


def _table(keys: Mapping[str, Any], rows: npt.NDArray[np.float64], state: Residuals) -> pa.Table:
    columns = dict(keys) | {"rows": pa.array(rows, pa.float64())}
    columns |= {name: pa.array(getattr(state, name), pa.float64()) for name in FIELDS if name != "rows"}
    columns["pinball"] = pa.array(list(state.pinball), pa.list_(pa.float64()))
    return pa.table(columns)
