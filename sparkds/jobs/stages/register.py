"""Register: keep what a feature table is - version, definition, columns, sources, lineage - where people and the catalog find it.

The stage takes the facts from the table's newest commit and from the stage that wrote it, writes one row of the registry, and on Unity
Catalog tells the catalog too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from sparkds import __version__, collect, sessions
from sparkds.commits import Commit
from sparkds.errors import ColumnError, TableError
from sparkds.features.registry.catalog_facts import statements
from sparkds.features.registry.lineage import Origin
from sparkds.features.registry.records import ColumnRecord, FeatureRecord
from sparkds.jobs.registry_table import REGISTRY, records_in, register
from sparkds.jobs.stages.stage import Place, Stage, StageResult
from sparkds.jobs.status import TableResult
from sparkds.tables import KEYS_PROPERTY, Tables

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

    from sparkds.jobs.feature_engineering_pipeline import Config

LOG = logging.getLogger("sparkds")
TIMES: Final = ("known_at", "as_of", "day", "complete", "valid_from", "valid_to")
"""Columns of a feature table that are no features."""


class RegisterStage(Stage):
    """Register a feature table of the output.

    Attributes
    ----------
    table : str, optional
        The newest version of the job's own feature table if absent.
    feature_table : str, optional
        Name under which it is registered; the table's own if absent.
    owner, description : str
    selection : str, optional
        Table of decisions of the stage `select`; its kept columns are kept with the record.
    profile : str, optional
        Table of the stage `profile`; its figures are kept with the record.
    registry : str
    """

    kind: Literal["register"] = "register"
    table: str | None = Field(default=None, description="table of the output; the job's own feature table if absent")
    feature_table: str | None = Field(default=None, description="name in the registry; the table's own if absent")
    owner: str = Field(default="", description="who answers for it")
    description: str = Field(default="", description="what it is for")
    selection: str | None = Field(default=None, description="table of decisions of the stage select")
    profile: str | None = Field(default=None, description="table of the stage profile")
    registry: str = Field(default=REGISTRY, description="table of the registry")

    def tables_needed(self, config: Config) -> tuple[str, ...]:
        """The table, and those of selection and profile."""
        return tuple(t for t in (self.table or config.name, self.selection, self.profile) if t is not None)

    def tables_written(self, config: Config) -> tuple[str, ...]:
        """The registry."""
        return (self.registry,)

    def run(self, place: Place) -> StageResult:
        """Register, and tell the catalog where there is one."""
        record = self._record(place)
        version = register(place.output, record, self.registry)
        told = tell_catalog(place.output, record)
        now = version if version is not None else place.output.version(self.registry)
        section = {
            "feature_table": record.feature_table, "version": record.version, "table": record.table,
            "definition_hash": record.definition_hash, "columns": len(record.columns), "selected": len(record.selected),
            "written": version is not None, "catalog_statements": told,
        }  # fmt: skip
        return StageResult([TableResult(self.registry, now, 0 if version is None else 1)], section)

    def _record(self, place: Place) -> FeatureRecord:
        config, output = place.config, place.output
        table, number = self._table(place)
        commit = output.last_commit(table)
        if commit is None:
            if not output.exists(table):
                output.read(table)  # names what is there instead
            raise TableError(f"table '{table}' in {output.location} was not written by sparkds; register what a stage has written")
        schema: StructType = output.read(table).schema
        logical = config.name if self.table is None else table
        stage = next((s for s in config.stages if logical in s.tables_written(config)), None)
        origins = stage.origins(place, logical) if stage is not None else {}
        primary = [key for key in output.properties(table).get(KEYS_PROPERTY, "").split(",") if key]
        keys = tuple(key for key in primary if key not in TIMES) or config.keys
        for key in keys:
            if key not in schema.fieldNames():
                raise ColumnError.missing(key, schema.fieldNames(), f"table '{table}'")
        name = self.feature_table or logical
        definition = str(commit.metadata.get("definition_hash") or output.definition(table) or "")
        if number is None:
            number = _version(records_in(output, self.registry), name, definition)
        return FeatureRecord(
            name, number, table, stage.kind if stage is not None else "table", definition,
            _declaration(commit, stage), self.owner, self.description, keys, _time_key(schema.fieldNames()),
            tuple(_column(f, origins) for f in schema.fields if f.name not in (*keys, *TIMES)),
            _sources(commit), __version__, place.now.astimezone(UTC), place.now.astimezone(UTC),
            tuple(t for t in (stage.state_tables(config) if stage is not None else ()) if output.exists(t)),
            self._selected(output), self._metrics(output),
        )  # fmt: skip

    def _table(self, place: Place) -> tuple[str, int | None]:
        """Table that holds the rows, and its version where the table itself has one."""
        if self.table is not None:
            return self.table, None
        from sparkds.jobs.stages.feature_versions import feature_version

        if not place.config.needs_features:
            return place.config.name, None
        version = feature_version(place.output, place.config.name, place.config.feature_set)
        return version.names["snapshots"], version.number

    def _selected(self, output: Tables) -> tuple[str, ...]:
        if self.selection is None:
            return ()
        rows = collect.small_rows(output.read(self.selection).where("kept").select("column"))
        return tuple(sorted(row["column"] for row in rows))

    def _metrics(self, output: Tables) -> tuple[tuple[str, str, float], ...]:
        if self.profile is None:
            return ()
        frame = output.read(self.profile)
        numbers = [name for name, dtype in frame.dtypes if dtype in ("bigint", "int", "double", "float") and name != "column"]
        rows = collect.small_rows(frame.select("column", *(f"`{n}`" for n in numbers)))
        found = ((row["column"], name, row[name]) for row in rows for name in numbers)
        return tuple(sorted((column, name, float(value)) for column, name, value in found if value is not None and value == value))


def tell_catalog(output: Tables, record: FeatureRecord) -> int:
    """Run the catalog's statements on Unity Catalog; elsewhere a log line and nothing else. Gives how many were run."""
    if not sessions.on_databricks() or output.in_directory:
        LOG.info("no catalog to tell of %s: comments, tags and keys are set on Unity Catalog only", record.label)
        return 0
    told = statements(record, output.identifier(record.table))
    for statement in told:
        output.spark.sql(statement)
    return len(told)


def _version(records: list[FeatureRecord], name: str, definition: str) -> int:
    """Version with that definition, or the next one."""
    of_name = [r for r in records if r.feature_table == name]
    for record in of_name:
        if record.definition_hash == definition:
            return record.version
    return 1 + max((r.version for r in of_name), default=0)


def _declaration(commit: Commit, stage: Stage | None) -> Mapping[str, Any]:
    told = commit.metadata.get("declaration")
    if isinstance(told, Mapping):
        return told
    return stage.model_dump(mode="json", exclude_none=True) if stage is not None else {}


def _sources(commit: Commit) -> tuple[tuple[str, str], ...]:
    """Tables that a commit says it was made of, with their versions."""
    told = commit.metadata.get("sources")
    if isinstance(told, Mapping):
        return tuple(sorted((str(table), str(version)) for table, version in told.items()))
    source = commit.metadata.get("source")
    return ((str(source), str(commit.metadata.get("source_version", ""))),) if source else ()


def _time_key(columns: list[str]) -> str:
    return next((name for name in ("known_at", "as_of", "day") if name in columns), "")


def _column(field: Any, origins: Mapping[str, Origin]) -> ColumnRecord:
    origin = origins.get(field.name, Origin("", "", "", ()))
    comment = field.metadata.get("comment") or origin.comment
    return ColumnRecord(field.name, field.dataType.simpleString(), origin.unit, comment, origin.definition, origin.sources)
