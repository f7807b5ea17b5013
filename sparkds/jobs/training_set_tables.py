"""Training-set tables: names, comments and keys of the tables that the stage `training_set` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sparkds.features.point_in_time import ResolvedTable, Spine
from sparkds.tables import TableSpec


def table_names(name: str) -> dict[str, str]:
    """Names of the output tables by what they hold."""
    return {"rows": name, "statistics": f"{name}_statistics"}


def training_set_spec(
    spine: Spine,
    tables: Sequence[ResolvedTable],
    *,
    keys: Sequence[str],
    comments: Mapping[str, str],
    definition_hash: str,
) -> TableSpec:
    """Training set: one row per row of the spine.

    Parameters
    ----------
    keys : sequence of str
        Columns that name a row; none where the spine may repeat one.
    comments : mapping of column to comment
        Of what the stage made itself.
    """
    told: dict[str, str] = {spine.time: f"instant t of the row; a date is its first instant in {spine.time_zone}"}
    for table in tables:
        label, days = table.spec.label, table.spec.lookback_days
        bound = "" if days is None else f", at most {days} days before t"
        for feature in table.features:
            what = f"days from {feature.column} to the last day that has ended at t" if feature.is_days_since else feature.column
            told[feature.name] = f"{what} of {label}, last row with {table.spec.known_at} <= t{bound}; null where there is none"
        told[table.spec.known_at_column] = f"instant from which the row taken of {label} is known; null where there is none"
    return TableSpec(
        comment="Rows of a spine with the features that were known at their instant",
        columns={**told, **comments},
        keys=tuple(keys),
        cluster_by=(spine.time,),
        definition_hash=definition_hash,
    )


def statistics_spec() -> TableSpec:
    """Match rates and staleness of every feature."""
    return TableSpec(
        comment="How much of each feature a training set has, by the version in the commit's metadata",
        columns={
            "feature_table": "name of the feature table",
            "n_rows": "rows of the training set",
            "n_matched": "rows for which the feature table had a row that was known at t and not too old",
            "match_rate": "n_matched / n_rows",
            "n_values": "matched rows whose value is neither null nor NaN nor infinite",
            "value_rate": "n_values / n_rows",
            "staleness": "rows with a value by days of 24 hours from known_at to t, low_days <= days < high_days",
        },
        keys=("feature_table", "feature"),
    )
