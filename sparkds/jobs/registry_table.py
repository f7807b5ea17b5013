"""Registry table: reading and writing the records of feature tables at a location, one row per version.

Takes and gives `FeatureRecord`; a version that is registered again with the same facts is not written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sparkds import collect
from sparkds.days import instant_of
from sparkds.features.registry.records import COMMENTS, ROW, FeatureRecord, record_of
from sparkds.tables import Tables, TableSpec

REGISTRY: Final = "feature_registry"
SPEC: Final = TableSpec(comment="Versions of the feature tables of this location", columns=COMMENTS, keys=("feature_table", "version"))
JOB: Final = "feature_engineering_pipeline"


def records_in(tables: Tables, registry: str = REGISTRY) -> list[FeatureRecord]:
    """All records of a location, by name and version; none where nothing is registered."""
    from pyspark.sql import functions as F

    if not tables.exists(registry):
        return []
    frame = tables.read(registry)
    at = [F.unix_micros(name).alias(f"{name}_us") for name in ("created_at", "updated_at")]
    rows = collect.small_rows(frame.select("*", *at).orderBy("feature_table", "version"))
    return [record_of(row, created_at=instant_of(row["created_at_us"]), updated_at=instant_of(row["updated_at_us"])) for row in rows]


def register(tables: Tables, record: FeatureRecord, registry: str = REGISTRY) -> int | None:
    """Write a record in the place of its version, which keeps the instant at which it was made; one commit.

    Returns
    -------
    int or None
        Version of the registry's table; None when nothing but the instant would change, and nothing is written.
    """
    known = {r.version: r for r in records_in(tables, registry) if r.feature_table == record.feature_table}
    before = known.get(record.version)
    if before is not None:
        record = replace(record, created_at=before.created_at)
        if replace(record, updated_at=before.updated_at) == before:
            return None
    frame = tables.spark.createDataFrame([record.row()], ROW)
    commit = tables.replace(
        registry,
        frame,
        rows={"feature_table": [record.feature_table], "version": [record.version]},
        metadata={"job": JOB, "registered": record.label, "definition_hash": record.definition_hash},
        spec=SPEC,
    )
    return commit.version
