"""Feature tables: names, comments, keys and layout of the tables that the feature job writes."""

from __future__ import annotations

from sparkds.features.feature_set import FeatureSet
from sparkds.tables import TableSpec

SCORE_COMMENTS = {
    "r_score": "1 … 5, 5 the most recent fifth",
    "f_score": "1 … 5, 5 the most frequent fifth",
    "m_score": "1 … 5, 5 the highest value fifth",
    "rfm_segment": "segment of the three scores",
    "rfm_edges_version": "version of the quantile edges behind the scores",
}


def versioned(name: str, version: int) -> str:
    """Name of the table of a version of a feature table: the name itself for the first one.

    Examples
    --------
    >>> versioned("features", 1), versioned("features", 2)
    ('features', 'features_v2')
    """
    return name if version == 1 else f"{name}_v{version}"


def table_names(name: str) -> dict[str, str]:
    """Names of the output tables by what they hold."""
    return {"tiles": f"{name}_tiles", "snapshots": name, "checkpoints": f"{name}_checkpoints", "edges": f"{name}_rfm_edges"}


def tile_spec(spec: FeatureSet, source: str) -> TableSpec:
    """Tiles: one row per entity and local day."""
    return TableSpec(
        comment=f"Mergeable state of each entity and local day ({spec.time_zone}) of {source}",
        columns={
            "day": f"local calendar day in {spec.time_zone}",
            **{s.name: (type(s).__doc__ or "").strip().splitlines()[0] for s in spec.states},
        },
        keys=(*spec.keys, "day"),
        cluster_by=("day",),
        definition_hash=spec.tile_hash,
    )


def snapshot_spec(spec: FeatureSet, source: str) -> TableSpec:
    """Snapshots: one row per entity and `as_of`."""
    return TableSpec(
        comment=f"Features of each entity on each day as_of, from {source}",
        columns={
            "as_of": f"last local day ({spec.time_zone}) that the row covers",
            "known_at": "instant from which the row is known: midnight after as_of",
            "complete": "whether the data of as_of were complete when the row was written",
            **{f.name: f.aggregation.comment(f.window) for f in spec.computed},
            **(SCORE_COMMENTS if spec.rfm is not None else {}),
        },
        keys=(*spec.keys, "as_of"),
        cluster_by=("as_of",),
        definition_hash=spec.definition_hash,
    )


def checkpoint_spec(spec: FeatureSet) -> TableSpec:
    """Checkpoint: one row per entity, its state through a day."""
    return TableSpec(
        comment="State of each entity merged over all days up to `day`; read by daily runs instead of old tiles",
        keys=(*spec.keys, "day"),
        definition_hash=spec.tile_hash,
    )


def edges_spec() -> TableSpec:
    """Quantile edges of the RFM measures by version."""
    return TableSpec(
        comment="Inner quantile edges of the RFM measures; a version is never changed",
        columns={"edges": "ascending, at shares 0.2 0.4 0.6 0.8", "fitted_as_of": "snapshot the edges were fitted from"},
        keys=("version", "measure"),
        cluster_by=("version",),
    )
