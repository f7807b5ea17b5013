"""Tables: reading events from and writing results to a location, each write one atomic commit that can be repeated.

A location is a directory or a ``catalog.schema``; a table is a name in it. Input may be Delta, Parquet, CSV or JSON,
output is always Delta; nothing outside this module and `sessions` knows that word.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sparkds.commits import UPKEEP, Commit, commit_metadata, commit_of
from sparkds.errors import DataError, TableError, closest
from sparkds.locations import Between, is_directory, literal, local_files, remote_files, slice_predicate
from sparkds.sql import quoted
from sparkds.table_failures import named_failure, says_absent
from sparkds.table_spec import HASH_PROPERTY, KEYS_PROPERTY, TableSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

T = TypeVar("T")

__all__ = ["HASH_PROPERTY", "KEYS_PROPERTY", "TableSpec", "Tables"]

UNUSUAL: Final = frozenset(" ,;{}()\n\t=")
"""Characters of a column name that Parquet refuses, so that Delta keeps the column under another name."""


class Tables:
    """The tables of one location.

    Parameters
    ----------
    spark : SparkSession
    location : str
        ``results/``, ``s3://bucket/path``, ``/Volumes/…``; or ``catalog.schema``, ``schema``.

    Examples
    --------
    >>> Tables(spark, "results/").read("features", version=3)  # doctest: +SKIP
    """

    def __init__(self, spark: SparkSession, location: str) -> None:
        self.spark = spark
        self.in_directory = is_directory(location)
        has_scheme = re.match(r"[a-z0-9]+:/", location) is not None
        self.is_local = self.in_directory and (not has_scheme or location.startswith("file:"))
        self.location = location.rstrip("/") or "/"
        if self.is_local and not has_scheme:
            self.location = str(Path(location).absolute())
        self._file_tables: dict[str, tuple[str, str]] = {}

    def path(self, name: str) -> str:
        """Path of a table in a directory."""
        return f"{self.location}/{name}"

    def identifier(self, name: str) -> str:
        """Identifier of a table of this location for SQL."""
        if self.in_directory:
            return f"delta.{quoted(self.path(name))}"
        return ".".join(quoted(part) for part in (*self.location.split("."), name))

    def exists(self, name: str) -> bool:
        """Whether there is a Delta table of that name."""
        if self.is_local:
            return any(Path(self.path(name).removeprefix("file:"), "_delta_log").glob("*.json"))
        return self._history(name, 1) is not None

    def read(
        self,
        name: str,
        *,
        version: int | None = None,
        as_of: datetime | date | str | None = None,
        schema: StructType | str | None = None,
    ) -> DataFrame:
        """Rows of a table.

        In a directory the table is the Delta or Parquet directory `name`, a directory of Parquet, CSV or JSON files of
        that name, or a file ``name.parquet``, ``.csv``, ``.csv.gz``, ``.json`` or ``.jsonl``.

        Parameters
        ----------
        name : str
        version : int, optional
            Version of a Delta table.
        as_of : datetime, date or str, optional
            Newest version at that time; not together with `version`.
        schema : StructType or DDL, optional
            Columns of a CSV or JSON table; inferred if absent, which reads it once more.

        Raises
        ------
        TableError
            There is no such table, or a version is asked of files.
        """
        if version is not None and as_of is not None:
            raise TableError(f"table '{name}': give version or as_of, not both")
        if self.exists(name):
            reader = self.spark.read.format("delta")
            if version is not None:
                reader = reader.option("versionAsOf", version)
            if as_of is not None:
                reader = reader.option("timestampAsOf", str(as_of))
            if self.in_directory:
                return self._checked(lambda: _resolved(reader.load(self.path(name))), name)
            return self._checked(lambda: _resolved(reader.table(self.identifier(name))), name)
        if version is not None or as_of is not None:
            raise TableError(f"table '{name}' in {self.location} is not a Delta table, so it has no versions")
        if not self.in_directory:
            return self._checked(lambda: _resolved(self.spark.read.table(self.identifier(name))), name)
        kind, path = self._files_of(name)
        reader = self.spark.read.format(kind)
        if kind == "csv":
            reader = reader.option("header", True).option("enforceSchema", False)
            if schema is None:
                reader = reader.option("inferSchema", True)
        if schema is not None:
            reader = reader.schema(schema)
        return self._checked(lambda: _resolved(reader.load(path)), name)

    def source_version(self, name: str) -> str:
        """What the table is made of now: the version of a Delta table, or a digest of all files' paths, sizes and times."""
        history = self._history(name, 1)
        if history is not None:
            return str(history[0].version)
        if not self.in_directory:
            return ""
        _, path = self._files_of(name)
        files = self.spark.read.format("binaryFile").option("recursiveFileLookup", True).load(path)
        rows = files.selectExpr("path", "length", "unix_micros(modificationTime) as at").collect()
        told = sorted(f"{row['path']} {row['length']} {row['at']}" for row in rows)
        return "files-" + sha256("\n".join(told).encode()).hexdigest()[:16]

    def version(self, name: str) -> int:
        """Newest version of a Delta table."""
        history = self._history(name, 1)
        if history is None:
            raise self._absent(name)
        return history[0].version

    def last_commit(self, name: str) -> Commit | None:
        """Newest commit that this package wrote; None when there is no table or no such commit in its history."""
        limit = 10
        while True:
            history = self._history(name, limit)
            if history is None:
                return None
            changed = False
            for commit in history:
                if commit.metadata:
                    return Commit(commit.version, commit.operation, commit.metadata, commit.rows, changed)
                changed = changed or commit.operation not in UPKEEP
            if len(history) < limit:
                return None
            limit *= 10

    def commits(self, name: str, *, limit: int = 100) -> list[Commit]:
        """Newest commits of this package, the newest first; none when there is no table."""
        return [commit for commit in self._history(name, limit) or [] if commit.metadata]

    def commits_since(self, name: str, version: int) -> list[Commit]:
        """Commits after `version` that changed rows, whoever wrote them, the newest first."""
        newest = self.version(name)
        later = self._history(name, newest - version) or [] if newest > version else []
        return [commit for commit in later if commit.operation not in UPKEEP]

    def replaced_since(self, name: str, version: int) -> list[tuple[str, str]] | None:
        """Slices that the commits after `version` say they ``replaced``, or days ``as_of``; None when that is not known of all of them."""
        history = self._history(name, 1)
        assert history is not None
        slices: list[tuple[str, str]] = []
        for commit in self._history(name, history[0].version - version) or []:
            days = commit.metadata.get("as_of")
            told = commit.metadata.get("replaced", [[day, day] for day in days] if isinstance(days, list) else None)
            if isinstance(told, list):
                slices.extend((low, high) for low, high in told)
            elif commit.operation not in UPKEEP:
                return None
        return slices

    def definition(self, name: str) -> str | None:
        """Definition hash of a table; None when there is no table."""
        if not self.exists(name):
            return None
        return self.properties(name).get(HASH_PROPERTY)

    def properties(self, name: str) -> dict[str, str]:
        """Properties of a Delta table."""
        rows = self._checked(lambda: self.spark.sql(f"DESCRIBE DETAIL {self.identifier(name)}").collect(), name)
        return dict(rows[0]["properties"])

    def ready(self, name: str, schema: StructType, spec: TableSpec) -> None:
        """Make an empty table with comments, properties and clustering unless it is there; hold its definition.

        Raises
        ------
        TableError
            Something else stands at that place, or the table has another definition.
        """
        if self.exists(name):
            found = self.properties(name).get(HASH_PROPERTY)
            if spec.definition_hash and found and found != spec.definition_hash and found not in spec.extends:
                raise TableError(
                    f"table '{name}' in {self.location} was made by another definition ({found}, now {spec.definition_hash}); "
                    "two definitions are never mixed in one table: give the features another name, or drop the table"
                )
            return
        if self.is_local and any(Path(self.path(name).removeprefix("file:")).glob("*")):
            raise TableError(f"'{self.path(name)}' exists and is not a Delta table; choose another name or remove it")
        if not self.in_directory and self.spark.catalog.tableExists(self.identifier(name)):
            raise TableError(f"{self.identifier(name)} exists and is not a Delta table; choose another name or drop it")
        if not self.in_directory:
            self._checked(lambda: self.spark.sql(f"CREATE SCHEMA IF NOT EXISTS {self._schema_identifier()}"), name)
        columns = ", ".join(
            f"{quoted(f.name)} {f.dataType.simpleString()}"
            + (f" COMMENT {literal(spec.columns[f.name])}" if f.name in spec.columns else "")
            for f in schema.fields
        )
        properties = dict(spec.properties)
        if any(set(f.name) & UNUSUAL for f in schema.fields):
            properties["delta.columnMapping.mode"] = "name"
        told = ", ".join(f"{literal(key)} = {literal(value)}" for key, value in properties.items())
        cluster = f" CLUSTER BY ({', '.join(map(quoted, spec.cluster_by))})" if spec.cluster_by else ""
        statement = (
            f"CREATE TABLE IF NOT EXISTS {self.identifier(name)} ({columns}) USING DELTA{cluster} "
            f"COMMENT {literal(spec.comment)} TBLPROPERTIES ({told})"
        )
        self._checked(lambda: self.spark.sql(statement), name)

    def redefine(self, name: str, spec: TableSpec) -> None:
        """Give a table that has been extended its new definition and the comments of its columns; its rows stay as they are."""
        there = {f.name: f.metadata.get("comment") for f in self.read(name).schema.fields}
        changed = [c for c, comment in spec.columns.items() if c in there and there[c] != comment]
        statements = [f"ALTER COLUMN {quoted(c)} COMMENT {literal(spec.columns[c])}" for c in changed]
        told = ", ".join(f"{literal(key)} = {literal(value)}" for key, value in spec.properties.items())
        for statement in (*statements, f"SET TBLPROPERTIES ({told})"):
            self._run(f"ALTER TABLE {self.identifier(name)} {statement}", name)

    def _run(self, statement: str, name: str) -> None:
        self._checked(lambda: self.spark.sql(statement), name)

    def replace(
        self,
        name: str,
        frame: DataFrame,
        *,
        rows: Mapping[str, Iterable[Any] | Between] | None,
        metadata: Mapping[str, Any],
        spec: TableSpec,
        evolve: bool = False,
    ) -> Commit:
        """Put `frame` in the place of a slice of the table, in one commit.

        Parameters
        ----------
        name : str
            Created with `spec` when absent.
        frame : DataFrame
            Every row lies in the slice; may be empty.
        rows : mapping, optional
            Slice: column to its values (or `Between`); None for the whole table.
        metadata : mapping
            Kept with the commit as JSON, beside package version and a run id.
        spec : TableSpec
        evolve : bool
            Whether columns of `frame` that the table lacks are added to it.

        Raises
        ------
        DataError
            A row lies outside the slice; nothing is written.
        TableError
            Another definition, another writer at the same time, or not a Delta table.

        Returns
        -------
        Commit
            The new one; when an empty frame meets an empty slice there is none, and it is the newest one with 0 rows.
        """
        from pyspark.sql import functions as F

        self.ready(name, frame.schema, spec)
        if rows is not None:
            condition = F.expr(slice_predicate(rows))
        elif spec.cluster_by:  # every row, said so that Delta does not take it for a new table without clustering
            first = quoted(spec.cluster_by[0])
            condition = F.expr(f"{first} IS NULL OR {first} IS NOT NULL")
        else:
            condition = F.lit(True)
        writer = frame.writeTo(self.identifier(name)).option("userMetadata", json.dumps(commit_metadata(metadata)))
        if evolve:
            writer = writer.option("mergeSchema", "true")
        before = self.version(name)
        self._checked(lambda: writer.overwrite(condition), name)
        history = self._history(name, 1)
        assert history
        if history[0].version == before:  # nothing in the place of nothing is no commit
            return dataclasses.replace(history[0], rows=0)
        return history[0]

    def merge(
        self, name: str, frame: DataFrame, *, keys: Sequence[str], metadata: Mapping[str, Any], spec: TableSpec, gone: str | None = None
    ) -> Commit:
        """Update the rows whose keys are in `frame` and insert the others, in one commit.

        Parameters
        ----------
        name : str
            Created with `spec` when absent.
        frame : DataFrame
            One row per key, without null keys; read twice.
        keys : sequence of str
        gone : str, optional
            Boolean column of `frame` that is none of the table's: the row with these keys is deleted where it is true.

        Raises
        ------
        DataError
            A key is null or stands in two rows of `frame`; nothing is written.
        TableError
            As for `replace`.
        """
        from pyspark.sql import functions as F

        null_key = " or ".join(f"{quoted(key)} is null" for key in keys)
        by_key = frame.groupBy(*(quoted(key) for key in keys)).count()
        wrong = by_key.where(f"({null_key}) or count > 1").limit(1).collect()
        if wrong:
            shown = ", ".join(f"{key}={wrong[0][key]!r}" for key in keys)
            raise DataError(f"rows for table '{name}' repeat a key or have a null one ({shown}); give one row per key")
        self.ready(name, frame.schema if gone is None else frame.drop(gone).schema, spec)
        # the new rows under names of their own: what is left plain can only mean the table
        new = {column: f"new_{i}" for i, column in enumerate(frame.columns)}
        same = F.lit(True)
        for key in keys:
            same &= F.col(quoted(key)) == F.col(new[key])
        values = {quoted(column): F.col(name_of_new) for column, name_of_new in new.items() if column != gone}
        merging = frame.toDF(*new.values()).mergeInto(self.identifier(name), same)
        if gone is not None:
            merging = merging.whenMatched(F.col(new[gone])).delete()
        absent = None if gone is None else ~F.col(new[gone])
        merging = merging.whenMatched().update(values).whenNotMatched(absent).insert(values)
        with self._metadata_of_session(metadata):
            self._checked(lambda: merging.merge(), name)
        history = self._history(name, 1)
        assert history
        return history[0]

    def changes(self, name: str, *, since: int, until: int | None = None) -> DataFrame | None:
        """Rows changed after version `since`, with ``_change_type`` and ``_commit_version``.

        None when the table keeps no change feed, or no longer has those versions: then everything must be looked at.
        """
        if self.properties(name).get("delta.enableChangeDataFeed") != "true":
            return None
        reader = self.spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", since + 1)
        if until is not None:
            reader = reader.option("endingVersion", until)
        frame = reader.load(self.path(name)) if self.in_directory else reader.table(self.identifier(name))
        from pyspark.errors import PySparkException

        try:
            frame.limit(1).collect()
        except PySparkException as error:
            told = str(error)
            if any(
                sign in told for sign in ("DELTA_FILE_NOT_FOUND", "VACUUM", "DELTA_MISSING_CHANGE_DATA", "DELTA_VERSIONS_NOT_CONTIGUOUS")
            ):
                return None
            raise
        return frame

    def keep_changes(self, name: str) -> None:
        """Let a Delta table keep a change feed from its next version on, unless it does."""
        if self.properties(name).get("delta.enableChangeDataFeed") != "true":
            statement = f"ALTER TABLE {self.identifier(name)} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')"
            self._checked(lambda: self.spark.sql(statement), name)

    @contextmanager
    def _metadata_of_session(self, metadata: Mapping[str, Any]) -> Iterator[None]:
        """Give one statement without writer options its metadata; where settings are locked it has none."""
        from pyspark.errors import PySparkException

        setting = "spark.databricks.delta.commitInfo.userMetadata"
        try:
            self.spark.conf.set(setting, json.dumps(commit_metadata(metadata)))
        except PySparkException as error:
            logging.getLogger("sparkds").warning("this merge is committed without metadata: %s", str(error).splitlines()[0])
            yield
            return
        try:
            yield
        finally:
            self.spark.conf.unset(setting)

    def _schema_identifier(self) -> str:
        return ".".join(quoted(part) for part in self.location.split("."))

    def _history(self, name: str, limit: int) -> list[Commit] | None:
        """Newest commits, the newest first; None when there is no Delta table."""
        from pyspark.errors import PySparkException

        if self.is_local and not self.exists(name):
            return None
        try:
            rows = self.spark.sql(f"DESCRIBE HISTORY {self.identifier(name)} LIMIT {limit}").collect()
        except PySparkException as error:
            if says_absent(str(error)):
                return None
            raise
        return [commit_of(row) for row in rows]

    def _files_of(self, name: str) -> tuple[str, str]:
        """Format and path of a table of files in this directory."""
        if name in self._file_tables:
            return self._file_tables[name]
        found = local_files(self.location, name) if self.is_local else remote_files(self.spark, self.location, name)
        if not found:
            raise self._absent(name)
        if len(found) > 1:
            raise TableError(f"several things are named '{name}' in {self.location}: {', '.join(p for _, p in found)}; keep one")
        self._file_tables[name] = found[0]
        return found[0]

    def _absent(self, name: str) -> TableError:
        there: list[str] = []
        if self.is_local:
            root = Path(self.location.removeprefix("file:"))
            if not root.is_dir():
                return TableError(f"directory '{root}' does not exist, so there is no table '{name}' in it")
            there = sorted({p.name.split(".")[0] for p in root.iterdir() if not p.name.startswith((".", "_"))})
        looked = f"{self.path(name)} (Delta, Parquet, CSV or JSON)" if self.in_directory else self.identifier(name)
        names = f" (tables: {', '.join(there)})" if there else ""
        return TableError(f"table '{name}' not found: looked for {looked}{closest(name, there)}{names}")

    def _checked(self, action: Callable[[], T], name: str) -> T:
        """Run a Spark action and name what can be named of its failure."""
        try:
            return action()
        except Exception as error:  # of Spark, or of its bridge on a classic session, which passes some failures of tasks on as they are
            told = str(error)
            if says_absent(told):
                raise self._absent(name) from error
            named = named_failure(told, name)
            if named is None:
                raise
            raise named from error


def _resolved(frame: DataFrame) -> DataFrame:
    """Ask for the schema, so that a Connect session says at once what is wrong with the table."""
    assert frame.schema is not None
    return frame
