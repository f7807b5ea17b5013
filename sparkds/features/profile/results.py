"""Profile results: what a merged state says of a column, and how columns go together.

A pure function of states: numbers with their errors, values as they are shown, findings; and the rows, page and metrics made of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sparkds.days import day_of, instant_of
from sparkds.features.profile.column_state import NUMERIC, TEMPORAL, TEXTUAL, ColumnState, Exact
from sparkds.features.profile.declaration import Profile
from sparkds.features.profile.distinct import bits_of
from sparkds.features.profile.value_bins import values_of

BARS: Final = 24
LONG_DIGITS: Final = 18
"""Digits of a decimal that a long holds; frequent values of more digits are kept as texts."""
FEW: Final = 10
"""With fewer values nothing is called like an id."""
DIFFERENT: Final = 0.1
"""Share of different values up to which the frequency ratio tells of a near-constant column."""
FINDINGS: Final = {
    "all_null": "has no value",
    "constant": "has one value only",
    "near_constant": "is near-constant",
    "id_like": "is like an id",
    "correlation_left_out": "is not correlated with others (more numeric columns than `correlated`)",
}


class QuantileValue(NamedTuple):
    """Quantile: its share, the value (days since 1970 for dates and instants) and how it is shown."""

    share: float
    value: float
    shown: str


class TopValue(NamedTuple):
    """Frequent value; null where only its hash is known."""

    value: str | None
    n: int
    share: float


class Bar(NamedTuple):
    """Rows from `low` to below `high`; the outer bars also hold what is beyond."""

    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ColumnProfile:
    """What is known of a column.

    Attributes
    ----------
    column, type, kind : str
    position : int
    first_day, last_day : date, optional
        Of the slices with a day.
    n, nulls, nans, infinities, zeros, negatives : int
        Rows; shares are of all rows.
    distinct : int
        Different values, neither null nor NaN.
    distinct_error : float
        Its relative standard error; 0 where it is exact.
    minimum, maximum : str, optional
        Of finite values, exact; instants in `time_zone`; of the lengths for texts.
    mean, sd, skewness, kurtosis : float
        Of finite values, of lengths for texts; sd with n - 1, skewness g1 and excess kurtosis g2, both biased. NaN where not computable.
    quantiles : tuple of QuantileValue
        Smallest value with at least the share of values at or below it, within `quantile_error`.
    quantile_error : str
        Largest error of a quantile.
    top : tuple of TopValue
        Most frequent values; shares are of the rows with a value.
    top_error : int
        A value occurs at most so many times more than stated; 0 where counts are exact.
    histogram : tuple of Bar
    time_zone : str, optional
        Zone in which instants are shown; ``none`` for timestamps without zone.
    findings : tuple of str
        Of `FINDINGS`.
    """

    column: str
    position: int
    type: str
    kind: str
    first_day: date | None
    last_day: date | None
    n: int
    nulls: int
    null_share: float
    nans: int
    nan_share: float
    infinities: int
    zeros: int
    zero_share: float
    negatives: int
    negative_share: float
    distinct: int
    distinct_error: float
    minimum: str | None
    maximum: str | None
    mean: float
    sd: float
    skewness: float
    kurtosis: float
    quantiles: tuple[QuantileValue, ...]
    quantile_error: str
    top: tuple[TopValue, ...]
    top_error: int
    histogram: tuple[Bar, ...]
    time_zone: str | None
    findings: tuple[str, ...]


class Correlation(NamedTuple):
    """Correlations of two columns: Pearson over `n` rows with both, Spearman over `n_sampled` sampled ones."""

    column: str
    other: str
    pearson: float
    n: int
    spearman: float
    n_sampled: int


@dataclass(frozen=True)
class TableProfile:
    """Profile of a table.

    Attributes
    ----------
    columns : tuple of ColumnProfile
        By position.
    correlations : tuple of Correlation
        Each pair once.
    n_slices : int
    undated : int
        Rows whose time is null.
    """

    columns: tuple[ColumnProfile, ...]
    correlations: tuple[Correlation, ...]
    n_slices: int
    undated: int

    @property
    def n(self) -> int:
        """Rows."""
        return max((column.n for column in self.columns), default=0)

    @property
    def metrics(self) -> dict[str, dict[str, float | int | str]]:
        """Flat numbers of each column, for a registry or a log; without what is not computable.

        Keys are ``n``, ``null_share``, ``nan_share``, ``zero_share``, ``negative_share``, ``distinct``, ``mean``, ``sd``, ``skewness``,
        ``minimum``, ``maximum``, ``top_share``, and ``q50`` for the quantile of share 0.5.
        """
        return {column.column: _metrics(column) for column in self.columns}

    @property
    def warnings(self) -> list[str]:
        """Sentences on columns to look at."""
        told = [f"column '{c.column}' {FINDINGS[f]}" for c in self.columns for f in c.findings]
        told += [f"column '{c.column}' has {c.nans} NaN and {c.infinities} infinite values" for c in self.columns if c.nans or c.infinities]
        return told + ([f"{self.undated} rows have no time"] if self.undated else [])


def _metrics(column: ColumnProfile) -> dict[str, float | int | str]:
    names = ("n", "null_share", "nan_share", "zero_share", "negative_share", "distinct", "mean", "sd", "skewness", "minimum", "maximum")
    found: dict[str, float | int | str] = {}
    for name in names:
        value = getattr(column, name)
        if value is not None and not (isinstance(value, float) and math.isnan(value)):
            found[name] = value
    if column.top:
        found["top_share"] = column.top[0].share
    found |= {f"q{quantile.share * 100:g}": quantile.value for quantile in column.quantiles}
    return found


def column_profile(
    spec: Profile, state: ColumnState, *, column: str, position: int, dtype: str, days: tuple[date | None, date | None]
) -> ColumnProfile:
    """Profile of a column from its state."""
    n, values = state.n, state.values
    share = (lambda count: count / n) if n else (lambda count: math.nan)
    measured = state.kind in (*NUMERIC, *TEXTUAL)
    plain = {name: getattr(state.moments, name) for name in ("mean", "sd", "skewness", "kurtosis")}
    if not measured or not state.moments.n:
        plain = dict.fromkeys(plain, math.nan)
    hashes, counts = state.frequent.largest(spec.top)
    top = tuple(
        TopValue(text, int(count), int(count) / values)
        for text, count in zip(_shown_values(spec, state, hashes, dtype), counts, strict=True)
    )
    return ColumnProfile(
        column=column,
        position=position,
        type=dtype,
        kind=state.kind,
        first_day=days[0],
        last_day=days[1],
        n=n,
        nulls=state.nulls,
        null_share=share(state.nulls),
        nans=state.nans,
        nan_share=share(state.nans),
        infinities=state.infinities,
        zeros=state.zeros,
        zero_share=share(state.zeros),
        negatives=state.negatives,
        negative_share=share(state.negatives),
        distinct=min(round(state.distinct.estimate), max(values, 0)),
        distinct_error=state.distinct.relative_error,
        minimum=shown(spec, state, state.low),
        maximum=shown(spec, state, state.high),
        **plain,
        quantiles=_quantiles(spec, state),
        quantile_error="" if state.kind == "other" else "1 day" if state.kind in TEMPORAL else "0.8 % of the value",
        top=top,
        top_error=state.frequent.error,
        histogram=_bars(state),
        time_zone={"timestamp": spec.time_zone, "timestamp_ntz": "none"}.get(state.kind),
        findings=_findings(spec, state, dtype),
    )


def shown(spec: Profile, state: ColumnState, value: Exact | None) -> str | None:
    """Value of a column as text: dates and instants in ISO 8601, instants in the declared zone."""
    if value is None:
        return None
    try:
        if state.kind == "date":
            return day_of(int(value)).isoformat()
        if state.kind == "timestamp":
            return instant_of(int(value)).astimezone(spec.zone).isoformat()
        if state.kind == "timestamp_ntz":
            return (datetime(1970, 1, 1) + timedelta(microseconds=int(value))).isoformat()
    except OverflowError:
        return f"{value} (beyond the calendar)"
    if state.kind == "boolean":
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) else repr(value) if isinstance(value, float) else str(value)


def _digits(dtype: str) -> tuple[int, int]:
    """Digits of a decimal type, and those after the point."""
    precision, scale = dtype.removeprefix("decimal(").rstrip(")").split(",")
    return int(precision), int(scale)


def _shown_values(spec: Profile, state: ColumnState, hashes: npt.NDArray[np.uint64], dtype: str) -> list[str | None]:
    precision, scale = _digits(dtype) if state.kind == "decimal" else (0, 0)
    if state.kind in TEXTUAL or precision > LONG_DIGITS:
        return [state.frequent.texts.get(value) for value in hashes.tolist()]
    bits = bits_of(hashes)
    if state.kind == "number":
        return [str(np.float32(x)) if dtype == "float" else repr(x) for x in bits.view(np.float64).tolist()]
    if state.kind == "decimal":
        return [f"{Decimal(x).scaleb(-scale):f}" for x in bits.view(np.int64).tolist()]
    return [shown(spec, state, value) for value in bits.view(np.int64).tolist()]


def _quantiles(spec: Profile, state: ColumnState) -> tuple[QuantileValue, ...]:
    if not state.bins.n:
        return ()
    bins = state.bins.places(spec.quantiles)
    if state.kind in TEMPORAL:
        return tuple(QuantileValue(s, float(b), _day(int(b))) for s, b in zip(spec.quantiles, bins, strict=True))
    whole = state.kind not in ("number", "decimal")
    values = np.clip(values_of(bins, whole=whole), float(state.low or 0), float(state.high or 0))
    return tuple(
        QuantileValue(s, float(v), f"{v:.0f}" if whole else f"{v:.6g}") for s, v in zip(spec.quantiles, values.tolist(), strict=True)
    )


def _day(number: int) -> str:
    try:
        return day_of(number).isoformat()
    except OverflowError:
        return f"day {number}"


def _bars(state: ColumnState) -> tuple[Bar, ...]:
    """Bars of equal width from the 1 % to the 99 % quantile; what is beyond is in the outer ones."""
    if not state.bins.n or state.kind == "other":
        return ()
    bins, counts = state.bins.bins, state.bins.counts
    temporal, whole = state.kind in TEMPORAL, state.kind not in ("number", "decimal")
    at = bins.astype(np.float64) if temporal else values_of(bins, whole=whole)
    low, high = (float(at[np.searchsorted(bins, place)]) for place in state.bins.places((0.01, 0.99)))
    if whole and high - low < BARS:
        edges = np.arange(low, high + 2) - (0.0 if temporal else 0.5)
    elif high > low:
        edges = np.linspace(low, high, BARS + 1)
    else:
        edges = np.array([low - 0.5, low + 0.5])
    into = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, len(edges) - 2)
    n = np.bincount(into, weights=counts, minlength=len(edges) - 1)
    return tuple(Bar(float(a), float(b), int(count)) for a, b, count in zip(edges[:-1], edges[1:], n, strict=True))


def _findings(spec: Profile, state: ColumnState, dtype: str) -> tuple[str, ...]:
    values = state.values
    if not values:
        return ("all_null",) if state.n else ()
    if state.kind == "other":
        return ()
    found: list[str] = []
    distinct = state.distinct.estimate
    _, counts = state.frequent.largest(2)
    if distinct == 1:
        found.append("constant")
    elif len(counts):
        ratio = counts[0] / counts[1] if len(counts) > 1 else counts[0] / max(1, state.frequent.error)
        rare = distinct < DIFFERENT * values
        if counts[0] >= spec.near_constant * values or (rare and ratio >= spec.frequency_ratio):
            found.append("near_constant")
    names = state.kind in ("integer", *TEXTUAL) or (state.kind == "decimal" and _digits(dtype)[1] == 0)
    if names and values >= FEW and distinct >= spec.id_like * values * (1 - 2 * state.distinct.relative_error):
        found.append("id_like")
    return tuple(found)


def spearman(x: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Spearman's correlation of columns over the rows in which both have a value, and their number: (q, q) each.

    Parameters
    ----------
    x : (n, q)
        NaN where there is no value; ties have their mean rank.
    """
    from scipy.stats import rankdata

    n, q = x.shape
    has = ~np.isnan(x)
    whole = np.flatnonzero(has.all(axis=0))
    found = np.full((q, q), np.nan)
    rows = (has.T.astype(np.int64) @ has.astype(np.int64)).astype(np.int64)
    if n > 1 and len(whole):
        found[np.ix_(whole, whole)] = _pearson(rankdata(x[:, whole], axis=0))
    holed = set(range(q)) - set(whole.tolist())
    for i in sorted(holed):
        for j in range(q):
            if j in holed and j < i:
                continue
            both = has[:, i] & has[:, j]
            if both.sum() > 1:
                found[i, j] = found[j, i] = _pearson(rankdata(x[both][:, [i, j]], axis=0))[0, 1]
    return found, rows


def _pearson(ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    z = ranks - ranks.mean(axis=0)
    size = np.sqrt((z * z).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: npt.NDArray[np.float64] = np.clip((z.T @ z) / np.outer(size, size), -1, 1)
    return found


def correlations_of(
    columns: Sequence[str],
    numbers: Mapping[str, int],
    pearson: Mapping[str, Mapping[int, tuple[float, int]]],
    samples: npt.NDArray[np.float64],
) -> tuple[Correlation, ...]:
    """Correlations of all pairs of columns.

    Parameters
    ----------
    columns : sequence of str
        Numeric ones, by position.
    numbers : mapping of column to number
    pearson : mapping of column to mapping of number to (r, rows)
    samples : (k, q)
        Sampled rows of these columns.
    """
    rank, rows = spearman(samples)
    found = []
    for i, column in enumerate(columns):
        for j in range(i + 1, len(columns)):
            other = columns[j]
            known = pearson[column].get(numbers[other]) or pearson[other].get(numbers[column])
            if known is not None:
                found.append(Correlation(column, other, known[0], known[1], float(rank[i, j]), int(rows[i, j])))
    return tuple(found)
