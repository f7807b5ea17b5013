"""Profile tables: names, comments and layout of the tables of a profile, and its rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from sparkds.features.profile.declaration import Profile
from sparkds.features.profile.results import ColumnProfile, Correlation
from sparkds.tables import TableSpec

PROFILE_SCHEMA: Final = (
    "`column` string, position int, type string, kind string, first_day date, last_day date, n bigint, nulls bigint, null_share double, "
    "nans bigint, nan_share double, infinities bigint, zeros bigint, zero_share double, negatives bigint, negative_share double, "
    "`distinct` bigint, distinct_error double, minimum string, maximum string, mean double, sd double, skewness double, kurtosis double, "
    "quantiles array<struct<share:double,value:double,shown:string>>, quantile_error string, "
    "top array<struct<value:string,n:bigint,share:double>>, top_error bigint, "
    "histogram array<struct<low:double,high:double,n:bigint>>, time_zone string, findings array<string>"
)
CORRELATION_SCHEMA: Final = "`column` string, other string, pearson double, n bigint, spearman double, n_sampled bigint"


def profile_tables(name: str) -> dict[str, str]:
    """Names of the tables by what they hold.

    Examples
    --------
    >>> profile_tables("orders")["states"]
    'orders_profile_states'
    """
    stem = re.sub(r"\W", "_", name)
    return {
        "states": f"{stem}_profile_states",
        "profile": f"{stem}_profile",
        "correlations": f"{stem}_profile_correlations",
    }


def profile_rows(columns: Sequence[ColumnProfile]) -> list[tuple[Any, ...]]:
    """Rows of the table of columns."""
    named = [re.split(r"\s", part.strip())[0].strip("`") for part in re.split(r",\s(?![^<]*>)", PROFILE_SCHEMA)]
    assert set(named) == {one.name for one in fields(ColumnProfile)}
    plural = ("quantiles", "top", "histogram", "findings")
    return [tuple(list(getattr(c, name)) if name in plural else getattr(c, name) for name in named) for c in columns]


def correlation_rows(correlations: Sequence[Correlation]) -> list[tuple[Any, ...]]:
    """Rows of the table of correlations."""
    return [tuple(pair) for pair in correlations]


def states_spec(spec: Profile, table: str) -> TableSpec:
    """States: one row per slice and column."""
    slices = f"local day ({spec.time_zone}) of {spec.time}" if spec.time else "whole table"
    return TableSpec(
        comment=f"Mergeable state of each column of {table} in each slice ({slices})",
        columns={
            "day": f"{slices}; 9999-12-31 for rows without a time, null where there are no days",
            "n": "rows",
            "nulls": "rows with null",
            "minimum": "smallest finite value, exact: days since 1970 of dates, microseconds of instants, lengths of texts",
            "maximum": "largest finite value, likewise",
            "mean": "mean of the finite values; of the lengths of texts",
            "m2": "sum of squared deviations from the mean; m3 and m4 of the third and fourth powers",
            "value_bins": "bins and counts, little-endian 64-bit: values by exponent and leading 6 bits of the mantissa, dates by day",
            "distinct_hashes": "number of kept hashes and the smallest different ones, little-endian 64-bit",
            "frequent_hashes": "number of kept values and the hashes of the most frequent ones",
            "frequent_counts": "their counts",
            "frequent_error": "a value occurs at most this often beyond its count",
            "texts": "hash to text of the most frequent values of text columns",
            "pairs": "co-moments with the numeric columns of a larger number",
            "sample": "priorities and values of a seeded sample of rows",
        },
        keys=("day", "column"),
        cluster_by=("day",),
        definition_hash=spec.state_hash,
    )


def profile_spec(spec: Profile, table: str) -> TableSpec:
    """Profile: one row per column."""
    return TableSpec(
        comment=f"What is known of each column of {table} over the slices first_day … last_day",
        columns={
            "null_share": "share of all rows, in [0, 1]; likewise the other shares of rows",
            "distinct": "different values, neither null nor NaN",
            "distinct_error": "relative standard error of distinct; 0 where it is exact",
            "minimum": f"smallest finite value; instants in {spec.time_zone}; lengths of texts",
            "sd": "standard deviation, n - 1",
            "skewness": "g1, biased",
            "kurtosis": "excess, g2, biased",
            "quantiles": "share, value (days since 1970 for dates and instants), value as text",
            "quantile_error": "largest error of a quantile",
            "top": "most frequent values; shares of the rows with a value",
            "top_error": "a value occurs at most this often beyond its count",
            "histogram": "rows by bar; the outer bars hold what is beyond the 1 % and 99 % quantiles",
            "findings": "all_null, constant, near_constant, id_like",
        },
        keys=("column",),
    )


def correlation_spec(spec: Profile, table: str) -> TableSpec:
    """Correlations: one row per pair of numeric columns."""
    return TableSpec(
        comment=f"Correlations of the numeric columns of {table}",
        columns={
            "pearson": "over the n rows in which both have a finite value (pairwise deletion)",
            "n": "rows",
            "spearman": f"over n_sampled rows of a sample by seeded hash (seed {spec.seed})",
            "n_sampled": "rows",
        },
        keys=("column", "other"),
    )
