"""Slice pass: one scan of a scored table gives the moments of the loss in every slice by one column and by two.

Takes a frame with labels and scores and gives a small frame of number, mean and sum of squares of the loss by slice; one scan, one
exchange.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from sparkds import collect
from sparkds.blocks import map_blocks
from sparkds.errors import ConfigError, DataError
from sparkds.models.score_pass import checked_columns, chunks, coded_groups, named_groups, numbers, plain_columns
from sparkds.models.score_tally import MOST_VALUES
from sparkds.stats.arguments import one_of
from sparkds.stats.group_moments import GroupMoments, grouped, merged
from sparkds.stats.score_counts import row_losses
from sparkds.stats.slices import Slice, worst_slices

Loss = Literal["log_loss", "squared_error", "absolute_error"]
KEYS: Final = ("`group`", "group_value")
SCHEMA: Final = "`group` string, group_value string, n bigint, mean double, m2 double"
ODD: Final = "(odd)"
"""Group that holds rows which the loss cannot take, so that they are refused on the driver."""
FULL: Final = "(full)"


def slice_losses_frame(
    frame: DataFrame,
    *,
    label: str,
    score: str,
    columns: Sequence[str],
    shown: Mapping[str, Sequence[str]] | None = None,
    loss: Loss = "log_loss",
    pairs: bool = True,
) -> DataFrame:
    """Moments of the loss by slice.

    Parameters
    ----------
    frame : DataFrame
    label, score : str
        Numeric columns; rows in which one is null, NaN or infinite are in no slice (the score pass counts them).
    columns : sequence of str
        Columns whose values make slices; bin numeric ones before.
    shown : mapping of str to sequence of str, optional
        Column to the values that are kept apart; the others are ``(other)``. From `sparkds.models.score_pass.top_values`.
    loss : {"log_loss", "squared_error", "absolute_error"}
        The log loss takes labels of 0 and 1 and scores in [0, 1].
    pairs : bool
        Slices by two columns too.

    Returns
    -------
    DataFrame
        Lazy: ``group``, ``group_value`` (both empty for all rows), ``n``, ``mean``, ``m2``.

    Raises
    ------
    ColumnError, ConfigError
        As `sparkds.models.score_pass.score_counts_frame`.
    """
    one_of("loss", loss, Loss)
    if not columns:
        raise ConfigError("no column is given; name those whose values make slices")
    groups: list[str | tuple[str, ...]] = [*columns, *(combinations(columns, 2) if pairs else ())]
    of_group, names = named_groups(groups)
    checked_columns(frame, label, {"": score}, names, None)
    kernel = SliceKernel(
        loss=loss,
        groups=of_group,
        shown=tuple(None if (shown or {}).get(name) is None else tuple((shown or {})[name]) for name in names),
    )
    partial = plain_columns(frame, label, {"": score}, names, None).mapInArrow(kernel, SCHEMA)
    return map_blocks(partial, keys=("group", "group_value"), order=("n", "mean", "m2"), kernel=merge_kernel, schema=SCHEMA)


def read_worst_slices(losses: DataFrame, *, least: int = 100, alpha: float = 0.05, most: int = 20) -> list[Slice]:
    """Slices in which the loss is highest; the action that runs the pass.

    Parameters
    ----------
    losses : DataFrame
        From `slice_losses_frame`.
    least, alpha, most
        As in `sparkds.stats.slices.worst_slices`.

    Raises
    ------
    DataError
        Rows have labels or scores that the loss cannot take, a column has too many values, or there are too many slices.
    """
    table = collect.small_table(losses, most=500_000)
    names = list(zip(table.column("group").to_pylist(), table.column("group_value").to_pylist(), strict=True))
    moments = _moments(table)
    for i, (group, value) in enumerate(names):
        if group == ODD:
            told = "labels of 0 and 1 and scores in [0, 1]"
            raise DataError(f"{int(moments.n[i])} rows have a label or score that the log loss cannot take; it takes {told}")
        if group == FULL:
            raise DataError(f"'{value}' has more than {MOST_VALUES} values; name those to show, leave it out, or bin the column before")
    if ("", "") not in names:
        return []
    at = names.index(("", ""))
    kept = [i for i in range(len(names)) if i != at]
    return worst_slices(
        [names[i] for i in kept], _picked(moments, np.array(kept, dtype=np.int64)), _picked(moments, np.array([at])),
        least=least, alpha=alpha, most=most,
    )  # fmt: skip


@dataclass
class _Slices:
    """Moments of the values of one group so far."""

    values: dict[str, int] = field(default_factory=dict)
    moments: GroupMoments | None = None

    def add(self, codes: npt.NDArray[np.int64], values: Sequence[str], x: npt.NDArray[np.float64]) -> None:
        slot = np.array([self.values.setdefault(value, len(self.values)) for value in values], dtype=np.int64)
        new = grouped(x[:, None], codes, len(values))
        if self.moments is None:
            self.moments = merged(new, slot, len(self.values))
            return
        both = GroupMoments(*(np.concatenate(parts) for parts in zip(self.moments, new, strict=True)))
        self.moments = merged(both, np.concatenate([np.arange(len(self.moments.n)), slot]), len(self.values))


@dataclass(frozen=True)
class SliceKernel:
    """Batches of rows in, moments of the loss by slice out, once a partition."""

    loss: Loss
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    shown: tuple[tuple[str, ...] | None, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Add up a partition."""
        found = {name: _Slices() for name in ("", *(name for name, _ in self.groups))}
        n_odd, full = 0, ""
        for table in chunks(batches):
            y, s = numbers(table.column(0))[0], numbers(table.column(1))[0]
            known = np.isfinite(y) & np.isfinite(s)
            if self.loss == "log_loss":
                odd = known & ~(((y == 0) | (y == 1)) & (s >= 0) & (s <= 1))
                n_odd += int(odd.sum())
                known &= ~odd
            rows = np.flatnonzero(known)
            if len(rows) == 0:
                continue
            x = self._losses(y[rows], s[rows])
            found[""].add(np.zeros(len(rows), dtype=np.int64), [""], x)
            for name, (codes, values) in coded_groups(table, 2, self.shown, self.groups).items():
                found[name].add(codes[rows], values, x)
            full = next((name for name, parts in self.groups if len(parts) == 1 and len(found[name].values) > MOST_VALUES), "")
            if full:
                break
        if full or n_odd:
            told = {"group": [FULL if full else ODD], "group_value": [full], "n": [1 if full else n_odd], "mean": [0.0], "m2": [0.0]}
            yield pa.RecordBatch.from_pydict(told)
        for name, slices in found.items():
            if slices.moments is not None and not full:
                kept = np.flatnonzero(slices.moments.n)
                values_of = np.array(list(slices.values), dtype=object)[kept].tolist()
                yield from _table([name] * len(kept), values_of, _picked(slices.moments, kept)).to_batches()

    def _losses(self, y: npt.NDArray[np.float64], s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.loss == "log_loss":
            return row_losses(y, s)[1]
        return (s - y) ** 2 if self.loss == "squared_error" else np.abs(s - y)


def merge_kernel(table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
    """Merge the moments of each slice."""
    into = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    first = table.take(starts[:-1])
    whole = merged(_moments(table), into, len(starts) - 1)
    yield _table(first.column("group").to_pylist(), first.column("group_value").to_pylist(), whole)


def _moments(table: pa.Table) -> GroupMoments:
    n, mean, m2 = (table.column(name).to_numpy() for name in ("n", "mean", "m2"))
    return GroupMoments(n, mean[:, None], m2[:, None, None])


def _picked(moments: GroupMoments, at: npt.NDArray[np.int64]) -> GroupMoments:
    return GroupMoments(moments.n[at], moments.mean[at], moments.m2[at])


def _table(groups: list[str], values: list[str], moments: GroupMoments) -> pa.Table:
    return pa.table(
        {
            "group": pa.array(groups, pa.string()),
            "group_value": pa.array(values, pa.string()),
            "n": pa.array(moments.n, pa.int64()),
            "mean": pa.array(moments.mean[:, 0], pa.float64()),
            "m2": pa.array(moments.m2[:, 0, 0], pa.float64()),
        }
    )
