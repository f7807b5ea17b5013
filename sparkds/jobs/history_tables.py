"""History tables: names, comments, keys and layout of the tables that the history stage writes."""

from __future__ import annotations

import json

from sparkds.features.change_points import derived_days
from sparkds.features.feature_set import FeatureSet
from sparkds.tables import TableSpec

DAYS_SINCE_PROPERTY = "sparkds.days_since"
"""Property of a history: JSON of {feature: column with the day from which it counts}."""


def step_name(history: str) -> str:
    """Table in which the rows of a step wait to be merged."""
    return f"{history}_step"


def history_spec(spec: FeatureSet, source: str) -> TableSpec:
    """History: one row per entity and day on which a value changes."""
    days = derived_days(spec)
    columns = {
        "valid_from": f"first local day ({spec.time_zone}) as_of which the row holds",
        "valid_to": "last such day; null while nothing follows",
        "known_at": "instant from which the row is known: midnight after valid_from",
    }
    for feature in spec.computed:
        if feature.name in days:
            columns[days[feature.name]] = f"day from which {feature.name} counts to as_of: {feature.aggregation.comment(feature.window)}"
        else:
            columns[feature.name] = feature.aggregation.comment(feature.window)
    return TableSpec(
        comment=f"Features of each entity from each day on which one of them changes, from {source}",
        columns=columns,
        keys=(*spec.keys, "valid_from"),
        cluster_by=("valid_from",),
        definition_hash=spec.definition_hash,
        deletion_vectors=True,
        facts={DAYS_SINCE_PROPERTY: json.dumps(days)},
    )


def step_spec(spec: FeatureSet, history: str) -> TableSpec:
    """Step: the rows of the history that the last run inserted, updated or deleted."""
    return TableSpec(
        comment=f"Rows of {history} that the last run inserted (new), ended (ended) or deleted (gone)",
        columns={"change": "new, ended or gone"},
        keys=(*spec.keys, "valid_from"),
    )
